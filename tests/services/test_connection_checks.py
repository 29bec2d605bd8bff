"""Real tests of credentials, against servers on loopback that speak the real protocols."""

import asyncio
import base64
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from melagent.errors import BadRequest
from melagent.net import guarded_session
from melagent.services.connection_checks import Checker
from melagent.services.connections import checked
from melagent.services.credential_types import TYPES
from tests.proxy import proxy_to

GOOD, BAD = "good-secret-value", "bad-secret-value"
LOOPBACK = ("127.0.0.1", "localhost")


@pytest.fixture
def tried():
    """Tries credentials from a process that may reach loopback, or what `allow` says."""

    async def tried(kind, allow=LOOPBACK, **fields):
        async with guarded_session(allow) as http:
            return await Checker(http, allow).check(checked(TYPES[kind], fields))

    return tried


@pytest.fixture
async def service():
    """All the HTTP services at once: each knows its own way of carrying the good secret, and its own address."""

    def needs(header, value):
        async def answer(request):
            if request.headers.get(header) != value:
                return web.json_response({"detail": f"{request.headers.get(header)} is wrong"}, status=401)
            return web.json_response({})

        return answer

    async def slack(request):
        good = request.headers["Authorization"] == f"Bearer {GOOD}"
        return web.json_response({"ok": good, "error": None if good else "invalid_auth"})

    async def login(request):
        good = await request.json() == {"email": "ada@a.example", "password": GOOD}
        return web.json_response({}, status=200 if good else 401)

    async def query(request):
        return web.Response(status=204 if request.query.get("key") == GOOD else 403)

    async def away(_request):
        raise web.HTTPFound("/airtable/v0/meta/whoami")

    bearer = needs("Authorization", f"Bearer {GOOD}")
    app = web.Application()
    app.router.add_get("/openai/v1/models", bearer)
    app.router.add_get("/anthropic/v1/models", needs("x-api-key", GOOD))
    app.router.add_get("/airtable/v0/meta/whoami", bearer)
    app.router.add_get("/baserow/api/database/tokens/check/", needs("Authorization", f"Token {GOOD}"))
    app.router.add_post("/baserow/api/user/token-auth/", login)
    app.router.add_post("/slack/auth.test", slack)
    app.router.add_get("/bearer", bearer)
    app.router.add_get("/basic", needs("Authorization", "Basic " + base64.b64encode(f"ada:{GOOD}".encode()).decode()))
    app.router.add_get("/query", query)
    app.router.add_get("/away", away)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


def generic(url, path, **fields):
    return {"allowed_hosts": [url], "test_url": f"{url}{path}", **fields}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("openai", lambda url, secret: {"base_url": f"{url}/openai/v1", "api_key": secret}),
        ("openai_compatible", lambda url, secret: {"base_url": f"{url}/openai/v1/", "api_key": secret}),
        ("anthropic", lambda url, secret: {"base_url": f"{url}/anthropic", "api_key": secret}),
        ("airtable", lambda url, secret: {"base_url": f"{url}/airtable", "token": secret}),
        ("baserow_token", lambda url, secret: {"base_url": f"{url}/baserow", "token": secret}),
        ("baserow_jwt", lambda url, s: {"base_url": f"{url}/baserow", "email": "ada@a.example", "password": s}),
        ("slack", lambda url, secret: {"base_url": f"{url}/slack", "bot_token": secret}),
        ("bearer", lambda url, secret: generic(url, "/bearer", token=secret)),
        ("basic", lambda url, secret: generic(url, "/basic", username="ada", password=secret)),
        ("api_key", lambda url, secret: generic(url, "/query", api_key=secret, placement="query", name="key")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_service_is_asked_whether_it_takes_the_secret(tried, service, kind, fields):
    good, bad = await tried(kind, **fields(service, GOOD)), await tried(kind, **fields(service, BAD))
    assert good.success, good
    assert not bad.success
    assert "refused" in bad.message
    assert BAD not in bad.message


async def test_redirect_is_no_yes(tried, service):
    found = await tried("bearer", **generic(service, "/away", token=GOOD))
    assert (found.success, found.message) == (
        False,
        "The answer had the status 302, which says neither yes nor no.",
    )


async def test_without_an_address_to_try_at_it_says_what_is_missing(tried):
    with pytest.raises(BadRequest) as raised:
        await tried("bearer", token=GOOD, allowed_hosts=["a.example"])
    assert [detail.field for detail in raised.value.details] == ["config.test_url"]


async def test_webhook_secret_is_nobodys_to_judge(tried):
    assert (await tried("webhook_secret", secret=GOOD)).success


async def test_private_address_is_not_reached_by_any_protocol(tried, service):
    port = urlsplit(service).port
    for kind, fields in (
        ("openai", {"base_url": f"{service}/openai/v1", "api_key": GOOD}),
        ("smtp", {"host": "localhost", "port": port}),
        ("postgres", {"host": "127.0.0.1", "port": port, "database": "d", "user": "u", "password": GOOD}),
    ):
        found = await tried(kind, allow=(), **fields)
        assert not found.success
        assert "is not a public address" in found.message


async def test_host_that_is_away_is_said_to_be(tried):
    port = unused_port()
    for kind, fields in (
        ("openai", {"base_url": f"http://127.0.0.1:{port}", "api_key": GOOD}),
        ("smtp", {"host": "127.0.0.1", "port": port}),
        ("postgres", {"host": "127.0.0.1", "port": port, "database": "d", "user": "u", "password": GOOD}),
    ):
        found = await tried(kind, **fields)
        assert not found.success
        assert "cannot be reached" in found.message or "does not take connections" in found.message


@asynccontextmanager
async def mail_server():
    """An SMTP server as RFC 5321 and RFC 4954 have it, without TLS."""

    async def serve(reader, writer):
        def say(line):
            writer.write(line.encode() + b"\r\n")

        say("220 mail.example ESMTP")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                say("250-mail.example\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                given = base64.b64decode(line.split()[2]).split(b"\0")[1:]
                say("235 in" if given == [b"ada", GOOD.encode()] else "535 5.7.8 no")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_mail_server_is_asked_by_its_own_protocol(tried):
    async with mail_server() as port:
        at = {"host": "localhost", "port": port, "security": "none"}
        assert (await tried("smtp", **at, username="ada", password=GOOD)).success
        assert (await tried("smtp", **at)).success
        bad = await tried("smtp", **at, username="ada", password=BAD)
        assert (bad.success, bad.message) == (False, "The mail server refused the user name or the password.")
        no_tls = await tried("smtp", **{**at, "security": "starttls"}, username="ada", password=GOOD)
        assert not no_tls.success


async def test_database_is_asked_by_its_own_protocol(tried, database_url):
    async with proxy_to(database_url) as proxy:
        parts = urlsplit(proxy.url)
        at = {
            "host": "localhost", "port": proxy.port, "database": parts.path[1:], "user": parts.username,
            "password": parts.password or "any", "security": "none",
        }  # fmt: skip  # as in the form
        good = await tried("postgres", **at)
        assert good.success, good
        wrong = await tried("postgres", **{**at, "database": "there-is-none"})
        assert (wrong.success, wrong.message) == (False, "It has no such database.")
        no_tls = await tried("postgres", **{**at, "security": "tls"})
        assert not no_tls.success
        assert "TLS" in no_tls.message
