from datetime import timedelta
from uuid import uuid4

import pytest

from melagent.domain.ids import time_of
from melagent.domain.run import RunStatus, StepStatus
from melagent.store import runs, steps, versions, workflows
from melagent.store.ids import FIRST_ID, LAST_ID, first_id_at, new_id
from melagent.store.runs import RunFilter

ALL = RunFilter(FIRST_ID, LAST_ID)

INSERT_RUN = """
INSERT INTO runs (id, workflow_id, version_id, status, entry, trigger_type, input, output, error, finished_at)
VALUES ($1, $2, $3, $4, 'start', 'manual', '{"a":1}', $5, $6, CASE WHEN $4 = ANY ('{completed,failed}') THEN now() END)
"""
LEASE = """
INSERT INTO work_items (run_id, priority, lease, worker_id, lease_expires_at, attempt, started_at)
VALUES ($1, 5, gen_random_uuid(), 'worker-1', now() + make_interval(secs => $2), 2, now())
"""
INSERT_STEP = """
INSERT INTO steps (run_id, step_key, seq, node_id, node_type, status, attempt, output, logs, started_at, finished_at)
VALUES ($1, $2, $3, $2, 'set', 'completed', 1, '{"x":1}', '[{"message":"hi"}]', now(), now())
"""


@pytest.fixture
async def version(pool):
    workflow = await workflows.insert(pool, new_id(), "orders", "", b"{}")
    values = {"description": "", "definition": b"{}", "definition_hash": b"", "created_by": "test"}
    return await versions.insert(pool, new_id(), workflow.id, name="v", **values)


async def add_run(pool, version, *, status="pending", output=None, error=None, workflow_id=None):
    run_id = new_id()
    values = (workflow_id or version.workflow_id, version.id, status, output, error)
    await pool.execute(INSERT_RUN, run_id, *values)
    return run_id


async def found(pool, wanted, limit=10):
    return [stored.run.id for stored in await runs.page(pool, wanted, limit)]


async def test_a_completed_run_is_read_with_its_values(pool, version):
    run_id = await add_run(pool, version, status="completed", output=b'{"b":2}')
    run = (await runs.find(pool, run_id)).run
    assert (run.input, run.output, run.version, run.status) == (b'{"a":1}', b'{"b":2}', 1, RunStatus.COMPLETED)


async def test_an_error_is_read_as_an_object(pool, version):
    run_id = await add_run(pool, version, status="failed", error='{"code":"boom","message":"\\u0000"}')
    assert (await runs.find(pool, run_id)).run.error == {"code": "boom", "message": "\x00"}


async def test_a_run_with_a_live_lease_is_shown_as_running(pool, version):
    run_id = await add_run(pool, version)
    assert (await runs.find(pool, run_id)).run.status is RunStatus.PENDING
    await pool.execute(LEASE, run_id, 10)
    run = (await runs.find(pool, run_id)).run
    assert (run.status, run.worker_id, run.attempt) == (RunStatus.RUNNING, "worker-1", 2)
    assert run.started_at is not None


async def test_a_run_whose_lease_has_expired_is_shown_as_pending(pool, version):
    run_id = await add_run(pool, version)
    await pool.execute(LEASE, run_id, -1)
    run = (await runs.find(pool, run_id)).run
    assert (run.status, run.worker_id) == (RunStatus.PENDING, None)


async def test_runs_are_filtered_by_shown_status(pool, version):
    pending, running = await add_run(pool, version), await add_run(pool, version)
    await pool.execute(LEASE, running, 10)
    assert await found(pool, RunFilter(FIRST_ID, LAST_ID, status="running")) == [running]
    assert await found(pool, RunFilter(FIRST_ID, LAST_ID, status="pending")) == [pending]


async def test_runs_are_filtered_by_workflow_and_trigger(pool, version):
    mine = await add_run(pool, version)
    other = await add_run(pool, version, workflow_id=uuid4())
    assert await found(pool, RunFilter(FIRST_ID, LAST_ID, workflow_id=version.workflow_id)) == [mine]
    assert await found(pool, RunFilter(FIRST_ID, LAST_ID, trigger_id=uuid4())) == []
    assert set(await found(pool, ALL)) == {mine, other}


async def test_runs_are_filtered_by_the_time_of_their_start(pool, version):
    run_id = await add_run(pool, version)
    moment, later = time_of(run_id), time_of(run_id) + timedelta(milliseconds=1)
    assert await found(pool, RunFilter(first_id_at(moment), first_id_at(later))) == [run_id]
    assert await found(pool, RunFilter(first_id_at(later), LAST_ID)) == []


async def test_pages_of_runs_have_no_gap_and_no_repetition(pool, version):
    ids = sorted([await add_run(pool, version) for _ in range(5)], reverse=True)
    first = await found(pool, ALL, limit=3)
    second = await found(pool, RunFilter(FIRST_ID, first[-1]), limit=3)
    assert first + second == ids


async def test_live_runs_are_those_in_the_queue_or_parked(pool, version):
    queued, parked, ended = [await add_run(pool, version) for _ in range(2)] + [
        await add_run(pool, version, status="completed")
    ]
    await pool.execute("INSERT INTO work_items (run_id, priority) VALUES ($1, 5)", queued)
    await pool.execute("INSERT INTO parked (run_id, priority, reason, attempt) VALUES ($1, 5, 'sleeping', 1)", parked)
    live = await runs.live_of_workflow(pool, version.workflow_id)
    assert set(live) == {queued, parked}
    assert ended not in live
    assert await runs.count_live(pool) == {"pending": 1, "sleeping": 1}
    assert [(line.requires, line.depth, line.oldest) for line in await runs.waiting(pool)] == [("", 1, queued)]


async def test_steps_are_listed_in_the_order_of_their_recording(pool, version):
    run_id = await add_run(pool, version)
    for seq, key in enumerate(["c", "a", "b"], start=1):
        await pool.execute(INSERT_STEP, run_id, key, seq)
    listed = await steps.page(pool, run_id, 1, 10)
    assert [step.record.step_key for step in listed] == ["a", "b"]
    assert listed[0].record.status is StepStatus.COMPLETED
    assert listed[0].record.logs == ({"message": "hi"},)


async def test_steps_are_found_by_key(pool, version):
    run_id = await add_run(pool, version)
    await pool.execute(INSERT_STEP, run_id, "a", 1)
    assert (await steps.find(pool, run_id, ["a", "missing"])).keys() == {"a"}


async def test_the_runs_of_a_workflow_are_found_by_their_index_whatever_the_plan_cache_does(pool, version):
    async with pool.acquire() as conn:
        await conn.execute("SET plan_cache_mode = force_generic_plan")
        values = "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL, NULL, 20"
        await conn.execute(f"PREPARE listed (uuid, uuid, uuid, text, int, uuid) AS {runs.LIST_RUNS_OF_WORKFLOW}")
        await conn.execute("SET enable_seqscan = off")
        plan = await conn.fetch(f"EXPLAIN EXECUTE listed ({values}, '{version.workflow_id}')")
        await conn.execute("DEALLOCATE listed; RESET ALL")
    text = "\n".join(row[0] for row in plan)
    assert "workflow_id = $6" in next(
        line for line in text.splitlines() if "Index Cond" in line and "workflow_id" in line
    )
    assert "Sort" not in text
