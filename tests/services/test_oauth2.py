"""Tokens of OAuth 2, against an authorization server on loopback."""

import asyncio

import pytest
from aiohttp import web
from yarl import URL

from melagent.errors import BadRequest, Conflict, Unavailable
from melagent.net import guarded_session
from melagent.services.audit import Actor
from melagent.services.connections import Connections
from melagent.services.oauth2 import RENEWALS_AT_ONCE, NotAuthorized, OAuth, Renewals
from melagent.store.ids import new_id
from melagent.store.pool import PoolLimits, create_pool
from melagent.vault import Vault
from tests.services.oauth_server import CLIENT, SECRET, authorization_server

VAULT = Vault([bytes(range(32))])
ME = Actor("user", "1", "me@example.com")
BACK = "https://mel.example/oauth2/callback"


@pytest.fixture
async def server():
    async with authorization_server() as server:
        yield server


@pytest.fixture
async def http():
    async with guarded_session(["127.0.0.1"]) as session:
        yield session


@pytest.fixture
def oauth(pool, http):
    return OAuth(pool, VAULT, lambda: http)


@pytest.fixture
def connections(pool):
    return Connections(pool, VAULT)


@pytest.fixture
def make(connections, server):
    async def make(**changes):
        fields = {
            "authorization_url": f"{server.url}/authorize?prompt=consent", "token_url": f"{server.url}/token",
            "client_id": CLIENT, "client_secret": SECRET, "scopes": ["read", "write"], "allowed_hosts": ["a.example"],
        } | changes  # fmt: skip  # as in the form
        given = {name: value for name, value in fields.items() if value is not None}
        return (await connections.create(new_id(), str(new_id()), "oauth2", given, "me")).id

    return make


@pytest.fixture
def sign_in(oauth, http):
    """Signs in as a browser does, up to the address that it is sent back to."""

    async def sign_in(connection_id):
        url = await oauth.begin(connection_id, BACK, ME, None)
        async with http.get(url, allow_redirects=False) as answer:
            return URL(answer.headers["Location"]).query

    return sign_in


@pytest.fixture
def authorized(make, sign_in, oauth):
    """A connection with tokens that are good for so many seconds."""

    async def authorized(server, seconds=3600, **changes):
        connection_id = await make(**changes)
        server.expires_in = seconds
        back = await sign_in(connection_id)
        await finish(oauth, back["state"], back["code"], None)
        server.expires_in = 3600
        return connection_id

    return authorized


async def finish(oauth, state, code, error=None, browser=None):
    return await oauth.finish(await oauth.take(state), code, error, browser)


async def opened(oauth, connection_id):
    return await oauth.opened(await oauth._connections.get(connection_id))


@pytest.mark.parametrize("client_auth", ["basic", "post"])
async def test_somebody_signs_in_and_a_node_gets_the_token_and_no_more(oauth, authorized, server, pool, client_auth):
    connection_id = await authorized(server, client_auth=client_auth)
    secret = await opened(oauth, connection_id)
    assert secret.headers == {"Authorization": f"Bearer {secret.fields['access_token']}"}
    assert secret.fields["access_token"].startswith("access-")
    assert secret.allows("https://a.example/x")
    assert not secret.allows(f"{server.url}/token")
    assert "client_secret" not in secret.fields
    assert "refresh" not in str(secret.fields)
    assert server.calls[0]["scope"] == "read write"
    row = dict(await pool.fetchrow("SELECT * FROM connections"))
    assert b"access-" not in row["tokens"]
    assert "access-" not in str(row)


async def test_sign_in_comes_back_once(oauth, make, sign_in, server):
    back = await sign_in(await make())
    await finish(oauth, back["state"], back["code"], None)
    with pytest.raises(BadRequest, match="finished before"):
        await finish(oauth, back["state"], back["code"], None)
    assert len(server.calls) == 1


async def test_two_browsers_that_come_back_at_once_do_not_both_get_in(oauth, make, sign_in, server):
    back = await sign_in(await make())
    answers = await asyncio.gather(
        *(finish(oauth, back["state"], back["code"], None) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, BadRequest) for answer in answers) == 4
    assert len(server.calls) == 1


async def test_state_that_is_unknown_or_too_old_leads_nowhere(oauth, make, sign_in, server, pool):
    back = await sign_in(await make())
    with pytest.raises(BadRequest):
        await finish(oauth, "made-up", back["code"], None)
    await pool.execute("UPDATE oauth_states SET created_at = now() - interval '11 minutes'")
    with pytest.raises(BadRequest):
        await finish(oauth, back["state"], back["code"], None)
    assert server.calls == []


async def test_database_holds_neither_the_state_nor_the_verifier(make, sign_in, pool):
    back = await sign_in(await make())
    row = await pool.fetchrow("SELECT * FROM oauth_states")
    assert back["state"].encode() not in row["state"]
    assert len(row["verifier"]) > 64
    assert VAULT.open(row["verifier"], f"oauth_states/{row['id']}/verifier")


async def test_code_of_one_sign_in_is_no_use_to_another(oauth, make, sign_in):
    """PKCE: whoever steals a code lacks the verifier."""
    first, second = await sign_in(await make()), await sign_in(await make())
    with pytest.raises(NotAuthorized):
        await finish(oauth, second["state"], first["code"], None)


ELSEWHERE = [
    {"allowed_hosts": ["evil.example"]},
    {"allowed_hosts": ["a.example", "evil.example"]},
    {"token_url": "https://evil.example/token"},
    {"client_id": "another"},
    {"scopes": ["admin"]},
]


@pytest.mark.parametrize("change", ELSEWHERE)
async def test_connection_that_is_changed_during_a_sign_in_gets_no_tokens(  # noqa: PLR0917  # fixtures
    oauth, make, sign_in, server, connections, change
):
    """The person agreed to something else: neither the code nor the tokens may go to where it points now."""
    connection_id = await make()
    back = await sign_in(connection_id)
    await connections.update(connection_id, None, {**change, "client_secret": SECRET})
    with pytest.raises(Conflict, match="was changed after the sign-in"):
        await finish(oauth, back["state"], back["code"])
    assert server.calls == []
    assert (await connections.get(connection_id)).tokens is None


async def test_connection_that_is_changed_while_the_service_answers_gets_no_tokens(  # fixtures
    oauth, make, sign_in, server, connections
):
    connection_id = await make()
    back = await sign_in(connection_id)
    server.gate.clear()
    finishing = asyncio.create_task(finish(oauth, back["state"], back["code"]))
    async with asyncio.timeout(30):
        await server.called.wait()
    await connections.update(connection_id, None, {"allowed_hosts": ["evil.example"], "client_secret": SECRET})
    server.gate.set()
    with pytest.raises(Conflict, match="was changed after the sign-in"):
        await finishing
    assert (await connections.get(connection_id)).tokens is None


@pytest.mark.parametrize("change", [{"test_url": "https://a.example/me"}, {"client_secret": SECRET}, {}])
async def test_change_that_sends_nothing_elsewhere_does_not_end_a_sign_in(oauth, make, sign_in, connections, change):
    connection_id = await make()
    back = await sign_in(connection_id)
    await connections.update(connection_id, "renamed", change)
    assert (await finish(oauth, back["state"], back["code"])).tokens is not None


@pytest.mark.parametrize("browser", [None, "", "another"])
async def test_sign_in_of_one_browser_is_not_finished_by_another(oauth, make, http, server, browser):
    async def come_back():
        url = await oauth.begin(connection_id, BACK, ME, "the browser")
        async with http.get(url, allow_redirects=False) as answer:
            return URL(answer.headers["Location"]).query

    connection_id = await make()
    back = await come_back()
    with pytest.raises(BadRequest, match="another browser"):
        await finish(oauth, back["state"], back["code"], browser=browser)
    assert server.calls == []
    back = await come_back()
    assert (await finish(oauth, back["state"], back["code"], browser="the browser")).tokens is not None


async def test_person_who_declines_is_told_and_the_sign_in_is_over(oauth, make, sign_in):
    back = await sign_in(await make())
    with pytest.raises(BadRequest, match="access_denied"):
        await finish(oauth, back["state"], None, "access_denied")
    with pytest.raises(BadRequest, match="finished before"):
        await finish(oauth, back["state"], back["code"], None)


async def test_connection_that_nobody_has_authorized_says_so(oauth, make):
    with pytest.raises(NotAuthorized):
        await opened(oauth, await make())


async def test_token_that_ends_soon_is_renewed_and_a_good_one_is_not(oauth, authorized, server):
    connection_id = await authorized(server, seconds=30)
    first = await opened(oauth, connection_id)
    again = await opened(oauth, connection_id)
    assert [call["grant_type"] for call in server.calls] == ["authorization_code", "refresh_token"]
    assert first.fields["access_token"] == again.fields["access_token"] == "access-3"


async def test_instances_that_notice_at_once_renew_once(pool, http, oauth, authorized, server):
    """The server's refresh tokens work once: two that ask would lock each other out."""
    connection_id = await authorized(server, seconds=30)
    server.gate.clear()
    server.called.clear()
    others = [oauth, OAuth(pool, VAULT, lambda: http), OAuth(pool, VAULT, lambda: http)]
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(opened(one, connection_id)) for one in others for _ in range(10)]
        async with asyncio.timeout(30):
            await server.called.wait()
        assert await pool.fetchval("SELECT 1") == 1  # those who wait leave connections to others
        server.gate.set()
    assert {task.result().fields["access_token"] for task in asked} == {"access-3"}
    assert len(server.calls) == 2


async def test_slow_token_endpoints_take_few_connections_of_the_pool(pool, http, make, server):
    """Also when the API and the embedded worker, which share the renewals, both ask."""
    made = [await make(grant="client_credentials", authorization_url=None) for _ in range(12)]
    renewals = Renewals(pool)
    both = [OAuth(pool, VAULT, lambda: http, renewals), OAuth(pool, VAULT, lambda: http, renewals)]
    server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(opened(both[number % 2], one)) for number, one in enumerate(made)]
        async with asyncio.timeout(30):
            while len(server.calls) < RENEWALS_AT_ONCE:
                server.called.clear()
                await server.called.wait()
            for _ in range(20):  # long enough for any other to have come
                await pool.fetchval("SELECT 1")
                async with http.get(f"{server.url}/nothing"):
                    pass
        assert len(server.calls) == RENEWALS_AT_ONCE
        server.gate.set()
    assert len({task.result().fields["access_token"] for task in asked}) == len(made)


async def test_slow_token_endpoints_leave_others_a_connection_of_the_smallest_pool(database_url, http, make, server):
    made = [await make(grant="client_credentials", authorization_url=None) for _ in range(3)]
    small = await create_pool(database_url, PoolLimits(max_open=3))
    async with small:
        oauth = OAuth(small, VAULT, lambda: http)
        server.gate.clear()
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
            asked = [tasks.create_task(opened(oauth, one)) for one in made]
            await server.called.wait()
            for _ in range(20):  # long enough for any other to have come
                await small.fetchval("SELECT 1")
                async with http.get(f"{server.url}/nothing"):
                    pass
            assert len(server.calls) == 1
            server.gate.set()
    assert len({task.result().fields["access_token"] for task in asked}) == len(made)


async def test_instance_that_dies_while_it_renews_holds_nobody_up(pool, http, oauth, authorized, server):
    connection_id = await authorized(server, seconds=30)
    server.gate.clear()
    server.called.clear()
    dying = asyncio.create_task(opened(oauth, connection_id))
    async with asyncio.timeout(30):
        await server.called.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    server.refresh_tokens = {server.calls[-1]["refresh_token"]}  # it died before its call arrived
    server.gate.set()
    secret = await opened(OAuth(pool, VAULT, lambda: http), connection_id)
    assert secret.fields["access_token"].startswith("access-")


async def test_refresh_token_that_is_refused_means_signing_in_again(oauth, authorized, server, connections):
    connection_id = await authorized(server, seconds=30)
    server.refresh_tokens.clear()
    with pytest.raises(NotAuthorized, match="sign in again"):
        await opened(oauth, connection_id)
    assert (await connections.get(connection_id)).tokens is None
    calls = len(server.calls)
    with pytest.raises(NotAuthorized):
        await opened(oauth, connection_id)
    assert len(server.calls) == calls


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(status=503), Unavailable),
        (lambda: web.Response(status=429), Unavailable),
        (lambda: web.Response(text="<html>"), Conflict),
        (lambda: web.json_response([1]), Conflict),
        (lambda: web.json_response({"access_token": "a\r\nb"}), Conflict),
        (lambda: web.json_response({"access_token": "x" * 100_000}), Unavailable),
        (lambda: web.json_response({"error": "invalid_client"}, status=401), Conflict),
        (lambda: web.Response(status=302, headers={"Location": "/token"}), Conflict),
    ],
)
async def test_token_endpoint_that_fails_costs_no_token(  # noqa: PLR0917  # fixtures
    oauth, authorized, server, connections, answer, error
):
    connection_id = await authorized(server, seconds=30)
    server.fails_with = answer
    with pytest.raises(error) as raised:
        await opened(oauth, connection_id)
    assert not isinstance(raised.value, NotAuthorized)
    assert SECRET not in raised.value.message
    assert (await connections.get(connection_id)).tokens is not None
    server.fails_with = None
    assert (await opened(oauth, connection_id)).fields["access_token"].startswith("access-")


async def test_client_credentials_need_nobody(oauth, make, server):
    connection_id = await make(grant="client_credentials", authorization_url=None)
    server.expires_in = 30
    tokens = {(await opened(oauth, connection_id)).fields["access_token"] for _ in range(2)}
    assert tokens == {"access-1", "access-2"}
    assert {call["grant_type"] for call in server.calls} == {"client_credentials"}
    with pytest.raises(BadRequest, match="Nobody has to sign in"):
        await oauth.begin(connection_id, BACK, ME, None)


async def test_token_endpoint_at_a_private_address_is_not_called(pool, make, server):
    connection_id = await make(grant="client_credentials", authorization_url=None)
    async with guarded_session([]) as guarded:
        with pytest.raises(Conflict, match="is not a public address"):
            await opened(OAuth(pool, VAULT, lambda: guarded), connection_id)
    assert server.calls == []


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"allowed_hosts": ["a.example", "b.example"], "client_secret": "x"}, False),
        ({"client_id": "another"}, False),
        ({"scopes": ["admin"]}, False),
        ({"test_url": "https://a.example/me"}, True),
        ({}, True),
    ],
)
async def test_tokens_go_when_they_could_be_sent_elsewhere_or_are_another_clients(
    authorized, server, connections, change, kept
):
    connection_id = await authorized(server)
    changed = await connections.update(connection_id, None, change)
    assert (changed.tokens is not None) is kept


async def test_tokens_of_a_public_client_cannot_be_pointed_at_another_host(pool, make, connections):
    """It has no secret that would have to be given again; so the tokens go."""
    connection_id = await make(client_secret=None)
    tokens = VAULT.seal(
        b'{"access_token":"a","refresh_token":null,"expires_at":null}', f"connections/{connection_id}/tokens"
    )
    await pool.execute("UPDATE connections SET tokens = $1", tokens)
    assert (await connections.update(connection_id, None, {"allowed_hosts": ["evil.example"]})).tokens is None
