"""The floor of live editing must do what it is the floor of: store each update once, and show it to all others."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from benchmarks.realtime.floor import SCHEMA, Floor
from benchmarks.realtime.swarm import Swarm
from melagent.broker.redis import redis_broker
from tests.valkey import valkey


@pytest.fixture
def redis_url():
    with valkey() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
async def addresses(aiohttp_server, pool, redis_url):
    """Two instances of the floor."""
    await pool.execute(SCHEMA)
    async with AsyncExitStack() as stack:

        async def start():
            broker = redis_broker(redis_url)
            await broker.start()
            stack.push_async_callback(broker.stop)
            floor = Floor(pool, broker)
            committing = asyncio.create_task(floor.commit())
            stack.push_async_callback(asyncio.wait, [committing])
            stack.callback(committing.cancel)
            return f"127.0.0.1:{(await aiohttp_server(floor.app())).port}"

        yield [await start(), await start()]


async def test_the_floor_stores_each_update_once_and_shows_it_to_all_others(addresses, pool):
    swarm = Swarm("ours", "no key")
    await swarm.connect(0, ["one", "two"], addresses)
    figures = await swarm.deliver(rate=400, seconds=0.5, warm=0.0)
    await swarm.close()
    assert (figures["sent"], figures["delivered"]) == (200, 1_800)
    assert (figures["missing"], figures["wrong"], figures["lost"], figures["faults"]) == (0, 0, 0, [])
    assert sum(figures["cross"].values()) == 1_000
    stored = await pool.fetch("SELECT room, count(*), max(seq) FROM floor_updates GROUP BY room")
    assert sum(row["count"] for row in stored) == 200
    assert all(row["count"] == row["max"] for row in stored)
