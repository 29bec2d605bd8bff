"""The API on a real socket, over a database of the test's own, with a key for each role."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import orjson
import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from melagent.api.app import build_app
from melagent.api.context import Services
from melagent.broker.postgres import postgres_broker
from melagent.engine.context import World
from melagent.engine.engine import Engine
from melagent.registry import Registry
from melagent.schema import known_ids
from melagent.services import users
from melagent.services.access import Role, create_key
from melagent.store.sealed import CONNECTION_SECRET
from melagent.vault import Vault
from melagent.worker.database import DatabaseSource
from melagent.worker.worker import Worker, WorkerOptions

ADMIN_KEY = "the-bootstrap-key-of-the-tests"
PASSWORD = "correct horse battery"
PASSWORD_HASH = PasswordHasher().hash(PASSWORD)


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


class Known:
    """Secrets of webhooks by the ids of their connections; set, they are stored."""

    def __init__(self, url, vault):
        self._url, self._vault = url, vault

    def __setitem__(self, connection_id, secret):
        sealed = self._vault.seal(orjson.dumps({"secret": secret}), CONNECTION_SECRET.context(UUID(connection_id)))
        with psycopg.connect(self._url) as connection:
            connection.execute(STORE_SECRET, (connection_id, connection_id, sealed))

    def __delitem__(self, connection_id):
        """Behind the back of whatever uses it."""
        with psycopg.connect(self._url) as connection:
            connection.execute("DELETE FROM connection_uses WHERE connection_id = %s", (connection_id,))
            connection.execute("DELETE FROM connections WHERE id = %s", (connection_id,))


STORE_SECRET = """
INSERT INTO connections (id, name, credential_type, config, secret, secret_fields, created_by)
VALUES (%s, %s, 'webhook_secret', '{}', %s, '{secret}', 'test')
ON CONFLICT (id) DO UPDATE SET secret = excluded.secret
"""


@pytest.fixture
def secrets(database_url, vault):
    return Known(database_url, vault)


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


@dataclass
class Browser:
    """A browser with its cookies; `csrf` is what the pages of its session know."""

    client: TestClient
    csrf: str | None = None

    async def log_in(self, email, password=PASSWORD, **headers):
        answer = await self.client.post("/api/auth/login", json={"email": email, "password": password}, headers=headers)
        if answer.status == 200:
            self.csrf = (await answer.json())["csrf_token"]
        return answer

    async def call(self, method, path, *, csrf=True, headers=None, **given):
        token = {"X-CSRF-Token": self.csrf} if csrf and self.csrf else {}
        return await self.client.request(method, path, headers={**token, **(headers or {})}, **given)

    def cookie(self, name="mel_session"):
        found = [cookie.value for cookie in self.client.session.cookie_jar if cookie.key == name]
        return found[0] if found else None


@pytest.fixture
async def open_browser(client):
    """Opens browsers, each with cookies of its own, on the instance of `client` or on another one."""
    opened = []

    async def open_browser(url=None):
        jar = aiohttp.CookieJar(unsafe=True)  # an address instead of a name
        browser = TestClient(client.server if url is None else url, cookie_jar=jar)
        opened.append(browser)
        return Browser(browser)

    yield open_browser
    for browser in opened:
        await browser.session.close()


@pytest.fixture
async def make_user(pool):
    """Makes a user with the password of the tests."""

    async def make_user(email="ada@example.com", role=Role.EDITOR, name="Ada"):
        return await users.add(pool, email, name, role, PASSWORD_HASH)

    return make_user


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
