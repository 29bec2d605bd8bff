"""A worker fills its places, keeps its leases, lets go of what it may have lost, and leaves in good order."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from melagent.domain.run import RunStatus
from tests.builders import chain, eventually, expire, free_run, misplaced, new_run, place, stored
from tests.instances import Stage, instance
from tests.proxy import proxy_to


@pytest.fixture(autouse=True)
def plain_log():
    """Tracebacks as plain text: the coloured ones of an unconfigured structlog hold the event loop up for seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


START = ("start", "manual_trigger")


async def version_of(pool, *nodes):
    return await stored(pool, chain(START, *nodes))


def ended(pool, count):
    async def condition():
        return await pool.fetchval("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL") == count

    return condition


async def test_a_worker_holds_no_more_runs_than_it_has_places_and_gets_through_all(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    for _ in range(12):
        await free_run(pool, version_id=version)
    stage = Stage()
    stage.gate("a")
    async with instance(database_url, stage, concurrency=3) as one:
        await eventually(lambda: len(stage.started) == 3)
        await one.worker._claim()
        assert one.worker.busy == 3
        assert await pool.fetchval("SELECT count(*) FROM work_items WHERE lease IS NOT NULL") == 3
        stage.gate("a").set()
        await eventually(ended(pool, 12))
    assert len(stage.started) == 12


async def test_places_taken_by_starts_and_by_claims_are_the_same_places(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    stage = Stage()
    stage.gate("a")
    async with instance(database_url, stage, concurrency=4) as one:
        runs = [new_run(version) for _ in range(9)]
        await asyncio.gather(*map(one.engine.start, runs))
        await eventually(lambda: len(stage.started) == 4)
        await one.worker._claim()
        assert one.worker.busy == 4
        stage.gate("a").set()
        await eventually(ended(pool, 9))
        await eventually(lambda: one.worker._free == 4)


async def test_a_run_queued_elsewhere_is_claimed_on_the_hint(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    stage, loop = Stage(), asyncio.get_running_loop()
    async with instance(database_url, stage) as one, instance(database_url, Stage(), starts=False) as other:
        await eventually(lambda: one.broker.health == other.broker.health == "healthy")
        took = []
        for n in range(5):
            before = loop.time()
            await other.engine.start(new_run(version))
            await eventually(ended(pool, n + 1))
            took.append(loop.time() - before)
    assert min(took) < 0.5  # the poll alone would take about half of its second, five times


async def test_draining_finishes_the_running_nodes_and_gives_the_runs_back_at_the_step_boundary(database_url, pool):
    version = await version_of(pool, ("a", "effect"), ("b", "effect"))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        draining = asyncio.create_task(one.worker.drain())
        await eventually(lambda: not one.worker._accepting)
        gate.set()
        await draining
        assert stage.steps("ended") == ["a"]
        assert await place(pool, run.id) == ("pending", "free")
        assert await pool.fetchval("SELECT count(*) FROM steps WHERE step_key = 'a'") == 1
        assert one.worker.reserve(1) == 0
    other = Stage()
    async with instance(database_url, other):
        await eventually(ended(pool, 1))
    assert other.steps() == ["b"]


async def test_draining_stops_nodes_that_take_longer_than_the_grace_time(database_url, pool):
    version = await version_of(pool, ("a", "effect"), ("b", "effect"))
    stage, run = Stage(), new_run(version)
    stage.gate("b")
    async with instance(database_url, stage, grace_seconds=0.2) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a", "b"])
        async with asyncio.timeout(30):
            await one.worker.drain()
        assert await place(pool, run.id) == ("pending", "free")
    other = Stage()
    async with instance(database_url, other):
        await eventually(ended(pool, 1))
    assert other.steps() == ["b"]
    assert other.started == stage.started[1:]


async def test_a_drained_worker_leaves_a_sleeper_where_it_is(database_url, pool):
    sleeper = {"id": "sleep", "type": "delay", "config": {"duration": "10m"}}
    run = new_run(await version_of(pool, sleeper))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)

        async def parked():
            return await place(pool, run.id) == ("sleeping", "parked")

        await eventually(parked)
    assert await place(pool, run.id) == ("sleeping", "parked")


async def test_a_worker_that_cannot_reach_the_database_stops_before_its_lease_can_run_out(
    database_url, pool, monkeypatch
):
    monkeypatch.setattr("melagent.worker.worker.WATCHDOG_MARGIN_SECONDS", 5.0)  # a slow machine looks late
    version = await version_of(pool, ("a", "effect"))
    stage, run = Stage(), new_run(version)
    stage.gate("a")
    async with (
        proxy_to(database_url) as proxy,
        instance(proxy.url, stage, lease_seconds=8.0, heartbeat_seconds=0.3) as one,
    ):
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        proxy.away = True
        proxy.cut()
        await eventually(lambda: one.worker.busy == 0)
        assert stage.steps("ended") == []
        assert await pool.fetchval("SELECT lease_expires_at > now() FROM work_items")
        proxy.away = False


async def test_a_heartbeat_that_hears_of_a_lost_lease_stops_the_run(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    stage, run = Stage(), new_run(version)
    stage.gate("a")
    async with (
        instance(database_url, stage, concurrency=1) as one,
        instance(database_url, Stage(), starts=False) as two,
    ):
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await expire(pool)
        await two.rescuer.one_pass()
        one.worker._accepting = False  # it would take the run again
        await one.worker._extend()
        await eventually(lambda: one.worker.busy == 0)
    assert stage.steps("ended") == []


async def test_a_version_that_cannot_be_loaded_gives_the_place_back(database_url, pool):
    run = new_run()  # of a version that is not there
    async with instance(database_url, Stage(), concurrency=2) as one:
        await one.engine.start(run)
        await eventually(lambda: one.worker.busy == 0 and one.worker._free == 2)
        assert (await place(pool, run.id))[1] == "leased"  # until the lease runs out


@pytest.mark.parametrize("kind", ["pure", "effect"])
async def test_a_value_of_16_mib_is_kept_and_one_byte_more_fails_its_own_run_only(database_url, pool, kind):
    stage, largest = Stage(), 16 * 1024 * 1024 - 2  # the quotes count
    stage.outputs = {"fits": "x" * largest, "huge": "x" * (largest + 1), "small": 1}
    runs = [new_run(await version_of(pool, (key, kind))) for key in ("small", "huge", "fits")]
    async with instance(database_url, stage) as one:
        ends = await asyncio.gather(*(one.engine.start_and_wait(run, 30) for run in runs))
    assert [end.status for end in ends] == [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.COMPLETED]
    assert ends[1].error["code"] == "value_too_large"
    assert len(ends[2].output) == 16 * 1024 * 1024
    assert await misplaced(pool) == []


async def test_a_run_that_the_engine_cannot_execute_fails_at_once_and_says_so(database_url, pool):
    version = await version_of(pool, ("a", "pure"))
    run = new_run(version, entry="nowhere")
    async with instance(database_url, Stage()) as one:
        end = await one.engine.start_and_wait(run, 10)
    assert end is not None
    assert (end.status, end.error["code"]) == (RunStatus.FAILED, "engine_error")


async def test_a_run_that_cannot_be_loaded_fails_and_does_not_harm_those_claimed_with_it(database_url, pool):
    version = await version_of(pool, ("a", "pure"))
    async with pool.acquire() as conn:
        broken = await free_run(conn, version_id=version, input=b'"' + b"x" * 20_000 + b'"')
        await conn.execute("UPDATE payloads SET data = 'no zlib' WHERE run_id = $1", broken.id)
        others = [await free_run(conn, version_id=version) for _ in range(5)]
    async with instance(database_url, Stage()):
        await eventually(ended(pool, len(others) + 1))
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == len(others)
    assert await place(pool, broken.id) == ("failed", "nowhere")


async def test_a_lost_run_is_cancelled_once_however_long_it_cleans_up(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    stage = Stage()
    stage.gate("a")
    async with instance(database_url, stage) as one:
        run = new_run(version)
        await one.engine.start(run)
        await eventually(lambda: len(stage.started) == 1)
        held = one.worker._held[run.id]
        one.worker._drop(held)
        one.worker._drop(held)
        assert held.task.cancelling() == 1


async def test_callers_are_let_go_when_the_process_stops_and_their_runs_go_on(database_url, pool):
    version = await version_of(pool, ("a", "effect"))
    stage = Stage()
    stage.gate("a")
    async with instance(database_url, stage) as one:
        waiting = asyncio.create_task(one.engine.start_and_wait(new_run(version), 30))
        await eventually(lambda: len(stage.started) == 1)
        one.engine.dismiss_callers()
        assert await waiting is None
        stage.gate("a").set()
        await eventually(ended(pool, 1))
