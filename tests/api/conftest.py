"""The API on a real socket, over a database of the test's own, with a key for each role."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from melagent.api.app import build_app
from melagent.api.context import Services
from melagent.broker.postgres import postgres_broker
from melagent.engine.context import World
from melagent.engine.engine import Engine
from melagent.migrate import known_ids
from melagent.registry import Registry
from melagent.services.access import Role, create_key
from melagent.vault import Vault
from melagent.worker.database import DatabaseSource
from melagent.worker.worker import Worker, WorkerOptions

ADMIN_KEY = "the-bootstrap-key-of-the-tests"


@pytest.fixture(scope="session")
def registry():
    return Registry.builtin()


@pytest.fixture
async def engine(database_url, pool):
    broker = postgres_broker(database_url)
    engine = Engine(pool, broker, answering=["http_response"])
    await broker.start()
    await engine.open()
    yield engine
    await engine.close()
    await broker.stop()


@pytest.fixture
def serve():
    """How to serve the application over some services while a test talks to it."""

    @asynccontextmanager
    async def serve(services, key=ADMIN_KEY):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with TestClient(TestServer(build_app(services)), headers=headers) as client:
            yield client

    return serve


@pytest.fixture
def vault():
    return Vault([bytes(range(32))])


@pytest.fixture
def services(pool, engine, registry, vault):
    return Services(
        pool=pool,
        engine=engine,
        registry=registry,
        instance="test-instance",
        version="1.2.3",
        migrations=frozenset(known_ids()),
        demo=True,
        bootstrap_key=ADMIN_KEY,
        vault=vault,
        http_allow=("127.0.0.1",),
    )


@pytest.fixture
async def client(serve, services):
    """A client with the key of an administrator."""
    async with serve(services) as client:
        yield client


@pytest.fixture
async def keys(pool):
    """A key for each role; none for whoever has none."""
    made = {
        role: (await create_key(pool, role.name.lower(), role))[1] for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN)
    }
    return {Role.OPEN: None, **made}


@pytest.fixture
def eventually():
    """How to wait until a coroutine function answers something true, and get that."""

    async def eventually(check, seconds=60.0):
        async with asyncio.timeout(seconds):
            while not (value := await check()):  # noqa: ASYNC110  # what is waited for lies outside of this loop
                await asyncio.sleep(0.01)
        return value

    return eventually


@pytest.fixture
def definition():
    """A manual trigger and a webhook that lead to one noop."""
    return {
        "nodes": [
            {"id": "start", "type": "manual_trigger"},
            {"id": "hook", "type": "webhook", "config": {"method": "POST"}},
            {"id": "done", "type": "noop"},
        ],
        "edges": [{"source": "start", "target": "done"}, {"source": "hook", "target": "done"}],
    }


@pytest.fixture
def make_workflow(client, definition):
    async def make(given=None, name="orders"):
        answer = await client.post("/api/workflows", json={"name": name, "definition": given or definition})
        assert answer.status == 201, await answer.text()
        return await answer.json()

    return make


@pytest.fixture
def deploy(client, make_workflow):
    """Make a workflow and deploy its draft; the id of the workflow."""

    async def deploy(given=None, name="orders"):
        workflow_id = (await make_workflow(given, name))["id"]
        made = await client.post(f"/api/workflows/{workflow_id}/versions", json={"name": "first"})
        assert made.status == 201, await made.text()
        deployed = await client.post(f"/api/workflows/{workflow_id}/versions/latest/deploy")
        assert deployed.status == 200, await deployed.text()
        return workflow_id

    return deploy


@pytest.fixture
async def worker(engine, registry):
    """A worker in this process, so that runs are executed."""
    async with aiohttp.ClientSession() as session:
        world = World(clock=lambda: datetime.now(UTC), http=lambda: session)
        source = DatabaseSource(engine, registry, "test-worker")
        worker = Worker(source, registry, world, WorkerOptions("test-worker", heartbeat_seconds=1, grace_seconds=2))
        engine.use_slots(worker)
        worker.start()
        yield worker
        await worker.drain()
