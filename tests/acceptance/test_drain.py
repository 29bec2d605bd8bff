"""Being told to stop: what runs is finished and answered, and a second word ends it at once."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.acceptance.program import allow, calls, counter, line_of, program
from tests.builders import eventually

QUICK_RESCUE = {"MEL_LEASE_SECONDS": "3", "MEL_HEARTBEAT_SECONDS": "1"}
HOOK = {"id": "hook", "type": "webhook", "config": {"mode": "sync"}}


@pytest.fixture
async def held():
    """A server with a synchronous webhook call under way, which waits for the outside world."""
    async with counter() as outside, program(MEL_HTTP_ALLOW=allow(outside), **QUICK_RESCUE) as server:
        url = await server.deploy(line_of(HOOK, *calls(outside, "call"), {"id": "end", "type": "noop"}))
        outside.open.clear()

        async def call():
            async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
                return response.status, await response.json()

        calling = asyncio.create_task(call())
        await eventually(lambda: outside.keys, seconds=30)
        server.terminate()

        async def draining():
            return "draining" in server.log.read_text()

        await eventually(draining, seconds=30)
        yield server, outside, calling
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def test_the_first_sigterm_finishes_the_running_webhook_and_exits_with_0(held):
    server, outside, calling = held
    assert not calling.done()
    assert await server.readiness() != 200
    outside.open.set()
    status, body = await asyncio.wait_for(calling, 30)
    assert (status, body["body"]) == (200, {"call": 1})
    assert await server.exit_code() == 0
    assert len(outside.keys) == 1


async def test_the_second_sigterm_ends_at_once_and_the_run_goes_on_after_the_next_start(held):
    server, outside, calling = held
    before = time.monotonic()
    server.terminate()
    assert await server.exit_code() != 0
    assert time.monotonic() - before < 15  # the grace time is 30 s
    assert not calling.done() or calling.exception()
    outside.open.set()
    await server.start()
    await eventually(server.nothing_live, seconds=60)
    listed = await server.call("GET", "/api/workflow-runs")
    assert [run["status"] for run in listed["runs"]] == ["completed"]
    assert len(set(outside.keys)) == 1


NOTE_DRAINING = """
CREATE TABLE noted (instance text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO noted VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER note AFTER UPDATE ON instances FOR EACH ROW WHEN (NEW.draining) EXECUTE FUNCTION note()
"""


async def test_an_instance_is_listed_as_draining_at_once_and_then_no_more(database_url, pool):
    await pool.execute(NOTE_DRAINING)
    async with program(DATABASE_URL=database_url) as server:
        instance = await eventually(lambda: pool.fetchval("SELECT id FROM instances"))
        server.terminate()
        assert await server.exit_code() == 0
    assert await pool.fetch("SELECT DISTINCT instance FROM noted") == [(instance,)]
    assert await pool.fetchval("SELECT count(*) FROM instances") == 0
