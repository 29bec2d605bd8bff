"""A planted secret is nowhere but where it belongs, after a tour with all that can go wrong."""

import base64
import io
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from melagent import log
from melagent.api.context import AUDIT
from melagent.domain.requirement import capabilities
from melagent.engine.context import World
from melagent.net import guarded_session
from melagent.protocol.messages import Registration
from melagent.registry import NodeType, Registry
from melagent.sdk import Call, Connection, Json, Node, NodeError, Params, SetVariable
from melagent.services.access import create_worker_token
from melagent.services.oauth2 import OAuth
from melagent.services.secrets import Secrets
from melagent.worker.connection import Connection as WorkerConnection
from melagent.worker.database import DatabaseSource
from melagent.worker.http import HttpSource
from melagent.worker.worker import Worker, WorkerOptions
from tests.api.calling import github

CANARY = 'canary-\u00e9/+ "q" 7f3a'
WRITTEN = {
    CANARY, quote(CANARY, safe=""), json.dumps(CANARY)[1:-1], orjson.dumps(CANARY).decode()[1:-1],
    base64.b64encode(f"ada:{CANARY}".encode()).decode(), CANARY.encode().hex(),
}  # fmt: skip


class LeakParams(Params):
    connection: Annotated[UUID, Connection("basic", "api_key")]
    how: str
    workflow: str = ""


class Leak(Node[LeakParams]):
    """Gives its secret away in every way that there is."""

    id, name, description, category = "leak", "Leak", "Leaks", "Tests"
    effects = True

    async def run(self, params, ctx) -> Json:
        secret = await ctx.connection(params.connection)
        text = next(str(secret.fields[name]) for name in ("password", "api_key") if name in secret.fields)
        ctx.log("info", f"it is {text}", field={"inner": [text, secret.headers]})
        if ctx.received is not None:
            return [ctx.received.value, text]
        match params.how:
            case "fail":
                raise NodeError(f"wrong: {text}", details={"headers": dict(secret.headers), "text": [text]})
            case "crash":
                raise RuntimeError(f"crashed with {text} and {json.dumps(dict(secret.headers))}")
            case "variable":
                return SetVariable("leaked", {"value": text}, scope="global")
            case "child":
                return Call(params.workflow, {"given": text, text: 1})
        return {"text": text, "json": json.dumps({"a": text}), "headers": dict(secret.headers), text: [text]}


@pytest.fixture
def registry():
    return Registry([*Registry.builtin().all(), NodeType.of(Leak())])


@pytest.fixture
def logged():
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    return stream


@pytest.fixture
async def elsewhere():
    """A server that gives back all that it is told, in its body and in its headers; refuses, redirects, breaks off."""

    async def answer(request):
        told = {"headers": dict(request.headers), "url": str(request.url), "path": request.raw_path}
        match request.path:
            case "/away":
                raise web.HTTPFound("/echo", headers={"X-Told": quote(json.dumps(told))})
            case "/break":
                request.transport.close()
        status = 401 if request.path == "/401" else 200
        return web.json_response({"told": told, "again": json.dumps(told)}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def embedded(services, registry, _client, _token):
    """The worker inside `server server`."""
    async with guarded_session(["127.0.0.1"]) as session:
        world = World(clock=lambda: datetime.now(UTC), http=lambda: session, live=services.engine.live.publish)
        offered = capabilities((), registry.added)
        oauth = OAuth(services.pool, services.vault, lambda: session)
        secrets = Secrets(services.pool, services.vault, registry, oauth)
        source = DatabaseSource(services.engine, registry, "w", offered, secrets)
        worker = Worker(source, registry, world, WorkerOptions("w", grace_seconds=2, offered=offered))
        services.engine.use_slots(worker)
        worker.start()
        yield
        await worker.drain()


@asynccontextmanager
async def remote(_services, registry, client, token):
    """A worker that has nothing but HTTP and a token."""
    async with aiohttp.ClientSession() as calls, guarded_session(["127.0.0.1"]) as session:
        registration = Registration(id="w", concurrency=10, node_types=registry.added)
        connection = WorkerConnection(calls, str(client.make_url("")).rstrip("/"), token, registration)
        registered = await connection.register()
        source = HttpSource(connection, registered.lease_seconds)
        world = World(clock=lambda: datetime.now(UTC), http=lambda: session, live=source.tell)
        offered = capabilities((), registry.added)
        worker = Worker(source, registry, world, WorkerOptions("w", grace_seconds=2, offered=offered))
        worker.start()
        yield
        await worker.drain()
        await source.drain()
        await connection.unregister()


async def dump(pool):
    """Every value of every table, as text; blobs as they are, and in hex."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found = []
    for (table,) in tables:
        for row in await pool.fetch(f'SELECT * FROM "{table}"'):
            found += [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in row]
            found += [value.hex() for value in row if isinstance(value, bytes)]
    return "\n".join(found)


@pytest.mark.parametrize("working", [embedded, remote])
async def test_planted_secret_is_in_no_answer_log_line_event_or_row(  # noqa: PLR0917  # fixtures
    serve, services, registry, pool, elsewhere, logged, working
):
    heard = []

    async def call(client, method, path, **options):
        answer = await client.request(method, path, **options)
        heard.append(f"{answer.status} {answer.headers} {await answer.text()}")
        return answer, await answer.json() if answer.content_type == "application/json" else None

    token = (await create_worker_token(pool, "tests"))[1]
    async with serve(services) as client, working(services, registry, client, token):
        ids = {}
        for kind, config in {
            "basic": {"username": "ada", "password": CANARY, "test_url": f"{elsewhere}/401"},
            "api_key": {"api_key": CANARY, "placement": "query", "name": "k", "test_url": f"{elsewhere}/echo"},
            "bearer": {"token": CANARY, "test_url": f"{elsewhere}/break"},
        }.items():
            body = {"name": kind, "credential_type": kind, "config": {**config, "allowed_hosts": [elsewhere]}}
            answer, made = await call(client, "POST", "/api/connections", json=body, headers={"Idempotency-Key": kind})
            assert answer.status == 201
            ids[kind] = made["id"]
            path = f"/api/connections/{made['id']}"
            await call(client, "POST", "/api/connections", json=body)  # the name is taken
            await call(client, "POST", "/api/connections", json={**body, "config": {**config, "allowed_hosts": ["*"]}})
            await call(client, "POST", f"{path}/test")
            await call(client, "POST", f"/api/credential-types/{kind}/test", json={"config": body["config"]})
            await call(client, "PUT", path, json={"config": {"allowed_hosts": ["http://evil.example"]}})
            await call(client, "PUT", path, json={"config": {**made["config"], "nonsense": CANARY}})
            await call(client, "GET", path)
        await call(client, "GET", "/api/connections")
        await call(client, "GET", "/api/credentials")

        child = {"nodes": [{"id": "in", "type": "workflow_trigger"}, {"id": "out", "type": "noop"}],
                 "edges": [{"source": "in", "target": "out"}]}  # fmt: skip
        _, workflow = await call(client, "POST", "/api/workflows", json={"name": "child", "definition": child})
        await call(client, "POST", f"/api/workflows/{workflow['id']}/versions", json={"name": "v"})
        answer, _ = await call(client, "POST", f"/api/workflows/{workflow['id']}/versions/latest/deploy")
        assert answer.status == 200
        steps = [("leak", {"how": how, "workflow": workflow["id"]}) for how in
                 ("output", "fail", "crash", "variable", "child")]  # fmt: skip
        steps += [("http_request", {"url": f"{elsewhere}/{path}"}) for path in ("echo", "401", "away", "break")]
        steps += [("http_request", {"url": f"{elsewhere}/echo", "response": "text"}),
                  ("http_request", {"url": "http://127.0.0.1:1/"})]  # fmt: skip
        ends = []
        for kind in ("basic", "api_key"):
            for node_type, config in steps:
                nodes = [{"id": "start", "type": "manual_trigger"},
                         {"id": "n", "type": node_type, "retry": {"max_attempts": 1},
                          "config": {**config, "connection": ids[kind]}},
                         {"id": "after", "type": "transform", "config": {"template": "{{ input }}"}}]  # fmt: skip
                edges = [{"source": "start", "target": "n"}, {"source": "n", "target": "after"}]
                body = {"name": "x", "definition": {"nodes": nodes, "edges": edges}, "wait_seconds": 30}
                _, run = await call(client, "POST", "/api/workflow-runs", json=body)
                ends.append((node_type, config, run["status"]))
                await call(client, "GET", f"/api/workflow-runs/{run['id']}/steps")
                await call(client, "GET", f"/api/workflow-runs/{run['id']}/events")
                await call(client, "GET", f"/api/workflow-runs/{run['id']}")
        await call(client, "GET", "/api/variables")
        await call(client, "GET", "/metrics")
        await call(client, "GET", "/ready")
        await call(client, "GET", "/api/cluster", headers={"X-Debug": "true"})

    assert {status for *_, status in ends} == {"completed", "failed"}, ends
    assert "•••" in "".join(heard), "the secret would have been there"
    places = {"answers": "\n".join(heard), "logs": logged.getvalue(), "rows": await dump(pool)}
    found = {(place, form) for place, text in places.items() for form in WRITTEN if form in text}
    assert found == set()
    assert "node crashed" in places["logs"]
    assert "it is •••" in places["rows"]


class Tour:
    """Calls of the API by somebody who may edit; every answer is heard."""

    def __init__(self, client):
        self.client = client
        self.heard = []

    async def call(self, method, path, expected=None, **options):
        answer = await self.client.request(method, path, **options)
        self.heard.append(f"{answer.status} {answer.headers} {await answer.text()}")
        assert answer.status == (expected or answer.status), self.heard[-1]
        return await answer.json() if answer.content_type == "application/json" else None

    async def connect(self, name, credential_type, **config):
        body = {"name": name, "credential_type": credential_type, "config": config}
        return (await self.call("POST", "/api/connections", 201, json=body))["id"]

    async def hook(self, **config):
        """The id of a webhook that keeps all its deliveries, and its path."""
        definition = {"nodes": [{"id": "hook", "type": "webhook", "config": {"deliveries": "all", **config}}]}
        made = await self.call("POST", "/api/workflows", 201, json={"name": "hook", "definition": definition})
        await self.call("POST", f"/api/workflows/{made['id']}/versions", 201, json={"name": "v"})
        (new,) = (await self.call("POST", f"/api/workflows/{made['id']}/versions/1/deploy", 200))["new_webhooks"]
        return new["trigger_id"], URL(new["webhook_url"]).path

    async def run(self, url, connection_id, status):
        """A run that calls an address with a connection, and all that is told of it."""
        config = {"url": url, "connection": connection_id}
        nodes = [{"id": "start", "type": "manual_trigger"},
                 {"id": "n", "type": "http_request", "retry": {"max_attempts": 1}, "config": config}]  # fmt: skip
        body = {"definition": {"nodes": nodes, "edges": [{"source": "start", "target": "n"}]}, "wait_seconds": 30}
        run = await self.call("POST", "/api/workflow-runs", json=body)
        assert run["status"] == status
        for path in ("", "/steps", "/events"):
            await self.call("GET", f"/api/workflow-runs/{run['id']}{path}", 200)

    async def look_around(self):
        await self.client.server.app[AUDIT].one_pass()
        for path in ("connections", "triggers", "workflow-runs", "audit", "audit/export", "cluster"):
            await self.call("GET", f"/api/{path}", 200)


@pytest.fixture
async def tour(serve, services, registry, logged):
    async with serve(services) as client, embedded(services, registry, client, None):
        yield Tour(client)


async def leaks(tour, pool, logged, *secrets):
    """Where any of these texts is found."""
    places = {"answers": "\n".join(tour.heard), "logs": logged.getvalue(), "rows": await dump(pool)}
    return {(place, secret) for place, text in places.items() for secret in secrets if secret in text}


HOOK = "canary-of-a-webhook-7f3b"
LOGIN = base64.b64encode(f"ada:{HOOK}".encode()).decode()


@pytest.mark.parametrize(
    ("config", "secret", "proof"),
    [
        ({"auth": "header", "authHeader": "X-Token"}, HOOK, {"X-Token": HOOK}),
        ({"auth": "basic"}, f"ada:{HOOK}", {"Authorization": f"Basic {LOGIN}"}),
        ({"auth": "hmac", "preset": "github"}, HOOK, github(HOOK, b"{}")),
    ],
    ids=["header", "basic", "hmac"],
)
async def test_the_secret_of_a_webhook_is_in_no_answer_log_line_event_or_row(  # noqa: PLR0917  # fixtures
    tour, pool, logged, config, secret, proof
):
    """Neither of calls that pass, nor of those that are refused, tried, kept and replayed."""
    connection = await tour.connect("c", "webhook_secret", secret=secret)
    trigger, path = await tour.hook(**config, secret=connection)
    trigger = f"/api/triggers/{trigger}"
    sent = {"headers": {"Content-Type": "application/json", **proof}}
    wrong = {"headers": {name: f"{value}x" for name, value in proof.items()}}
    await tour.call("POST", path, 202, data=b"{}", **sent)
    await tour.call("POST", path, data=b"{", **sent)
    await tour.call("POST", path, 401, data=b"{}", **wrong)
    trial = await tour.call("POST", f"{trigger}/test", 201)
    await tour.call("POST", URL(trial["test_url"]).path, data=b"{}", **sent)
    tried = await tour.call("GET", f"{trigger}/test/{trial['id']}?wait_seconds=5", 200)
    kept = (await tour.call("GET", f"{trigger}/deliveries", 200))["deliveries"]
    for delivery in kept:
        await tour.call("GET", f"{trigger}/deliveries/{delivery['id']}", 200)
        await tour.call("POST", f"{trigger}/deliveries/{delivery['id']}/replay")
    await tour.look_around()
    assert (len(kept), tried["call"]["input"]["body"]) == (3, {})
    assert await leaks(tour, pool, logged, HOOK, LOGIN) == set()


CLIENT_SECRET = "canary-of-a-client-7f3c"
GIVEN = {"access_token": "canary-access-7f3d", "refresh_token": "canary-refresh-7f3e", "expires_in": 30}


@pytest.fixture
async def authorizing():
    """An authorization server that gives tokens twice; then its errors say what it was told."""
    told = []

    async def token(request):
        told.append({"headers": dict(request.headers), "form": dict(await request.post())})
        if len(told) <= 2:
            return web.json_response(GIVEN)
        error = {"error": "invalid_client", "error_description": json.dumps(told)}
        return web.json_response(error, status=401 if len(told) == 3 else 500)

    app = web.Application()
    app.router.add_post("/token", token)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


async def test_secrets_of_a_sign_in_are_in_no_answer_log_line_event_or_row(tour, pool, logged, elsewhere, authorizing):
    client = {"client_id": "me", "client_secret": CLIENT_SECRET, "allowed_hosts": [elsewhere]}
    addresses = {"authorization_url": f"{authorizing}/authorize", "token_url": f"{authorizing}/token"}
    connection = await tour.connect("c", "oauth2", **client, **addresses)
    begun = await tour.call("POST", f"/api/connections/{connection}/authorize", 200)
    state = URL(begun["authorization_url"]).query["state"]
    await tour.call("GET", f"/oauth2/callback?state={state}&code=c", 200)
    for status in ("completed", "failed", "failed"):
        await tour.run(f"{elsewhere}/echo", connection, status)
    await tour.call("POST", f"/api/connections/{connection}/test")
    await tour.call(
        "PUT", f"/api/connections/{connection}", json={"config": {"token_url": "https://evil.example/token"}}
    )
    await tour.look_around()
    assert "Bearer •••" in "".join(tour.heard), "the token would have been there"
    both = base64.b64encode(f"me:{CLIENT_SECRET}".encode()).decode()
    secrets = (CLIENT_SECRET, both, GIVEN["access_token"], GIVEN["refresh_token"])
    assert await leaks(tour, pool, logged, *secrets) == set()
