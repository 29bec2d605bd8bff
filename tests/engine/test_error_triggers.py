"""Error triggers start one run for each failed run that they watch."""

import asyncio

import orjson
import pytest

from melagent.domain.run import Trigger
from melagent.domain.work import Parent
from melagent.engine.lifecycle import failures as left
from melagent.maintenance.errands import Errands
from melagent.services import failures
from melagent.services.triggers import Change, Triggers
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, stored
from tests.engine.test_children import deployed as with_definition
from tests.instances import Stage, instance
from tests.scheduling import REGISTRY, VAULT, deploy, deployed, triggers

MANUAL = {"id": "start", "type": "manual_trigger"}
STOP = {"id": "x", "type": "stop", "config": {"status": "error", "message": "no luck"}}


@pytest.fixture
async def one(database_url, pool):
    async with instance(database_url, Stage()) as made:
        yield made


def watcher(*workflows, node_id="failed"):
    return {"id": node_id, "type": "error_trigger", "config": {"workflows": [str(each) for each in workflows] or ["*"]}}


async def failing(pool, **changes):
    """A run of a workflow of its own that is going to fail."""
    workflow_id, version = await with_definition(pool, f"failing {new_id()}", chain(MANUAL, STOP))
    return new_run(version, workflow_id=workflow_id, **changes)


async def failed(pool, each, run):
    await each.engine.start(run)
    await eventually(lambda: pool.fetchval("SELECT status = 'failed' FROM runs WHERE id = $1", run.id))


async def started(pool):
    """The nodes at which runs were started for failures."""
    rows = await pool.fetch("SELECT entry FROM runs WHERE trigger_type = 'error' ORDER BY entry")
    return [row["entry"] for row in rows]


async def test_each_watching_trigger_starts_one_run_whoever_sees_to_the_failure(database_url, pool, one):
    run = await failing(pool)
    watching = await deployed(
        pool, watcher(), watcher(run.workflow_id, node_id="too"), watcher(new_id(), node_id="not")
    )
    async with instance(database_url, Stage(), worker_id="other") as other:
        errands = [Errands(each.engine, REGISTRY) for each in (one, other)]
        await failed(pool, one, run)
        await asyncio.gather(*(each.one_pass() for each in errands * 3))
        await eventually(lambda: pool.fetchval("SELECT count(*) = 2 FROM runs WHERE status = 'completed'"))
    assert await started(pool) == ["failed", "too"]
    rows = await triggers(pool)
    found = await pool.fetchrow("SELECT * FROM runs WHERE entry = 'failed'")
    assert (found["trigger_id"], found["trigger_node"]) == (rows["failed"]["id"], "failed")
    assert (found["workflow_id"], found["version_id"]) == (watching, rows["failed"]["version_id"])
    given = orjson.loads(found["input"])
    assert (given["run_id"], given["workflow_id"]) == (str(run.id), str(run.workflow_id))
    assert given["error"]["message"] == "no luck"
    assert {name for name, row in rows.items() if row["last_fired_at"]} == {"failed", "too"}
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_whoever_dies_before_the_failure_is_forgotten_has_started_no_run_too_many(pool, one):
    run = await failing(pool)
    await deployed(pool, watcher())
    await failed(pool, one, run)
    (failure,) = await left.failures(pool)
    for _ in range(3):
        await failures.see_to(one.engine, REGISTRY, failure, await failures.watchers(pool))
    assert await started(pool) == ["failed"]


async def test_a_paused_and_a_retired_trigger_watch_nothing_and_leave_no_trace(pool, one):
    workflow_id = await deployed(pool, watcher(), watcher(node_id="gone"))
    await deploy(pool, workflow_id, watcher())
    await Triggers(pool, one.engine, REGISTRY, VAULT).change(
        (await triggers(pool))["failed"]["id"], Change(enabled=False)
    )
    await failed(pool, one, await failing(pool))
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_workflow_that_is_named_and_watches_as_well_is_started_once(pool, one):
    watching = await deployed(pool, watcher())
    run = await failing(pool, on_failure=watching)
    await failed(pool, one, run)
    await Errands(one.engine, REGISTRY).one_pass()
    assert await started(pool) == ["failed"]
    assert await pool.fetchval("SELECT id FROM runs WHERE entry = 'failed'") == failures.id_for(run.id)


async def test_a_workflow_that_is_named_and_watches_others_is_entered_at_its_error_trigger(pool, one):
    watching = await deployed(pool, MANUAL, watcher(new_id()))
    await failed(pool, one, await failing(pool, on_failure=watching))
    await Errands(one.engine, REGISTRY).one_pass()
    assert await started(pool) == ["failed"]


@pytest.mark.parametrize("depth", range(3))
async def test_what_fails_for_a_failure_or_was_called_by_that_starts_no_other(pool, one, depth):
    await deployed(pool, watcher())
    ancestor = await failing(pool, trigger=Trigger("error"))
    await failed(pool, one, ancestor)
    for _ in range(depth):
        ancestor = await failing(pool, parent=Parent(ancestor.id, "call", 1, attached=False))
        await failed(pool, one, ancestor)
    await Errands(one.engine, REGISTRY).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM runs") == depth + 1
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_run_of_no_workflow_is_watched_by_nobody(pool, one):
    await deployed(pool, watcher())
    await failed(pool, one, new_run(await stored(pool, chain(MANUAL, STOP))))
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0


async def test_a_run_that_fails_by_its_deadline_is_watched_too(pool, one):
    await deployed(pool, watcher())
    workflow_id, version = await with_definition(pool, "late", chain(MANUAL, {"id": "ask", "type": "wait"}))
    run = new_run(version, workflow_id=workflow_id, deadline_in=3600.0)
    await one.engine.start(run)
    await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked"))
    await pool.execute("UPDATE parked SET wake_at = now(), deadline_at = now()")
    await one.unparker.one_pass()
    await eventually(lambda: pool.fetchval("SELECT status = 'failed' FROM runs WHERE id = $1", run.id))
    await Errands(one.engine, REGISTRY).one_pass()
    assert await started(pool) == ["failed"]
    await eventually(lambda: pool.fetchval("SELECT count(*) = 0 FROM work_items"))
    assert await misplaced(pool) == []
