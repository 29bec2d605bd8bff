"""How a server process is put together: in which order its parts begin, and under which address it finds itself."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from melagent import migrate
from melagent.cli import compose
from melagent.maintenance.registrar import Registrar
from melagent.services import keyring
from melagent.services.connections import Connections
from melagent.settings import load
from melagent.store.ids import new_id
from melagent.store.instances import Identity
from melagent.vault import Vault, key_id, key_id_of
from tests.builders import chain, eventually, free_run, stored
from tests.services.oauth_server import CLIENT, SECRET, authorization_server

OLD, NEW = bytes(range(32)), bytes(range(50, 82))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens a server of this process with these settings, and drains it."""
    monkeypatch.setattr(compose, "calm_garbage_collection", lambda: None)  # for a process that is nothing else

    @asynccontextmanager
    async def opened(url, role="server", **given):
        flags = {"server.host": "127.0.0.1", "server.port": 0, "data_dir": tmp_path}
        named = {name.replace("__", "."): value for name, value in given.items()}
        server = await compose.open_server(load(flags | named, environ={}), url, role)
        try:
            yield server
        finally:
            await server.drain()

    return opened


async def run_to_its_end(pool, *nodes):
    """The outcome of a run that goes through these nodes."""
    run = await free_run(pool, version_id=await stored(pool, chain(("start", "manual_trigger"), *nodes)))

    async def ended():
        return await pool.fetchrow("SELECT status, error FROM runs WHERE id = $1 AND finished_at IS NOT NULL", run.id)

    row = await eventually(ended)
    assert row["status"] == "completed", row["error"]
    return await pool.fetchval("SELECT output FROM steps WHERE run_id = $1 ORDER BY seq DESC LIMIT 1", run.id)


@pytest.fixture
async def token_server():
    async with authorization_server() as server:
        yield server


@pytest.fixture
def connection(pool, token_server):
    """A connection that gets tokens when they are needed, for calls of a URL; sealed under a key."""

    async def connection(key, url):
        fields = {
            "grant": "client_credentials", "token_url": f"{token_server.url}/token", "client_id": CLIENT,
            "client_secret": SECRET, "allowed_hosts": [url],
        }  # fmt: skip  # as in the form
        return (await Connections(pool, Vault([key])).create(new_id(), "c", "oauth2", fields, "me")).id

    return connection


async def say_that_another_has(pool, *keys):
    """Put an instance on the list that has these keys."""
    other = Identity("other", "api-server", "1", "host", 1)
    await Registrar(pool, other, dict, lambda: False, lambda: [key_id(key) for key in keys]).one_pass()


async def test_the_embedded_worker_begins_when_it_is_settled_which_key_to_seal_under(
    opened, database_url, pool, connection, monkeypatch
):
    """Its nodes may renew tokens at once; sealed under a key that another instance lacks, they would be lost to it."""
    done = []
    agree, start = keyring.agree, compose.Worker.start

    async def agreeing(conn, vault):
        newest = await agree(conn, vault)
        done.append(f"seals under {vault.sealing_id}")
        return newest

    def starting(worker):
        done.append("the worker begins")
        start(worker)

    monkeypatch.setattr(keyring, "agree", agreeing)
    monkeypatch.setattr(compose.Worker, "start", starting)
    await say_that_another_has(pool, OLD)
    keys = f"{NEW.hex()},{OLD.hex()}"
    async with opened(database_url, security__encryption_keys=keys, security__http_allow="127.0.0.1") as server:
        call = {"url": f"{server.url}/demo/json", "connection": str(await connection(OLD, server.url))}
        await run_to_its_end(pool, {"id": "call", "type": "http_request", "config": call})
    assert done[: done.index("the worker begins")] == [f"seals under {key_id(OLD)}"]
    assert key_id_of(await pool.fetchval("SELECT tokens FROM connections")) == key_id(OLD)


async def test_an_instance_soon_says_under_which_key_it_seals(opened, database_url, pool):
    await say_that_another_has(pool, OLD)
    told = []

    async def known():
        told[:] = [row["key_ids"] for row in await pool.fetch("SELECT key_ids FROM instances WHERE id <> 'other'")]
        return told == [[key_id(OLD), key_id(NEW)]]

    async with opened(database_url, "api-server", security__encryption_keys=f"{NEW.hex()},{OLD.hex()}"):
        await eventually(known, seconds=4)  # less than what lies between two passes of the registrar


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
async def test_nodes_may_call_the_demo_of_their_own_server_wherever_it_listens(
    opened, database_url, pool, host, address
):
    async with opened(database_url, server__host=host) as server:
        assert server.url.startswith(f"http://{address}:")
        call = {"url": "{{ run.demo_url }}/echo"}
        output = await run_to_its_end(pool, {"id": "call", "type": "http_request", "config": call})
    assert f'"host":"{address}:' in output.decode()


async def test_an_administrator_of_the_settings_is_made_when_the_schema_comes_later(opened, empty_database_url):
    named = {"security__admin_email": "root@example.com", "security__admin_password": "correct horse battery"}
    async with opened(empty_database_url, "api-server", **named):
        await asyncio.to_thread(migrate.up, empty_database_url)
        async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=1) as pool:
            made = await eventually(lambda: pool.fetch("SELECT email, role FROM users"))
    assert [tuple(row) for row in made] == [("root@example.com", "admin")]
