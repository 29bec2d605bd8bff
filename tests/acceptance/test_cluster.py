"""API instances and workers behind nginx, as processes: the promises, when one of them dies, stops or is late."""

from __future__ import annotations

import re

import aiohttp
import orjson
import pytest

from deploy.local.topology import topology
from tests.acceptance.chaos import leases_of, note_grants, takeover_seconds
from tests.acceptance.exact import check_exact
from tests.acceptance.load import ASYNC_HOOK, DOUBLE, END, SYNC_HOOK, Load, deploy_hooks, sleep
from tests.acceptance.program import allow, calls, counter, line_of
from tests.builders import eventually

LEASE_SECONDS, RESCUE_SECONDS = 15.0, 2.0
SHORT_LEASE = {"MEL_LEASE_SECONDS": "5", "MEL_HEARTBEAT_SECONDS": "1"}
CLEAR = {"connection", "503 unavailable"}
"""How calls may fail when the database is away: 503 with our error body."""


@pytest.fixture
async def outside():
    async with counter() as made:
        yield made


@pytest.fixture
async def cluster(outside):
    async with topology(MEL_WORKER_CONCURRENCY="100", MEL_HTTP_ALLOW=allow(outside)) as made:
        yield made


@pytest.fixture
async def two_instances(outside):
    """Without workers, and with a short lease."""
    async with topology(apis=2, workers=0, MEL_HTTP_ALLOW=allow(outside), **SHORT_LEASE) as made:
        yield made


async def test_promise_3_a_worker_that_goes_on_after_its_lease_was_taken_back_changes_nothing(two_instances, outside):
    cluster, load = two_instances, Load()
    url = await cluster.deploy(line_of(ASYNC_HOOK, *calls(outside, "charge", "confirm"), END))
    outside.open.clear()
    await cluster.start_worker("worker-1")
    await load.send(url, 4)
    await eventually(lambda: len(outside.keys) == 4)  # the calls of all runs are under way
    held = await leases_of(cluster, "worker-1")
    cluster.freeze("worker-1")
    outside.open.set()  # the answers wait for it
    await cluster.start_worker("worker-2")
    proved = await check_exact(cluster, load, outside)
    before, called = await written(cluster), len(outside.keys)
    cluster.thaw("worker-1")
    await eventually(lambda: dropped(cluster, "worker-1") == {str(run) for run, _ in held})
    await cluster.stop("worker-2")
    await load.send(url, 1)  # and it works on
    await check_exact(cluster, load, outside)
    after = await written(cluster)
    assert proved.taken_over == proved.repeated == len(held) == 4
    assert [row for row in before if row not in after] == []
    assert len(outside.keys) == called + 2


async def test_promise_3_what_an_instance_writes_late_for_a_worker_changes_nothing(two_instances, outside):
    """It stood still with what the worker had told it; meanwhile another worker did the work by way of another one."""
    cluster, load = two_instances, Load()
    url = await cluster.deploy(line_of(ASYNC_HOOK, *calls(outside, "charge", "confirm"), END))
    of_one, of_two = (f"http://127.0.0.1:{cluster.members[name].port}" for name in ("api-1", "api-2"))
    outside.open.clear()
    await cluster.start_worker("worker-1", "--server", of_one)
    await load.send(url.replace(cluster.url, of_two), 4)
    await eventually(lambda: len(outside.keys) == 4)
    cluster.freeze("api-1")
    outside.open.set()  # worker-1 tells it the results
    await cluster.start_worker("worker-2", "--server", of_two)
    proved = await check_exact(cluster, load, outside)
    before = await written(cluster)
    cluster.thaw("api-1")
    await eventually(lambda: refused(of_one))
    assert await written(cluster) == before
    assert proved.taken_over == proved.repeated == 4
    assert len(dropped(cluster, "worker-1")) == 4


async def written(cluster):
    """All that is recorded of runs."""
    async with cluster.database() as conn:
        return [
            tuple(row)
            for table in ("runs", "steps", "payloads", "work_items", "parked")
            for row in await conn.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]


def dropped(cluster, worker_id):
    """The runs that a worker has let go of."""
    lines = (orjson.loads(line) for line in cluster.logged(worker_id).splitlines() if '"run dropped"' in line)
    return {line["run_id"] for line in lines}


async def refused(instance):
    """How many entries of workers this instance could not write, because their lease had passed on."""
    async with aiohttp.ClientSession() as session, session.get(f"{instance}/metrics") as response:
        (count,) = re.findall(r"^mel_leases_lost_total (\S+)$", await response.text(), re.MULTILINE)
    return float(count)


async def test_promise_10_work_of_a_dead_worker_goes_on_within_a_lease_and_a_rescue_pass(cluster, outside):
    """By the clock of the database, with the lease that is the default."""
    load = Load()
    _, deferred = await deploy_hooks(cluster, outside)
    await note_grants(cluster)
    load.begin(deferred, 4, sync=False, pause=0.02)

    async def lease_many():
        held = await leases_of(cluster, "worker-1")
        return held if len(held) >= 5 else None

    held = await eventually(lease_many)
    await cluster.kill("worker-1")
    await load.end()
    proved = await check_exact(cluster, load, outside)
    assert proved.taken_over >= 5
    assert max(await takeover_seconds(cluster, held)) <= LEASE_SECONDS + RESCUE_SECONDS


async def test_promise_9_sleepers_hold_no_place_and_wake_elsewhere_though_everything_was_killed(outside):
    """More of them than there are places, on workers that go on with other work meanwhile."""
    async with topology(MEL_WORKER_CONCURRENCY="2", MEL_HTTP_ALLOW=allow(outside)) as cluster:
        sleeping = await cluster.deploy(line_of(ASYNC_HOOK, *calls(outside, "charge"), sleep("20s"), END))
        working = await cluster.deploy(line_of(SYNC_HOOK, *calls(outside, "charge"), DOUBLE))
        load = Load()
        await load.send(sleeping, 12)  # for four places

        async def asleep():
            async with cluster.database() as conn:
                parked = await conn.fetchval("SELECT count(*) FROM parked WHERE reason = 'sleeping'")
                return parked, await conn.fetchval("SELECT count(*) FROM work_items")

        async def all_sleep():
            return await asleep() == (12, 0)

        await eventually(all_sleep)
        load.begin(working, 4, sync=True)
        await eventually(lambda: len(load.answered) >= 40)
        await load.end()
        assert await asleep() == (12, 0)
        workers = (await cluster.call("GET", "/api/workers"))["workers"]
        assert [worker["busy"] for worker in workers] == [0, 0]
        for name in ("worker-1", "worker-2", "api-1", "api-2", "api-3"):
            await cluster.kill(name)
        for name in ("api-1", "api-2", "api-3"):
            await cluster.start_api(name)
        await cluster.start_worker("worker-3")
        await check_exact(cluster, load, outside)
        async with cluster.database() as conn:
            slept = await conn.fetchval(
                "SELECT min(finished_at - created_at) FROM runs WHERE id::text = ANY($1)", [*load.accepted.values()]
            )
        assert slept.total_seconds() >= 20


async def test_a_rolling_restart_fails_no_request_and_delays_no_run_by_a_lease(cluster, outside):
    load = Load()
    sync, deferred = await deploy_hooks(cluster, outside)
    load.begin(sync, 4, sync=True)
    load.begin(deferred, 2, sync=False, pause=0.05)
    await goes_on(load)
    for name in ("api-1", "api-2", "api-3"):
        assert await cluster.stop(name) == 0
        await cluster.start_api(name)
    for number in (1, 2):
        await cluster.start_worker(f"worker-new-{number}")
        assert await cluster.stop(f"worker-{number}") == 0
    await goes_on(load)
    await load.end()
    await check_exact(cluster, load, outside)
    assert load.failures == []
    async with cluster.database() as conn:
        slowest = await conn.fetchval("SELECT max(finished_at - created_at) FROM runs")
    assert slowest.total_seconds() < LEASE_SECONDS


async def test_postgresql_restarted_twice_fails_calls_clearly_and_loses_nothing_that_was_accepted(cluster, outside):
    load = Load()
    sync, deferred = await deploy_hooks(cluster, outside)
    load.begin(sync, 3, sync=True, pause=0.02)
    load.begin(deferred, 2, sync=False, pause=0.05)
    await goes_on(load)
    for _ in range(2):
        await cluster.restart_postgres()
        await goes_on(load)
    await load.end()
    await check_exact(cluster, load, outside)
    assert load.kinds <= CLEAR


async def test_promise_11_without_redis_calls_are_answered_later_and_none_fails(cluster, outside):
    load = Load()
    sync, deferred = await deploy_hooks(cluster, outside)
    load.begin(sync, 3, sync=True, pause=0.02)
    load.begin(deferred, 2, sync=False, pause=0.05)
    await goes_on(load)
    await cluster.kill("redis")
    await goes_on(load)
    await cluster.start_redis()
    await goes_on(load)
    await load.end()
    await check_exact(cluster, load, outside)
    assert load.failures == []


async def goes_on(load):
    """Calls of both kinds are answered from now on."""
    before = len(load.answered), len(load.accepted)
    await eventually(lambda: len(load.answered) > before[0] + 50 and len(load.accepted) > before[1] + 20)
