"""The program behind PgBouncer in transaction mode, with the version that Debian has."""

from __future__ import annotations

from contextlib import asynccontextmanager

import aiohttp
import pytest

from deploy.local.topology import topology
from tests.acceptance.exact import check_exact
from tests.acceptance.load import ASYNC_HOOK, DOUBLE, END, SYNC_HOOK, Load
from tests.acceptance.program import line_of
from tests.bouncer import bouncer
from tests.builders import eventually


@asynccontextmanager
async def behind_bouncer(**settings):
    """A cluster of one instance and one worker whose instance reaches its database through PgBouncer."""
    async with topology(apis=0, workers=0, redis=False) as cluster, bouncer(cluster.dsn) as pooler:
        cluster.settings |= {"DATABASE_URL": pooler.url, "DATABASE_DIRECT_URL": cluster.dsn, **settings}
        cluster.settings["MEL_WORKER_CONCURRENCY"] = "50"
        await cluster.start_api("api-1")
        await cluster.start_nginx()
        await cluster.start_worker("worker-1")
        yield cluster, pooler


@pytest.mark.parametrize("prepared", ["auto", "off"])
async def test_the_program_lives_behind_a_transaction_pooler_and_survives_its_death(prepared):
    async with behind_bouncer(DB_PREPARED_STATEMENTS=prepared) as (cluster, pooler):
        load = Load()
        sync = await cluster.deploy(line_of(SYNC_HOOK, DOUBLE, END))
        deferred = await cluster.deploy(line_of(ASYNC_HOOK, DOUBLE, END))
        load.begin(sync, 4, sync=True, pause=0.02)
        load.begin(deferred, 2, sync=False, pause=0.05)  # more than a worker gets done would only make a queue
        await eventually(lambda: len(load.answered) > 200 and len(load.accepted) > 100)
        assert load.failures == []
        assert cluster.logged("api-1").count("pooler found") == (1 if prepared == "auto" else 0)
        await pooler.kill()
        await pooler.start()
        answered = len(load.answered)
        await eventually(lambda: len(load.answered) > answered + 100)
        await load.end()
        await check_exact(cluster, load)


async def test_migrations_and_status_work_beside_the_pooler():
    async with behind_bouncer() as (cluster, _):
        assert "0004.workers" in await cluster.command("migrate", "status")
        async with aiohttp.ClientSession() as session, session.get(f"{cluster.url}/ready") as response:
            checks = (await response.json())["checks"]
        assert (checks["database"]["status"], checks["broker"]["status"]) == ("healthy", "healthy")
