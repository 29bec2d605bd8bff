"""What a definition says about its runs: limits, labels of nodes, nodes that run at most once, error workflows."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.work import Limit
from melagent.maintenance.errands import Errands
from melagent.registry import Registry
from melagent.services.failures import id_for
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, place, stored
from tests.engine.test_children import deployed
from tests.instances import Stage, instance

START = ("start", "manual_trigger")


def ended(pool, run, status="completed"):
    async def condition():
        return (await place(pool, run.id))[0] == status

    return condition


async def limited_runs(pool, count, most, *nodes):
    workflow_id, version = await deployed(pool, "limited", chain(START, *nodes))
    return [new_run(version, workflow_id=workflow_id, limit=Limit(workflow_id, most)) for _ in range(count)]


async def due(pool):
    return await pool.fetchval("SELECT count(*) FROM work_items")


async def test_no_more_runs_of_a_workflow_are_due_than_its_limit_and_all_of_them_end(database_url, pool):
    stage, seen = Stage(), []
    runs = await limited_runs(pool, 20, 3, ("a", "effect"))

    async def watch(_ctx):
        seen.append(await due(pool))

    stage.on_start = watch
    async with instance(database_url, stage) as one, instance(database_url, stage, worker_id="other") as other:
        await asyncio.gather(
            *(engine.start(run) for run, engine in zip(runs, [one.engine, other.engine] * 10, strict=True))
        )
        for _ in range(200):
            await one.unparker.one_pass()
            if not await pool.fetchval("SELECT count(*) FROM runs WHERE finished_at IS NULL"):
                break
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == 20
    assert max(seen) <= 3
    assert await misplaced(pool) == []


async def test_the_end_of_a_run_lets_the_next_one_in_without_a_poll(database_url, pool):
    stage = Stage()
    runs = await limited_runs(pool, 5, 1, ("a", "effect"))
    async with instance(database_url, stage) as one:
        for run in runs:
            await one.engine.start(run)
        await eventually(lambda: pool.fetchval("SELECT count(*) = 5 FROM runs WHERE status = 'completed'"))
    assert len(stage.started) == 5


async def test_a_run_that_sleeps_or_waits_gives_its_place_back_and_waits_for_one_when_it_wakes(database_url, pool):
    stage = Stage()
    stage.gate("a")
    first, second = await limited_runs(pool, 2, 1, {"id": "ask", "type": "wait"}, ("a", "effect"))
    async with instance(database_url, stage) as one:
        await one.engine.start(first)
        await eventually(lambda: _is(pool, first, ("waiting", "parked")))
        await one.engine.start(second)
        await eventually(lambda: _is(pool, second, ("waiting", "parked")))
        await one.engine.signal(second.id, "ask", b"1")
        await eventually(lambda: stage.steps() == ["a"])
        await one.engine.signal(first.id, "ask", b"1")
        await eventually(lambda: pool.fetchval("SELECT reason = 'limited' FROM parked WHERE run_id = $1", first.id))
        stage.gates["a"].set()
        await eventually(ended(pool, first))
        await eventually(ended(pool, second))


async def _is(pool, run, where):
    return await place(pool, run.id) == where


async def test_a_run_that_waits_for_a_place_is_cancelled_paused_and_overdue_like_any_other(database_url, pool):
    stage = Stage()
    stage.gate("a")
    first, cancelled, paused, late = await limited_runs(pool, 4, 1, ("a", "effect"))
    async with instance(database_url, stage) as one:
        for run in (first, cancelled, paused, late):
            await one.engine.start(run)
        await one.engine.cancel(cancelled.id)
        assert await place(pool, cancelled.id) == ("cancelled", "nowhere")
        await one.engine.pause(paused.id)
        assert await place(pool, paused.id) == ("paused", "parked")
        await pool.execute("UPDATE parked SET wake_at = now(), deadline_at = now() WHERE run_id = $1", late.id)
        await one.rescuer.one_pass()
        await eventually(ended(pool, late, "failed"))
        stage.gates["a"].set()
        await eventually(ended(pool, first))
        await one.engine.resume(paused.id)
        await eventually(ended(pool, paused))
    assert await misplaced(pool) == []


async def test_a_node_with_labels_runs_where_they_are_offered_and_the_run_goes_on_from_there(database_url, pool):
    stage, other = Stage(), Stage()
    labelled = {"id": "b", "type": "effect", "labels": ["gpu=yes"]}
    version = await stored(pool, chain(START, ("a", "effect"), labelled, ("c", "effect")))
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: pool.fetchval("SELECT requires = 'gpu=yes' AND lease IS NULL FROM work_items"))
        assert stage.steps() == ["a"]
        async with instance(database_url, other, worker_id="gpu", labels=["gpu=yes"]):
            await eventually(ended(pool, run))
    assert other.steps() == ["b", "c"]


@pytest.mark.parametrize(
    ("policy", "status", "steps"),
    [("fail", "failed", ["a"]), ("skip", "completed", ["a", "b"]), ("retry", "completed", ["a", "a", "b"])],
)
async def test_a_node_whose_worker_died_follows_on_interrupted(database_url, pool, policy, status, steps):
    stage = Stage()
    stage.gate("a")
    version = await stored(pool, chain(START, {"id": "a", "type": "effect", "on_interrupted": policy}, ("b", "effect")))
    async with instance(database_url, stage, lease_seconds=1.5) as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        await one.crash()
    stage.gates.clear()
    async with instance(database_url, stage, worker_id="other") as other:
        await pool.execute("UPDATE work_items SET lease_expires_at = now() - interval '1 s' WHERE lease IS NOT NULL")
        await other.rescuer.one_pass()
        await eventually(ended(pool, run, status))
    assert stage.steps() == steps
    if policy == "fail":
        assert orjson.loads(await pool.fetchval("SELECT error FROM runs"))["code"] == "interrupted"


async def failing(pool, handler):
    stop = {"id": "x", "type": "stop", "config": {"status": "error", "message": "no luck"}}
    workflow_id, version = await deployed(pool, f"failing {new_id()}", chain(START, stop))
    return new_run(version, workflow_id=workflow_id, on_failure=handler)


async def test_a_failed_run_starts_the_workflow_that_its_own_names_once(database_url, pool):
    handler, _ = await deployed(pool, "handler", chain(START, ("a", "effect")))
    run = await failing(pool, handler)
    async with instance(database_url, Stage()) as one, instance(database_url, Stage(), worker_id="other") as other:
        errands = [Errands(each.engine, Registry.builtin()) for each in (one, other)]
        await one.engine.start(run)
        await eventually(ended(pool, run, "failed"))
        await asyncio.gather(*(each.one_pass() for each in errands * 3))
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM runs WHERE status = 'completed'"))
    row = await pool.fetchrow("SELECT * FROM runs WHERE workflow_id = $1", handler)
    given = orjson.loads(row["input"])
    assert (row["id"], row["trigger_type"]) == (id_for(run.id), "error")
    assert (given["run_id"], given["error"]["message"]) == (str(run.id), "no luck")
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_failure_of_an_error_workflow_starts_no_other(database_url, pool):
    stop = {"id": "x", "type": "stop", "config": {"status": "error", "message": "again"}}
    handler = new_id()
    await deployed(
        pool,
        "handler",
        Definition.model_validate(chain(START, stop).model_dump() | {"settings": {"error_workflow_id": str(handler)}}),
        handler,
    )
    run = await failing(pool, handler)
    async with instance(database_url, Stage()) as one:
        errands = Errands(one.engine, Registry.builtin())
        await one.engine.start(run)
        await eventually(ended(pool, run, "failed"))
        await errands.one_pass()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 2 FROM runs WHERE status = 'failed'"))
        await errands.one_pass()
        await errands.one_pass()
    assert await pool.fetchval("SELECT count(*) FROM runs") == 2
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_run_that_fails_by_its_deadline_starts_it_too(database_url, pool):
    handler, _ = await deployed(pool, "handler", chain(START))
    workflow_id, version = await deployed(pool, "late", chain(START, {"id": "ask", "type": "wait"}))
    run = new_run(version, workflow_id=workflow_id, on_failure=handler, deadline_in=3600.0)
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(lambda: _is(pool, run, ("waiting", "parked")))
        await pool.execute("UPDATE parked SET wake_at = now(), deadline_at = now()")
        await one.unparker.one_pass()
        await eventually(ended(pool, run, "failed"))
        await Errands(one.engine, Registry.builtin()).one_pass()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM runs WHERE trigger_type = 'error'"))
