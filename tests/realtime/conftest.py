"""Instances over one database and both kinds of broker, and clients on real sockets that hold the draft as all do."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestServer

from melagent.api.app import build_app
from melagent.api.context import HUB, Services
from melagent.broker.postgres import postgres_broker
from melagent.broker.redis import redis_broker
from melagent.engine.engine import Engine
from melagent.realtime.redis_seats import RedisSeats
from melagent.registry import Registry
from melagent.services.access import Role, create_key
from melagent.services.drafts import load
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import eventually
from tests.realtime.clients import Client
from tests.valkey import valkey

ADMIN_KEY = "the-bootstrap-key-of-the-tests"


@pytest.fixture(scope="session")
def redis_port():
    with valkey() as server:
        yield server.port


@pytest.fixture(params=["postgres", "redis"])
def kind(request):
    return request.param


@dataclass
class Instance:
    """An instance that serves sockets, inside the process of the test."""

    name: str
    services: Services
    app: Any
    server: TestServer
    redis_url: str | None

    @property
    def hub(self):
        return self.app[HUB]

    @property
    def broker(self):
        return self.services.engine.broker

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))


@pytest.fixture
async def start(database_url, registry, kind, redis_port):
    """Starts instances: `start()`; `broker_url` and `database` lead its broker and its statements elsewhere."""
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    async with AsyncExitStack() as stack:

        async def start(*, broker_url=None, database=None, **options):
            name = f"i{uuid4().hex[:8]}"
            pool = await create_pool(database or database_url, PoolLimits(max_open=8))
            stack.push_async_callback(pool.close)
            if kind == "redis":
                broker = redis_broker(broker_url or redis_url)
                options.setdefault("seats", RedisSeats(redis_url))
            else:
                broker = postgres_broker(broker_url or database_url)
            engine = Engine(pool, broker)
            await broker.start()
            stack.push_async_callback(broker.stop)
            services = Services(
                pool=pool, engine=engine, registry=registry, instance=name, version="1", bootstrap_key=ADMIN_KEY,
                **options,
            )  # fmt: skip
            app = build_app(services)
            server = TestServer(app)
            await server.start_server()
            stack.push_async_callback(server.close)
            await eventually(lambda: broker.health == "healthy")
            return Instance(name, services, app, server, redis_url if kind == "redis" else None)

        yield start


@pytest.fixture(scope="session")
def registry():
    return Registry.builtin()


@pytest.fixture
async def one(start):
    return await start()


@pytest.fixture
async def two(start):
    return await start()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def keys(pool):
    made = {role: await create_key(pool, role.name.lower(), role) for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN)}
    return {role: key for role, (_, key) in made.items()}


DEFINITION = {
    "nodes": [{"id": "start", "type": "manual_trigger"}, {"id": "done", "type": "noop", "name": "Done"}],
    "edges": [{"source": "start", "target": "done"}],
}


@pytest.fixture
def make_workflow(http):
    async def make(instance, definition=None):
        body = orjson.dumps({"name": "orders", "definition": definition or DEFINITION})
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        async with http.post(instance.url("/api/workflows"), data=io.BytesIO(body), headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            return (await answer.json())["id"]

    return make


@pytest.fixture
async def connect(http):
    """Opens sockets; what it answers has joined already, unless it is told not to."""
    clients = []

    async def connect(instance, workflow_id, *, key=ADMIN_KEY, name=None, join=True, since=None, state=None, **more):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        query = more.pop("query", "")
        url = instance.url(f"/api/ws/workflows/{workflow_id}{query}")
        socket = await http.ws_connect(url, headers=headers | more.pop("headers", {}), max_msg_size=0, **more)
        client = Client(socket, name or uuid4().hex)
        clients.append(client)
        return await client.join(since, state) if join else client

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
def stored(pool):
    """The draft as the database has it."""

    async def stored(workflow_id):
        async with pool.acquire() as conn:
            return await load(conn, workflow_id)

    return stored


@pytest.fixture
def converged(stored):
    """Wait until clients hold what the database holds."""

    async def converged(workflow_id, *clients):
        async def equal():
            state = await stored(workflow_id)
            return all(client.state.seq == state.seq for client in clients) and state

        state = await eventually(equal)
        for client in clients:
            assert client.content() == state.definition()
        return state

    return converged
