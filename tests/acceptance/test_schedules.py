"""Five instances fire three hundred schedules while they are killed and started, and PostgreSQL restarts once.

The clock of one instance is five minutes ahead. What has fired is compared with what was planned by the database alone.
The short form belongs to the tests; the long one is part of `make prove`.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from deploy.local.topology import ProgramMissing, topology
from tests.builders import eventually

SCHEDULES, IN_ONE_WORKFLOW = 300, 50
INSTANCES = [f"api-{number}" for number in range(1, 5)]
TURN_SECONDS = 2.5

DIFFERENCES = """
WITH planned AS (
    SELECT id, since, (regexp_match(config->>'cron', '^(\\d+)/(\\d+) '))[1]::int AS first,
           (regexp_match(config->>'cron', '^(\\d+)/(\\d+) '))[2]::int AS step
      FROM triggers
), expected AS (
    SELECT p.id, moment
      FROM planned p, generate_series(date_trunc('second', p.since) + interval '1 s', $1, interval '1 s') AS moment
     WHERE extract(second FROM moment)::int >= first AND (extract(second FROM moment)::int - first) % step = 0
), fired AS (
    SELECT trigger_id, scheduled_for FROM runs WHERE scheduled_for <= $1
)
SELECT 'missing' AS what, * FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM fired) AS missing
UNION ALL
SELECT 'too many', * FROM (SELECT * FROM fired EXCEPT ALL SELECT * FROM expected) AS too_many
"""


def clock_ahead():
    """The environment of a process whose clock is five minutes ahead; how fast time passes stays as it is."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketime.so.1"))
    if not found:
        raise ProgramMissing("faketime is not installed; on Debian and Ubuntu: apt-get install faketime")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": "+5m", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def workflows():
    """Definitions whose schedules fire every 1 to 60 seconds of a minute, begun at different ones."""
    nodes = []
    for number in range(SCHEDULES):
        step = 1 + number % 60
        config = {"cron": f"{number * 7 % step}/{step} * * * * *", "missed": "all"}
        nodes.append({"id": f"clock{number}", "type": "schedule", "config": config})
    return [{"nodes": nodes[start : start + IN_ONE_WORKFLOW]} for start in range(0, SCHEDULES, IN_ONE_WORKFLOW)]


async def deploy(cluster, definition):
    made = await cluster.call("POST", "/api/workflows", {"name": "schedules", "definition": definition})
    await cluster.call("POST", f"/api/workflows/{made['id']}/versions", {"name": "1"})
    await cluster.call("POST", f"/api/workflows/{made['id']}/versions/1/deploy")


async def read(member, path):
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{member.port}{path}") as response:
        return await response.text()


async def disturb(cluster, seconds, dice):
    """Kill an instance and start it again, turn by turn; in the middle of it all restart PostgreSQL."""
    ends_at = time.monotonic() + seconds
    restart_at = ends_at - seconds / 2
    while (left := ends_at - time.monotonic()) > 0:
        await asyncio.sleep(min(left, TURN_SECONDS * dice.uniform(0.5, 1)))
        if time.monotonic() >= restart_at:
            await cluster.restart_postgres()
            restart_at = ends_at
        elif left > TURN_SECONDS:
            victim = dice.choice(INSTANCES)
            await cluster.kill(victim)
            await cluster.start_api(victim)


async def started_by(member):
    """How many runs an instance has started."""
    return float(re.search(r"^mel_runs_started_total (\S+)", await read(member, "/metrics"), re.MULTILINE).group(1))


async def fire_exactly(seconds, seed):
    """The number of firings, when each planned moment has one. At the end the instance that is ahead fires alone."""
    async with topology(apis=len(INSTANCES), workers=0, redis=False) as cluster:
        ahead = await cluster.start_api("api-ahead", **clock_ahead())
        told = datetime.fromisoformat(re.search(r'"timestamp":"([^"]+)"', await read(ahead, "/health")).group(1))
        assert told - datetime.now(UTC) > timedelta(minutes=4)
        for definition in workflows():
            await deploy(cluster, definition)
        await disturb(cluster, seconds, random.Random(seed))
        for name in INSTANCES:
            await cluster.kill(name)
        before = await started_by(ahead)
        async with cluster.database() as conn:
            end = await conn.fetchval("SELECT clock_timestamp() + interval '2 s'")
            await eventually(lambda: conn.fetchval("SELECT min(planned_at) > $1 FROM triggers", end))
            differences = await conn.fetch(DIFFERENCES, end)
            fired = await conn.fetchval("SELECT count(*) FROM runs WHERE scheduled_for <= $1", end)
            too_early = await conn.fetchval("SELECT count(*) FROM runs WHERE created_at < scheduled_for")
        assert await started_by(ahead) > before
    assert (differences, too_early) == ([], 0)
    return fired


async def test_every_planned_moment_fires_once_whoever_is_killed_and_whatever_a_clock_says():
    assert await fire_exactly(seconds=10, seed=1) > 200


@pytest.mark.prove
async def test_the_same_for_a_minute_and_a_half():
    assert await fire_exactly(seconds=90, seed=2) > 2000
