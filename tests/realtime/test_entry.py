"""Who gets in, with what, and how those are told who do not; and who has to go again."""

from __future__ import annotations

import aiohttp
import pytest
from argon2 import PasswordHasher

from melagent.realtime import hub as hub_module
from melagent.realtime import serving
from melagent.services import users
from melagent.services.access import Role, Scopes, create_key
from melagent.store.ids import new_id
from tests.builders import eventually
from tests.realtime.clients import put

PASSWORD = "correct horse battery"
PASSWORD_HASH = PasswordHasher().hash(PASSWORD)


@pytest.fixture
def kind():
    """How instances hear of one another does not matter here, but for hints, which both brokers carry alike."""
    return "postgres"


@pytest.fixture
async def sign_in(pool):
    """Signs somebody in on an instance; the headers that his browser sends, and his id."""

    async def sign_in(instance, email="ada@example.com", role=Role.EDITOR):
        user = await users.add(pool, email, "Ada", role, PASSWORD_HASH)
        async with aiohttp.ClientSession() as browser:
            body = {"email": email, "password": PASSWORD}
            async with browser.post(instance.url("/api/auth/login"), json=body) as answer:
                assert answer.status == 200, await answer.text()
                token = answer.cookies["mel_session"].value
                csrf = (await answer.json())["csrf_token"]
        return {"Cookie": f"mel_session={token}", "X-CSRF-Token": csrf}, user.id

    return sign_in


@pytest.fixture
async def workflow_id(one, make_workflow):
    return await make_workflow(one)


async def refusal(connect, instance, workflow_id, **given):
    client = await connect(instance, workflow_id, join=False, **given)
    return await client.close_code()


async def test_a_session_gets_in_with_the_name_and_colour_of_its_user(one, two, workflow_id, connect, sign_in):
    headers, user_id = await sign_in(one)
    for instance in (one, two):
        ada = await connect(instance, workflow_id, key=None, headers=headers | {"Origin": instance.url("").rstrip("/")})
        you = ada.joined["you"]
        assert (you["id"], you["name"], ada.joined["role"]) == (str(user_id), "Ada", "editor")
        assert ada.people[you["peer"]] == {"id": you["id"], "name": "Ada", "color": you["color"], "state": {}}


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
async def test_a_page_of_another_origin_does_not_get_in_with_a_session(one, workflow_id, connect, sign_in, headers):
    session, _ = await sign_in(one)
    assert await refusal(connect, one, workflow_id, key=None, headers=session | headers) == 4403


async def test_a_page_of_an_allowed_origin_gets_in(start, make_workflow, connect, sign_in):
    one = await start(allowed_origins=("https://tools.example",))
    session, _ = await sign_in(one)
    await connect(one, await make_workflow(one), key=None, headers=session | {"Origin": "https://tools.example"})


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_a_key_gets_in_through_either_header(one, workflow_id, connect, keys, header):
    value = f"Bearer {keys[Role.VIEWER]}" if header == "Authorization" else keys[Role.VIEWER]
    eva = await connect(one, workflow_id, key=None, headers={header: value})
    assert eva.joined["you"]["name"] == "viewer"


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Cookie": "mel_session=wrong"}], ids=str)
async def test_nobody_gets_in_without_a_credential_that_is_good(one, workflow_id, connect, headers):
    assert await refusal(connect, one, workflow_id, key=None, headers=headers) == 4401


async def test_there_is_no_room_of_what_is_no_workflow(one, connect):
    for wrong in (new_id(), "x"):
        client = await connect(one, wrong, join=False)
        if wrong != "x":
            await client.send({"type": "join", "client": "a"})
        assert await client.close_code() == 4404


async def test_whoever_does_not_upgrade_is_told_so_over_http(one, workflow_id, http):
    headers = {"X-API-Key": "the-bootstrap-key-of-the-tests"}
    async with http.get(one.url(f"/api/ws/workflows/{workflow_id}"), headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]) == (400, "bad_request")
    async with http.get(one.url(f"/api/ws/workflows/{workflow_id}")) as answer:
        assert answer.status == 401


async def test_a_key_for_other_workflows_and_one_for_starting_runs_do_not_get_in(one, workflow_id, connect, pool):
    for scopes in (Scopes(workflow_ids=frozenset({new_id()})), Scopes(execute=True)):
        _, key = await create_key(pool, "narrow", Role.EDITOR, scopes=scopes)
        assert await refusal(connect, one, workflow_id, key=key) == 4403


async def test_a_key_for_this_workflow_gets_in(one, workflow_id, connect, pool):
    from uuid import UUID

    scopes = Scopes(workflow_ids=frozenset({UUID(workflow_id)}))
    _, key = await create_key(pool, "narrow", Role.EDITOR, scopes=scopes)
    ada = await connect(one, workflow_id, key=key)
    assert (await ada.answer(await ada.edit(put("Mine"))))["seq"] == 2


# Tickets


@pytest.fixture
def get_ticket(http):
    async def get(instance, **headers):
        async with http.post(instance.url("/api/auth/ws-ticket"), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Cache-Control"] == "no-store"
            body = await answer.json()
        assert body["expires_in_seconds"] == 30
        return body["ticket"]

    return get


async def test_a_ticket_opens_one_socket_on_any_instance(one, two, workflow_id, connect, get_ticket, keys):
    ticket = await get_ticket(one, **{"X-API-Key": keys[Role.EDITOR]})
    ada = await connect(two, workflow_id, key=None, query=f"?ticket={ticket}")
    assert (ada.joined["you"]["name"], ada.joined["role"]) == ("editor", "editor")
    for instance in (one, two):
        assert await refusal(connect, instance, workflow_id, key=None, query=f"?ticket={ticket}") == 4401


async def test_the_ticket_of_a_session_is_that_of_its_user_and_needs_no_origin(
    one, workflow_id, connect, get_ticket, sign_in
):
    headers, user_id = await sign_in(one)
    ticket = await get_ticket(one, **headers)
    foreign = {"Origin": "https://somewhere.example"}
    ada = await connect(one, workflow_id, key=None, query=f"?ticket={ticket}", headers=foreign)
    assert ada.joined["you"]["id"] == str(user_id)


async def test_a_ticket_of_the_key_from_the_settings_is_good(one, two, workflow_id, connect, get_ticket):
    ticket = await get_ticket(one, **{"X-API-Key": "the-bootstrap-key-of-the-tests"})
    assert (await connect(two, workflow_id, key=None, query=f"?ticket={ticket}")).joined["role"] == "admin"


async def test_a_ticket_that_is_too_old_or_unknown_opens_nothing_and_only_its_hash_is_stored(
    one, workflow_id, connect, get_ticket, keys, pool
):
    ticket = await get_ticket(one, **{"X-API-Key": keys[Role.EDITOR]})
    assert ticket not in str(await pool.fetch("SELECT * FROM tickets"))
    await pool.execute("UPDATE tickets SET expires_at = now() - interval '1 ms'")
    for wrong in (ticket, "x", ""):
        assert await refusal(connect, one, workflow_id, key=None, query=f"?ticket={wrong}") == 4401


async def test_a_ticket_ends_with_its_key(one, workflow_id, connect, get_ticket, keys, pool):
    ticket = await get_ticket(one, **{"X-API-Key": keys[Role.EDITOR]})
    await pool.execute("UPDATE tokens SET revoked_at = now()")
    assert await refusal(connect, one, workflow_id, key=None, query=f"?ticket={ticket}") == 4401


async def test_a_ticket_opens_no_other_route(one, get_ticket, keys, http):
    ticket = await get_ticket(one, **{"X-API-Key": keys[Role.EDITOR]})
    assert (await http.get(one.url(f"/api/workflows?ticket={ticket}"))).status == 401


# Who has to go


async def test_whose_key_is_revoked_has_to_go_at_once_on_every_instance(
    one, two, workflow_id, connect, keys, pool, http, monkeypatch
):
    for instance in (one, two):
        instance.hub._standing_loop._interval = 3600  # only the hint is fast
    ada = await connect(two, workflow_id, key=keys[Role.EDITOR])
    eva = await connect(two, workflow_id, key=keys[Role.VIEWER])
    token_id = await pool.fetchval("SELECT id FROM tokens WHERE name = 'editor'")
    headers = {"X-API-Key": "the-bootstrap-key-of-the-tests"}
    assert (await http.delete(one.url(f"/api/tokens/{token_id}"), headers=headers)).status == 204
    assert await ada.close_code() == 4401
    assert not eva.reading.done()


async def test_whose_key_is_revoked_behind_all_backs_has_to_go_with_the_next_check(
    one, workflow_id, connect, keys, pool
):
    ada = await connect(one, workflow_id, key=keys[Role.EDITOR])
    await pool.execute("UPDATE tokens SET revoked_at = now() WHERE name = 'editor'")
    await one.hub.check_standing()
    assert await ada.close_code() == 4401


async def test_whoever_signs_out_has_to_go(one, two, workflow_id, connect, sign_in, http):
    headers, _ = await sign_in(one)
    ada = await connect(two, workflow_id, key=None, headers=headers)
    assert (await http.post(one.url("/api/auth/logout"), headers=headers)).status == 204
    assert await ada.close_code() == 4401


async def test_a_new_role_takes_effect_at_once(one, two, workflow_id, connect, sign_in, http, keys, pool):
    headers, user_id = await sign_in(one)
    ada = await connect(two, workflow_id, key=None, headers=headers)
    body, admin = {"role": "viewer"}, {"X-API-Key": "the-bootstrap-key-of-the-tests"}
    assert (await http.put(one.url(f"/api/users/{user_id}"), json=body, headers=admin)).status == 200
    assert await ada.close_code() == 4401  # a changed role ends the sessions of a user
    eva = await connect(two, workflow_id, key=keys[Role.EDITOR])
    await pool.execute("UPDATE tokens SET role = 'viewer' WHERE name = 'editor'")
    await two.hub.check_standing()
    assert await eva.close_code() == 1012
    again = await connect(two, workflow_id, key=keys[Role.EDITOR], name=eva.name)
    assert again.joined["role"] == "viewer"


async def test_a_deleted_user_has_to_go(one, workflow_id, connect, sign_in, http):
    headers, user_id = await sign_in(one)
    ada = await connect(one, workflow_id, key=None, headers=headers)
    admin = {"X-API-Key": "the-bootstrap-key-of-the-tests"}
    assert (await http.delete(one.url(f"/api/users/{user_id}"), headers=admin)).status == 204
    assert await ada.close_code() == 4401


async def test_editing_keeps_a_session_in_use(one, workflow_id, connect, sign_in, pool):
    headers, _ = await sign_in(one)
    ada = await connect(one, workflow_id, key=None, headers=headers)
    await pool.execute("UPDATE sessions SET seen_at = now() - interval '2 hours'")
    await ada.answer(await ada.edit(put("Busy")))
    await one.hub.check_standing()
    assert await pool.fetchval("SELECT seen_at > now() - interval '1 minute' FROM sessions")


# Limits


async def test_the_first_frame_is_a_join_and_comes_soon(one, workflow_id, connect, monkeypatch):
    for wrong in ({"type": "ping"}, {"type": "join"}, {"type": "join", "client": "a", "since": "x"}, "[]", "x"):
        client = await connect(one, workflow_id, join=False)
        await client.send(wrong)
        assert await client.close_code() == 4400, wrong
    monkeypatch.setattr(serving, "JOIN_SECONDS", 0.01)
    silent = await connect(one, workflow_id, join=False)
    assert await silent.close_code() == 4400
    await eventually(lambda: not one.hub.peers)


async def test_a_full_room_and_a_full_instance_send_people_away_to_come_back(one, workflow_id, connect, monkeypatch):
    first = await connect(one, workflow_id)
    monkeypatch.setattr(serving, "MAX_PEERS", 1)
    second = await connect(one, workflow_id, join=False)
    await second.send({"type": "join", "client": "a"})
    assert await second.close_code() == 4503
    again = await connect(one, workflow_id, name=first.name)  # it has a seat already
    monkeypatch.setattr(hub_module, "MAX_SOCKETS", 2)
    third = await connect(one, workflow_id, join=False)
    assert await third.close_code() == 4503
    assert not again.reading.done()


async def test_a_user_has_only_so_many_sockets_and_a_key_as_many_as_it_likes(
    one, workflow_id, connect, sign_in, keys, monkeypatch
):
    monkeypatch.setattr(hub_module, "MAX_SOCKETS_OF_A_USER", 2)
    headers, _ = await sign_in(one)
    for _ in range(2):
        await connect(one, workflow_id, key=None, headers=headers)
    third = await connect(one, workflow_id, join=False, key=None, headers=headers)
    assert await third.close_code() == 4503
    for _ in range(3):
        await connect(one, workflow_id, key=keys[Role.VIEWER])
