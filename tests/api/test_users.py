"""People over HTTP: made, listed, changed and removed by administrators, of whom one always stays."""

import asyncio

import pytest

from melagent.errors import Conflict
from melagent.services import users
from melagent.services.access import Role
from melagent.store.ids import new_id
from tests.api.conftest import PASSWORD

ROUTE = "/api/users"


@pytest.fixture
def make(client):
    async def make(email="ada@example.com", **body):
        answer = await client.post(ROUTE, json={"email": email, **body})
        assert answer.status == 201, await answer.text()
        return await answer.json()

    return make


async def test_a_user_is_made_and_can_sign_in(make, client, open_browser):
    made = await make("Ada@Example.com", name="Ada", role="viewer", password=PASSWORD)
    assert (made["email"], made["name"], made["role"], made["disabled_at"]) == (
        "ada@example.com", "Ada", "viewer", None,
    )  # fmt: skip
    assert await (await client.get(f"{ROUTE}/{made['id']}")).json() == made
    assert (await (await open_browser()).log_in("ada@example.com")).status == 200


async def test_no_answer_holds_a_password_or_its_hash(make, client):
    made = await make(password=PASSWORD)
    listed = await (await client.get(ROUTE)).text()
    assert "argon2" not in listed + str(made)
    assert "password" not in listed + str(made)


async def test_a_user_without_a_password_cannot_sign_in_with_one(make, open_browser):
    await make()
    for password in ("", PASSWORD):
        assert (await (await open_browser()).log_in("ada@example.com", password)).status == 401


async def test_users_are_listed_newest_first_in_pages(make, client):
    ids = [(await make(f"user{number}@example.com"))["id"] for number in range(3)]
    first = await (await client.get(f"{ROUTE}?limit=2")).json()
    assert ([user["id"] for user in first["users"]], first["total"]) == (ids[:0:-1], 3)
    second = await (await client.get(f"{ROUTE}?limit=2&cursor={first['next_cursor']}")).json()
    assert ([user["id"] for user in second["users"]], second["next_cursor"]) == (ids[:1], None)


async def test_only_what_is_given_is_changed(make, client):
    made = await make(name="Ada", password=PASSWORD)
    changed = await (await client.put(f"{ROUTE}/{made['id']}", json={"role": "admin"})).json()
    assert changed == {**made, "role": "admin", "updated_at": changed["updated_at"]}
    off = await (await client.put(f"{ROUTE}/{made['id']}", json={"name": "Countess"})).json()
    assert (off["name"], off["role"]) == ("Countess", "admin")


async def test_a_disabled_user_cannot_sign_in_until_enabled_again(make, client, open_browser):
    made = await make(password=PASSWORD)
    browser = await open_browser()
    disabled = await (await client.put(f"{ROUTE}/{made['id']}", json={"disabled": True})).json()
    assert disabled["disabled_at"].endswith("Z")
    assert (await browser.log_in("ada@example.com")).status == 401
    await client.put(f"{ROUTE}/{made['id']}", json={"disabled": False})
    assert (await browser.log_in("ada@example.com")).status == 200


@pytest.mark.parametrize("change", [{"role": "editor"}, {"disabled": True}, None])
async def test_the_last_administrator_stays(make, client, change):
    made = await make(role="admin", password=PASSWORD)
    await make("off@example.com", role="admin")
    off = (await (await client.get(ROUTE)).json())["users"][0]
    assert (await client.put(f"{ROUTE}/{off['id']}", json={"disabled": True})).status == 200
    path = f"{ROUTE}/{made['id']}"
    answer = await (client.delete(path) if change is None else client.put(path, json=change))
    assert (answer.status, "last administrator" in await answer.text()) == (409, True)
    left = await (await client.get(path)).json()
    assert (left["role"], left["disabled_at"]) == ("admin", None)
    assert (await client.put(path, json={"name": "Countess"})).status == 200


async def test_two_administrators_who_remove_each_other_at_once_do_not_both_succeed(
    pool, make_user, monkeypatch, eventually
):
    one, other = await make_user("a@example.com", Role.ADMIN), await make_user("b@example.com", Role.ADMIN)
    deleted, go_on = asyncio.Event(), asyncio.Event()
    delete = users.users.delete_by_id

    async def held(conn, user_id):
        done = await delete(conn, user_id)
        if user_id == one.id:
            deleted.set()
            await go_on.wait()
        return done

    monkeypatch.setattr(users.users, "delete_by_id", held)
    first = asyncio.create_task(users.remove(pool, one.id))
    await deleted.wait()
    second = asyncio.create_task(users.remove(pool, other.id))

    async def stands():
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return second.done() or await pool.fetchval(waiting)

    await eventually(stands)
    go_on.set()
    ended = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in ended] == [type(None), Conflict]
    assert await pool.fetchval("SELECT email FROM users") == "b@example.com"


async def test_an_email_has_one_user(make, client):
    await make()
    assert (await client.post(ROUTE, json={"email": "ADA@example.com"})).status == 409


async def test_who_is_not_there_is_not_found(client):
    for path in (f"{ROUTE}/{new_id()}", f"{ROUTE}/me"):
        assert (await client.get(path)).status == 404
        assert (await client.put(path, json={"name": "x"})).status == 404
        assert (await client.delete(path)).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "ada"}, "email"),
        ({"email": "a" * 400}, "email"),
        ({"email": "ada@example.com", "name": "a\nb"}, "name"),
        ({"email": "ada@example.com", "name": "a\u0000b"}, "name"),
        ({"email": "ada@example.com", "role": "owner"}, "role"),
        ({"email": "ada@example.com", "password": "short"}, "password"),
        ({"email": "ada@example.com", "password": "x" * 1001}, "password"),
        ({"email": "ada@example.com", "password": "correct horse\u0000"}, "password"),
        ({"email": "ada@example.com", "password_hash": "x"}, "password_hash"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_the_field_named(client, pool, body, field):
    answer = await client.post(ROUTE, json=body)
    assert (answer.status, [each["field"] for each in (await answer.json())["details"]]) == (400, [field])
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_nothing_of_a_password_is_kept_under_an_idempotency_key(client, pool):
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await client.post(ROUTE, json=body, headers={"Idempotency-Key": "k"})).status == 201
    assert await pool.fetchval("SELECT count(*) FROM run_keys") == 0, "its hash could be tried against"


async def test_a_user_is_the_author_of_what_the_user_makes(pool, open_browser, make_user, definition):
    await users.add(pool, "eve@example.com", "Eve", Role.VIEWER, None)
    await make_user()
    browser = await open_browser()
    await browser.log_in("ada@example.com")
    made = await browser.call("POST", "/api/workflows", json={"name": "x", "definition": definition})
    path = f"/api/workflows/{(await made.json())['id']}/versions"
    version = await (await browser.call("POST", path, json={"name": "first"})).json()
    assert version["created_by"] == "Ada"
