"""Runs that call other runs: the child's end, failures, cancels, depth, and a thousand children at once."""

from __future__ import annotations

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.run import RunStatus
from melagent.services.definitions import encode
from melagent.store import versions, workflows
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, place
from tests.instances import Stage, instance

START = ("start", "manual_trigger")
CALLED = ("start", "workflow_trigger")


async def deployed(pool, name, definition, workflow_id=None):
    """A workflow with this definition as its current version; its id and that of the version."""
    workflow_id = workflow_id or new_id()
    async with pool.acquire() as conn:
        await workflows.insert(conn, workflow_id, name, "", encode(definition))
        version = await pool.fetchval(
            "INSERT INTO versions (id, workflow_id, version_number, name, definition, definition_hash, created_by)"
            " VALUES ($1, $2, 1, 'first', $3::text::json, '', 'test') RETURNING id",
            new_id(), workflow_id, encode(definition).decode(),
        )  # fmt: skip
        await pool.execute("UPDATE workflows SET current_version = 1 WHERE id = $1", workflow_id)
    return workflow_id, version


def call(workflow, node_id="call", **config):
    return {"id": node_id, "type": "workflow_call", "config": {"workflow": str(workflow), **config}}


def value(node_id, expression):
    return {"id": node_id, "type": "transform", "config": {"expression": expression}}


async def parent_of(pool, *nodes, **settings):
    workflow_id, version = await deployed(pool, f"parent {new_id()}", chain(START, *nodes, **settings))
    return new_run(version, workflow_id=workflow_id)


def ended(pool, run, status="completed"):
    async def condition():
        return (await place(pool, run.id))[0] == status

    return condition


async def output_of(pool, run):
    return orjson.loads(await pool.fetchval("SELECT output FROM runs WHERE id = $1", run.id))


async def error_of(pool, run):
    return orjson.loads(await pool.fetchval("SELECT error FROM runs WHERE id = $1", run.id))


async def test_a_call_has_the_output_of_the_called_run(database_url, pool):
    child, _ = await deployed(pool, "double", chain(CALLED, value("twice", "input.n * 2")))
    run = await parent_of(pool, call("double", input="{'n': 21}"), value("last", "steps.call.output + 1"))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 43
    row = await pool.fetchrow("SELECT * FROM runs WHERE parent_run_id = $1", run.id)
    assert (row["workflow_id"], row["parent_step"], row["depth"], row["attached"]) == (child, "call", 1, True)
    assert (row["trigger_type"], row["status"]) == ("workflow", "completed")
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0
    assert await misplaced(pool) == []


async def test_an_async_call_goes_on_at_once_and_nobody_waits_for_the_child(database_url, pool):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "slow", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("slow", mode="async"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
        child = (await output_of(pool, run))["run_id"]
        assert await pool.fetchval("SELECT status FROM runs WHERE id = $1::text::uuid", child) == "pending"
        stage.gates["a"].set()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 2 FROM runs WHERE status = 'completed'"))
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_parent_wakes_once_for_its_child_wherever_it_runs(database_url, pool):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "child", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("child"), ("b", "effect"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        async with instance(database_url, stage, worker_id="other"):
            await one.worker.stop_claiming()
            stage.gates["a"].set()
            await eventually(ended(pool, run))
    assert stage.steps() == ["a", "b"]
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE step_key = 'call'") == 1


async def test_a_child_that_fails_fails_the_call_and_its_branch_may_save_it(database_url, pool):
    await deployed(
        pool, "bad", chain(CALLED, {"id": "x", "type": "stop", "config": {"status": "error", "message": "no luck"}})
    )
    run = await parent_of(pool, call("bad"))
    saved = {**call("bad"), "on_error": "continue"}
    other = await parent_of(pool, saved, value("last", "input.error.code"))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await one.engine.start(other)
        await eventually(ended(pool, run, "failed"))
        await eventually(ended(pool, other))
    error = await error_of(pool, run)
    assert error["code"] == "child_failed"
    assert "no luck" in error["message"]
    assert await output_of(pool, other) == "child_failed"


@pytest.mark.parametrize(
    ("target", "code"),
    [("nobody", "not_found"), ("undeployed", "conflict"), ("private", "forbidden"), ("closed", "forbidden")],
)
async def test_what_cannot_be_called_fails_the_node_with_the_reason(database_url, pool, target, code):
    for name, callers in (("private", [str(new_id())]), ("closed", [])):
        trigger = {"id": "start", "type": "workflow_trigger", "config": {"allowedCallers": callers}}
        await deployed(pool, name, Definition.model_validate({"nodes": [trigger]}))
    await deployed(pool, "undeployed", chain(CALLED))
    await pool.execute("UPDATE workflows SET current_version = NULL WHERE name = 'undeployed'")
    run = await parent_of(pool, call(target))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run, "failed"))
    assert (await error_of(pool, run))["code"] == code
    assert await pool.fetchval("SELECT count(*) FROM runs") == 1


async def test_a_workflow_that_calls_itself_ends_at_the_deepest_level(database_url, pool):
    workflow_id = new_id()
    _, version = await deployed(pool, "again", chain(START, call(workflow_id)), workflow_id)
    run = new_run(version, workflow_id=workflow_id)
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run, "failed"))
    assert await pool.fetchval("SELECT max(depth) FROM runs") == 32
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'failed'") == 33


async def test_cancelling_a_parent_cancels_its_children_level_by_level(database_url, pool):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "leaf", chain(CALLED, ("a", "effect")))
    await deployed(pool, "middle", chain(CALLED, call("leaf")))
    run = await parent_of(pool, call("middle"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await one.engine.cancel(run.id)
        await eventually(lambda: pool.fetchval("SELECT count(*) = 3 FROM runs WHERE status = 'cancelled'"))
    assert await misplaced(pool) == []


async def test_children_whose_parent_was_ended_by_somebody_who_died_are_cancelled_by_the_rescue_pass(
    database_url, pool
):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "leaf", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("leaf"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked"))
        await pool.execute("DELETE FROM parked WHERE run_id = $1", run.id)
        await pool.execute("UPDATE runs SET status = 'cancelled', finished_at = now() WHERE id = $1", run.id)
        await one.rescuer.one_pass()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 2 FROM runs WHERE status = 'cancelled'"))


async def test_a_call_that_takes_too_long_fails_and_its_child_ends_with_the_parent(database_url, pool):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "leaf", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("leaf", timeout=60))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked"))
        await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at > now()")
        await one.unparker.one_pass()
        await eventually(ended(pool, run, "failed"))
        await one.rescuer.one_pass()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM runs WHERE status = 'cancelled'"))


async def test_a_called_run_that_ends_within_a_short_time_out_is_in_time(database_url, pool):
    await deployed(pool, "quick", chain(CALLED, value("twice", "input * 2")))
    run = await parent_of(pool, call("quick", input="21", timeout=4))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 42


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_worker_that_dies_around_the_start_of_a_child_starts_it_once(database_url, pool, dies):
    """The child starts in the transaction that records the call: both are there, or neither."""
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "leaf", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("leaf"), ("b", "effect"))
    async with instance(database_url, stage, lease_seconds=1.5) as one:
        if dies == "before":
            one.engine.recorder.submit = lambda entry: one.engine.pool.terminate() or _never()
        await one.engine.start(run)
        if dies == "after":
            await eventually(lambda: stage.steps() == ["a"])
        await one.crash()
    stage.gates.clear()
    async with instance(database_url, stage, worker_id="other") as other:
        await pool.execute("UPDATE work_items SET lease_expires_at = now() - interval '1 s' WHERE lease IS NOT NULL")
        await other.rescuer.one_pass()
        await eventually(ended(pool, run))
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE parent_run_id = $1", run.id) == 1
    assert stage.steps()[-2:] == ["a", "b"]


def _never():
    import asyncio

    return asyncio.get_running_loop().create_future()


async def test_a_child_that_ends_while_nobody_tells_its_parent_wakes_it_by_the_poll(database_url, pool):
    stage = Stage()
    stage.gate("a")
    await deployed(pool, "leaf", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("leaf"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked"))
        await one.engine.waker.drain()
        one.engine.waker.wake = lambda *_: None
        stage.gates["a"].set()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM run_inbox"))
        assert await place(pool, run.id) == (RunStatus.WAITING, "parked")
        await one.unparker.one_pass()
        await eventually(ended(pool, run))


async def test_a_large_output_of_a_child_reaches_its_parent(database_url, pool):
    stage = Stage()
    stage.outputs["a"] = {"text": "x" * 1_000_000}
    await deployed(pool, "big", chain(CALLED, ("a", "effect")))
    run = await parent_of(pool, call("big"), value("last", "input.text | length"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 1_000_000


async def test_versions_by_number_and_by_name(pool):
    child, version = await deployed(pool, "one", chain(CALLED))
    async with pool.acquire() as conn:
        assert (await versions.find_by_id(conn, child, version)).version_number == 1
        assert await workflows.named(conn, "one") == [child]
        assert await workflows.named(conn, "two") == []
