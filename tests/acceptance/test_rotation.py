"""Encryption keys are rotated while runs use connections, webhooks are called and looked at, and tokens are renewed.

Two API instances and a worker, as processes, behind nginx. The short form belongs to the tests; the long one, with two
rotations in a row, is part of `make prove`.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from deploy.local.topology import topology
from melagent.store import sealed
from melagent.vault import key_id
from tests.acceptance.exact import nothing_live
from tests.acceptance.load import ASYNC_HOOK, DOUBLE, SYNC_HOOK, Load
from tests.acceptance.program import line_of
from tests.api.calling import github
from tests.builders import eventually
from tests.services.oauth_server import CLIENT, SECRET, authorization_server

OLD, NEW, NEXT = (bytes(range(start, start + 32)) for start in (0, 50, 100))
TOKEN, SIGNING = "s3cret-token", "s3cret-for-signatures"
SEALED = 4 + 2 + 3
"""Secrets of connections, tokens of those that renew them, and addresses of webhooks."""


@dataclass(frozen=True)
class Service:
    """A third party, and the authorization server that gives out some of the tokens it knows."""

    url: str
    tokens: object


@asynccontextmanager
async def third_party():
    async def answer(request):
        given = request.headers.get("Authorization", "")
        known = given == f"Bearer {TOKEN}" or re.fullmatch(r"Bearer access-\d+", given)
        return web.json_response({}, status=200 if known else 401)

    app = web.Application()
    app.router.add_get("/", answer)
    async with authorization_server() as tokens, TestServer(app, host="127.0.0.1") as server:
        tokens.expires_in = 30  # sooner than what is renewed early: each use renews
        yield Service(f"http://127.0.0.1:{server.port}", tokens)


@pytest.fixture
async def service():
    async with third_party() as made:
        yield made


def keys(*given):
    return {"MEL_ENCRYPTION_KEYS": ",".join(key.hex() for key in given)}


@pytest.fixture
async def cluster():
    async with topology(apis=2, workers=1, redis=False, MEL_HTTP_ALLOW="127.0.0.1", **keys(OLD)) as made:
        yield made


async def connect(cluster, service):
    """Connections by what they are: with a token, with a secret for signatures, signed in to, and for a machine."""
    client = {
        "token_url": f"{service.tokens.url}/token", "client_id": CLIENT, "client_secret": SECRET,
        "allowed_hosts": [service.url],
    }  # fmt: skip  # as in the form
    person = {**client, "authorization_url": f"{service.tokens.url}/authorize"}
    fields = {
        "bearer": {"token": TOKEN, "allowed_hosts": [service.url]},
        "webhook_secret": {"secret": SIGNING},
        "person": person,
        "machine": {**client, "grant": "client_credentials"},
    }
    made = {}
    for name, config in fields.items():
        body = {"name": name, "credential_type": "oauth2" if "client_id" in config else name, "config": config}
        made[name] = (await cluster.call("POST", "/api/connections", body))["id"]
    await sign_in(cluster, made["person"])
    return made


async def sign_in(cluster, connection_id):
    begun = await cluster.call("POST", f"/api/connections/{connection_id}/authorize")
    async with aiohttp.ClientSession() as browser:
        async with browser.get(begun["authorization_url"], allow_redirects=False) as answer:
            back = URL(answer.headers["Location"]).query_string
        async with browser.get(f"{cluster.url}/oauth2/callback?{back}") as page:
            assert page.status == 200, await page.text()


def asks(service, made, *names):
    """Nodes that call the third party, each with its connection."""
    return [
        {"id": name, "type": "http_request", "config": {"url": service.url, "connection": made[name]}} for name in names
    ]


class Meanwhile:
    """What people and machines do besides: look at an address, renew another, enter a secret again, sign a call."""

    def __init__(self, cluster, made, signed):
        self.cluster, self.made, self.signed = cluster, made, signed
        self.turns = 0
        self.ending = False

    async def go_on(self):
        shown, (spare, *_) = {}, await self.triggers()
        async with aiohttp.ClientSession() as session:
            while not self.ending:
                renewed = await self.cluster.call("POST", f"/api/triggers/{spare['id']}/renew")
                found = {one["id"]: one["webhook_url"] for one in await self.triggers()}
                assert found.pop(spare["id"]) == renewed["webhook_url"]
                assert found == (shown or found)
                shown = found
                bearer = f"/api/connections/{self.made['bearer']}"
                await self.cluster.call("PUT", bearer, {"config": {"token": TOKEN}})
                await self._call_signed(session)
                self.turns += 1

    async def triggers(self):
        """The newest first."""
        return (await self.cluster.call("GET", "/api/triggers"))["triggers"]

    async def _call_signed(self, session):
        body = orjson.dumps({"n": self.turns})
        async with session.post(self.signed, data=body, headers=github(SIGNING, body)) as answer:
            assert answer.status == 202, await answer.text()


async def restart(cluster, name):
    """As an update does it: the instance ends what it has begun."""
    assert await cluster.stop(name) == 0
    await cluster.start_api(name)


async def rotate(cluster, new, old):
    """As the manual says: the new key before the old one, one instance after the other, and the command."""
    cluster.settings |= keys(new, old)
    await restart(cluster, "api-1")
    rotation = asyncio.create_task(cluster.command("keys", "rotate", "--json"))
    await restart(cluster, "api-2")
    lines = orjson.loads(await rotation)["keys"]
    assert {line["key_id"]: line["secrets"] for line in lines if line["secrets"]} == {key_id(new): SEALED}
    assert await under_keys(cluster) == {key_id(new): SEALED}


async def under_keys(cluster):
    async with cluster.database() as conn:
        return await sealed.count_by_key(conn)


async def rotate_under_load(cluster, service, *order):
    """Go from each key to the next one, and in the end do without any but the last."""
    made, load = await connect(cluster, service), Load()
    guarded = ASYNC_HOOK | {"config": {"auth": "hmac", "preset": "github", "secret": made["webhook_secret"]}}
    url = await cluster.deploy(line_of(SYNC_HOOK, *asks(service, made, "bearer", "person", "machine"), DOUBLE))
    meanwhile = Meanwhile(cluster, made, await cluster.deploy(line_of(guarded, DOUBLE)))
    await cluster.deploy(line_of(ASYNC_HOOK, DOUBLE))  # the address that is renewed

    async def goes_on():
        answered, turns, renewed = len(load.answered), meanwhile.turns, len(service.tokens.calls)
        await eventually(
            lambda: (
                len(load.answered) > answered + 20
                and meanwhile.turns > turns + 2
                and len(service.tokens.calls) > renewed + 40
            )
        )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(meanwhile.go_on())
        load.begin(url, 4, sync=True, pause=0.05)
        await goes_on()
        for old, new in itertools.pairwise(order):
            await rotate(cluster, new, old)
            await goes_on()
        cluster.settings |= keys(order[-1])
        for name in ("api-1", "api-2"):
            await restart(cluster, name)
        await goes_on()
        meanwhile.ending = True
        await load.end()
    assert await under_keys(cluster) == {key_id(order[-1]): SEALED}
    await eventually(lambda: nothing_live(cluster))
    async with cluster.database() as conn:
        runs = await conn.fetch("SELECT status, attempt, count(*) FROM runs GROUP BY 1, 2")
    assert (load.failures, load.wrong) == ([], [])
    assert [tuple(row) for row in runs] == [("completed", 1, load.sent + meanwhile.turns)]
    return load.sent


async def test_a_rotation_under_load_fails_no_run_and_leaves_nothing_under_the_old_key(cluster, service):
    assert await rotate_under_load(cluster, service, OLD, NEW) > 100


@pytest.mark.prove
async def test_the_same_for_five_rotations_in_a_row(cluster, service):
    assert await rotate_under_load(cluster, service, OLD, NEW, NEXT, OLD, NEW, NEXT) > 500
