"""Many children, items, messages and parked runs: exact results; their large sizes are for `make prove`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.run import StepRecord, StepStatus
from melagent.domain.work import CHILD_TOPIC, Message
from melagent.engine.lifecycle import cancel, wake
from melagent.engine.waits import Waits
from melagent.services.definitions import encode
from melagent.store import payloads, workflows
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, place, stored
from tests.instances import Stage, instance

MANY = [30, pytest.param(1_000, marks=pytest.mark.prove)]
SIGNALS = 200


async def called(pool):
    """A deployed workflow that doubles what it is called with."""
    workflow_id, definition = new_id(), chain(("start", "workflow_trigger"), twice("input"))
    async with pool.acquire() as conn:
        await workflows.insert(conn, workflow_id, "double", "", encode(definition))
    await pool.execute(
        "INSERT INTO versions (id, workflow_id, version_number, name, definition, definition_hash, created_by)"
        " VALUES ($1, $2, 1, 'first', $3::text::json, '', 'test')",
        new_id(), workflow_id, encode(definition).decode(),
    )  # fmt: skip
    await pool.execute("UPDATE workflows SET current_version = 1 WHERE id = $1", workflow_id)
    return {"id": "call", "type": "workflow_call", "config": {"workflow": str(workflow_id), "input": "item"}}


def twice(of):
    return {"id": "twice", "type": "transform", "config": {"expression": f"{of} * 2"}}


async def looped(pool, count, body, **config):
    """A run that does `body` for each number below `count`."""
    loop = {"id": "loop", "type": "for_each", "config": {"items": "input", **config}}
    last = {"id": "last", "type": "transform", "config": {"expression": "input"}}
    edges = [
        {"source": "start", "target": "loop"},
        {"source": "loop", "source_handle": "item", "target": body["id"]},
        {"source": "loop", "source_handle": "done", "target": "last"},
    ]
    nodes = [{"id": "start", "type": "manual_trigger"}, loop, body, last]
    version = await stored(pool, Definition.model_validate({"nodes": nodes, "edges": edges}))
    return new_run(version, input=orjson.dumps(list(range(count))))


async def completed(pool, run):
    async def condition():
        return (await place(pool, run.id))[0] == "completed"

    await eventually(condition, seconds=120)
    async with pool.acquire() as conn:
        row = await conn.fetchrow("SELECT output, output_hash FROM runs WHERE id = $1", run.id)
        large = row["output_hash"] and (await payloads.load(conn, run.id, [row["output_hash"]]))[row["output_hash"]]
    return orjson.loads(large or row["output"])


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("distributed", [False, True])
async def test_a_run_with_many_children_has_the_result_of_each(database_url, pool, count, distributed):
    body = twice("item") if distributed else await called(pool)
    run = await looped(pool, count, body, concurrency=20, distributed=distributed)
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        assert await completed(pool, run) == [2 * item for item in range(count)]
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == count + 1
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 0
    assert await misplaced(pool) == []


async def test_a_call_starts_its_child_in_the_write_that_parks_the_parent(database_url, pool):
    run = await looped(pool, 1, await called(pool))
    written = []
    async with instance(database_url, Stage()) as one:
        submit = one.engine.recorder.submit
        one.engine.recorder.submit = lambda entry: written.append(entry) or submit(entry)
        await one.engine.start(run)
        assert await completed(pool, run) == [0]
    [starting] = [entry for entry in written if entry.starts]
    assert starting.settle.status == "waiting"


async def test_orphans_are_found_though_a_pass_looks_at_few_live_runs(database_url, pool, monkeypatch):
    monkeypatch.setattr(cancel, "LOOKED_AT_ONCE", 2)
    stage = Stage()
    stage.gate("a")
    version = await stored(pool, chain(("start", "manual_trigger"), ("a", "effect")))
    runs = [new_run(version) for _ in range(5)]
    async with instance(database_url, stage) as one:
        for run in runs:
            await one.engine.start(run)
        parent, orphan = runs[0].id, runs[-1].id
        await pool.execute("UPDATE runs SET parent_run_id = $1, attached = true WHERE id = $2", parent, orphan)
        await pool.execute("DELETE FROM work_items WHERE run_id = $1", parent)
        await pool.execute("UPDATE runs SET status = 'cancelled', finished_at = now() WHERE id = $1", parent)
        for _ in range(2):
            await one.rescuer.one_pass()
        assert (await place(pool, orphan))[0] == "cancelled"
        for run in runs[1:-1]:
            assert (await place(pool, run.id))[0] == "pending"


async def parked(pool, reason, **fields):
    """A run that is parked for this reason."""
    run = new_run()
    await pool.execute(
        "INSERT INTO runs (id, version_id, entry, trigger_type, status) VALUES ($1, $2, 'start', 'manual', $3)",
        run.id, run.version_id, reason,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO parked (run_id, priority, requires, reason, attempt, wake_at, waits)"
        " VALUES ($1, 5, '', $2, 1, $3, $4)",
        run.id, reason, fields.get("wake_at"), fields.get("waits", []),
    )  # fmt: skip
    return run.id


async def send(pool, run_id, topic):
    await pool.execute("INSERT INTO run_inbox (run_id, topic, value) VALUES ($1, $2, 'true')", run_id, topic)


async def test_a_message_older_than_many_unread_ones_is_found_by_the_thorough_look(pool, monkeypatch):
    monkeypatch.setattr(wake, "NEWEST", 2)
    first, last = [await parked(pool, "waiting", waits=["signal:go"]) for _ in range(2)]
    await send(pool, first, "signal:go")
    for _ in range(2):
        await send(pool, last, "signal:other")
    assert await wake.wake_due(pool, thorough=False) == []
    await send(pool, last, "signal:go")
    assert await wake.wake_due(pool, thorough=False) == [last]
    assert await wake.wake_due(pool, thorough=True) == [first]


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.prove)])
async def test_sleepers_that_are_due_at_once_all_wake_once(pool, count):
    run_ids = {await parked(pool, "sleeping", wake_at=datetime.now(UTC)) for _ in range(count)}
    woken = []
    while batch := await wake.wake_due(pool, thorough=False):
        woken += batch
    assert sorted(woken) == sorted(run_ids)
    assert await misplaced(pool) == []


def waiting(key, state):
    return StepRecord(key, key, "wait", StepStatus.WAITING, 1, datetime.now(UTC), output=orjson.dumps(state))


async def test_signals_are_taken_in_their_order_by_the_steps_in_theirs_however_they_come():
    waits = Waits([Message(SIGNALS - 1, "signal:go", b"1")], asyncio.Event())
    for number in range(SIGNALS):
        waits.add(f"s{number}", None, waiting(f"s{number}", {"signal": "go"}))
    waits.drop("s0")
    waits.deliver(Message(number, "signal:go", b"1") for number in reversed(range(SIGNALS)))
    pairs = [(wait.key, message.id) for wait, message in waits.matches()]
    assert pairs == [(f"s{number + 1}", number) for number in range(SIGNALS - 1)]
    assert not waits
    assert waits.matches() == []


async def test_the_end_of_a_child_that_no_step_waits_for_is_unwanted_and_a_signal_stays():
    child, other = UUID(int=1), UUID(int=2)
    waits = Waits([Message(1, CHILD_TOPIC, child_id=other), Message(2, "signal:go", b"7")], asyncio.Event())
    waits.add("call", None, waiting("call", {"run_id": str(child)}))
    assert waits.matches() == []
    assert (waits.take_unwanted(), waits.take_unwanted()) == ([1], [])
    waits.add("wait", None, waiting("wait", {"signal": "go"}))
    waits.deliver([Message(3, CHILD_TOPIC, child_id=child), Message(1, CHILD_TOPIC, child_id=other)])
    assert [(wait.key, message.id) for wait, message in waits.matches()] == [("wait", 2), ("call", 3)]
    assert (waits.taken("wait"), waits.taken("call"), waits.taken("call")) == (2, 3, None)
