"""The first administrator is made once, however many instances and links there are."""

import asyncio

import pytest

from melagent.errors import BadRequest, Forbidden, Gone
from melagent.services import first_run, users
from melagent.services.access import Role
from melagent.services.passwords import Hashing

PASSWORD = "correct horse battery"


@pytest.fixture
def set_up(pool):
    async def set_up(token, email="root@example.com", password=PASSWORD):
        return await first_run.set_up(pool, Hashing(), token, email, "", password)

    return set_up


async def test_a_link_makes_the_first_administrator_and_works_once(pool, set_up):
    token = await first_run.link_token(pool)
    made = await set_up(token)
    assert (made.email, made.role) == ("root@example.com", "admin")
    with pytest.raises(Gone):
        await set_up(token, "second@example.com")
    assert await pool.fetchval("SELECT count(*) FROM setup_tokens") == 0
    assert await first_run.link_token(pool) is None


async def test_links_of_earlier_starts_and_other_instances_work_as_well(pool, set_up):
    first, _ = await first_run.link_token(pool), await first_run.link_token(pool)
    assert (await set_up(first)).role == "admin"


async def test_of_several_who_use_links_at_once_one_succeeds(pool, set_up, monkeypatch):
    """All have looked whether there is an administrator, and have their hash, when the first of them goes on."""
    tokens = [await first_run.link_token(pool) for _ in range(2)] * 3
    all_here = asyncio.Barrier(6)
    lock = first_run.users.lock_administrators

    async def together(conn):
        await all_here.wait()
        await lock(conn)

    monkeypatch.setattr(first_run.users, "lock_administrators", together)
    ended = await asyncio.gather(
        *(set_up(token, f"root{number}@example.com") for number, token in enumerate(tokens)), return_exceptions=True
    )
    assert sum(isinstance(each, Gone) for each in ended) == 5
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_of_a_link_only_the_hash_is_stored(pool):
    token = await first_run.link_token(pool)
    assert token not in str([tuple(row.values()) for row in await pool.fetch("SELECT * FROM setup_tokens")])


async def test_a_link_that_is_unknown_or_expired_opens_nothing(pool, set_up):
    token = await first_run.link_token(pool)
    for wrong in ("", "x", "\udcff", token[:-1]):
        with pytest.raises(Forbidden):
            await set_up(wrong)
    await pool.execute("UPDATE setup_tokens SET expires_at = now()")
    with pytest.raises(Forbidden):
        await set_up(token)


async def test_a_link_survives_what_cannot_be_used(pool, set_up):
    token = await first_run.link_token(pool)
    for email, password in (("root", PASSWORD), ("root@example.com", "short")):
        with pytest.raises(BadRequest):
            await set_up(token, email, password)
    assert (await set_up(token)).role == "admin"


async def test_people_who_are_no_administrators_do_not_use_up_the_link(pool, set_up):
    await users.add(pool, "viewer@example.com", "", Role.VIEWER, None)
    assert (await set_up(await first_run.link_token(pool))).role == "admin"


async def test_an_administrator_who_was_disabled_does_not_open_the_set_up_again(pool):
    made = await users.add(pool, "root@example.com", "", Role.ADMIN, None)
    await pool.execute("UPDATE users SET disabled_at = now() WHERE id = $1", made.id)
    assert await first_run.link_token(pool) is None
    assert not await first_run.from_settings(pool, Hashing(), "second@example.com", PASSWORD)


async def test_many_instances_make_the_administrator_of_the_settings_once(pool):
    made = await asyncio.gather(
        *(first_run.from_settings(pool, Hashing(), "root@example.com", PASSWORD) for _ in range(5))
    )
    assert sorted(made) == [False] * 4 + [True]
    assert await pool.fetchval("SELECT count(*) FROM users") == 1
    await pool.execute("UPDATE users SET password_hash = 'changed since'")
    assert not await first_run.from_settings(pool, Hashing(), "root@example.com", PASSWORD)
    assert await pool.fetchval("SELECT password_hash FROM users") == "changed since"
