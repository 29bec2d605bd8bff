import pytest

from melagent.services import access
from melagent.services.access import BOOTSTRAP, Keys, Role, create_key
from melagent.store import tokens


async def test_a_key_is_its_holder_with_its_role(pool):
    token, key = await create_key(pool, "ci", Role.EDITOR)
    principal = await Keys(pool, None).principal(key)
    assert (principal.id, principal.name, principal.role) == (str(token.id), "ci", Role.EDITOR)


async def test_the_key_itself_is_stored_nowhere(pool):
    _, key = await create_key(pool, "ci", Role.EDITOR)
    stored = str([tuple(row.values()) for row in await pool.fetch("SELECT * FROM tokens")])
    assert key not in stored
    assert key.startswith("mel_")
    assert len(key) >= 4 + 43


async def test_the_bootstrap_key_is_an_administrator_and_asks_no_database(pool):
    await pool.execute("DROP TABLE tokens")
    assert await Keys(pool, "from-settings").principal("from-settings") is BOOTSTRAP


async def test_without_a_bootstrap_key_no_key_is_one(pool):
    for bootstrap in (None, ""):
        assert await Keys(pool, bootstrap).principal("") is None


async def test_a_key_with_bytes_that_are_no_text_is_just_unknown(pool):
    assert await Keys(pool, "x").principal("\udcff\x00") is None


async def test_a_revoked_key_is_refused_when_its_two_seconds_are_over(pool, monkeypatch):
    token, key = await create_key(pool, "ci", Role.ADMIN)
    assert access.TRUSTED_SECONDS <= 2
    monkeypatch.setattr(access, "TRUSTED_SECONDS", 0)
    keys = Keys(pool, None)
    assert await keys.principal(key) is not None
    await tokens.revoke(pool, token.id)
    assert await keys.principal(key) is None


async def test_a_verified_key_is_not_asked_for_again_at_once(pool):
    _, key = await create_key(pool, "ci", Role.VIEWER)
    keys = Keys(pool, None)
    first = await keys.principal(key)
    await pool.execute("DROP TABLE tokens")
    assert await keys.principal(key) is first


async def test_the_use_of_a_key_is_noted_without_a_write_for_each_call(pool):
    token, key = await create_key(pool, "ci", Role.VIEWER)
    instances = [Keys(pool, None) for _ in range(3)]
    for keys in instances:
        for _ in range(5):
            await keys.principal(key)
    assert await pool.fetchval("SELECT last_used_at FROM tokens") is None
    await instances[0].one_pass()
    noted = await pool.fetchval("SELECT last_used_at FROM tokens WHERE id = $1", token.id)
    assert noted is not None
    await instances[1].one_pass()
    assert await pool.fetchval("SELECT last_used_at FROM tokens") == noted, "another instance has just written it"
    await pool.execute("UPDATE tokens SET last_used_at = now() - interval '1 minute'")
    await instances[2].one_pass()
    assert await pool.fetchval("SELECT last_used_at >= $1 FROM tokens", noted)


async def test_an_expired_key_is_refused(pool, monkeypatch):
    monkeypatch.setattr(access, "TRUSTED_SECONDS", 0)
    _, key = await create_key(pool, "ci", Role.ADMIN)
    keys = Keys(pool, None)
    assert await keys.principal(key) is not None
    await pool.execute("UPDATE tokens SET expires_at = now()")
    assert await keys.principal(key) is None
    assert (await keys.owner(key)).name == "ci"


def test_a_higher_role_may_do_all_that_a_lower_one_may():
    assert Role.OPEN < Role.VIEWER < Role.EDITOR < Role.ADMIN


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.ADMIN])
async def test_every_role_can_be_stored(pool, role):
    _, key = await create_key(pool, "x", role)
    assert (await Keys(pool, None).principal(key)).role is role
