"""Waiting for signals: before, during and after the wait, with time-outs, over restarts."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from melagent.domain.run import RunStatus
from melagent.errors import Conflict, NotFound
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, place, stored
from tests.instances import Stage, instance

START = ("start", "manual_trigger")


def wait(node_id="approve", **config):
    return {"id": node_id, "type": "wait", "config": config}


def waiting(pool, run):
    async def condition():
        return await place(pool, run.id) == ("waiting", "parked")

    return condition


def ended(pool, run, status="completed"):
    async def condition():
        return (await place(pool, run.id))[0] == status

    return condition


async def output_of(pool, run):
    return orjson.loads(await pool.fetchval("SELECT output FROM runs WHERE id = $1", run.id))


async def inbox(pool):
    return await pool.fetchval("SELECT count(*) FROM run_inbox")


async def test_a_run_waits_for_its_signal_and_goes_on_with_what_was_sent(database_url, pool):
    stage = Stage()
    version = await stored(
        pool,
        chain(
            START,
            wait(),
            ("a", "effect"),
            {"id": "b", "type": "transform", "config": {"expression": "steps.approve.output"}},
        ),
    )
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        assert await pool.fetchval("SELECT waits FROM parked") == ["signal:approve"]
        await one.engine.signal(run.id, "another", b"1")
        await one.engine.signal(run.id, "approve", b'{"by":"ann"}')
        await eventually(ended(pool, run))
        assert await output_of(pool, run) == {"by": "ann"}
        assert stage.steps() == ["a"]
        assert await inbox(pool) == 1  # the one that nobody waited for
    assert await misplaced(pool) == []


async def test_a_signal_that_comes_before_the_wait_is_kept_for_it(database_url, pool):
    stage = Stage()
    stage.gate("a")
    version = await stored(pool, chain(START, ("a", "effect"), wait()))
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        await one.engine.signal(run.id, "approve", b"7")
        stage.gates["a"].set()
        await eventually(ended(pool, run))
        assert await output_of(pool, run) == 7
        assert await inbox(pool) == 0


async def test_a_signal_is_in_time_for_a_wait_of_seconds(database_url, pool):
    version = await stored(pool, chain(START, wait(timeout=4)))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await one.engine.signal(run.id, "approve", b"7")
        await eventually(ended(pool, run))
        assert await output_of(pool, run) == 7


async def test_a_signal_that_came_in_time_wins_over_the_time_out_that_has_passed_since(database_url, pool):
    version = await stored(pool, chain(START, wait(timeout=3600)))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
    await pool.execute("INSERT INTO run_inbox (run_id, topic, value) VALUES ($1, 'signal:approve', '7')", run.id)
    await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at IS NOT NULL")
    async with instance(database_url, Stage(), worker_id="later") as one:
        await one.unparker.one_pass()
        await eventually(ended(pool, run))
        assert await output_of(pool, run) == 7


async def test_signals_of_a_name_are_taken_one_by_one_in_their_order(database_url, pool):
    version = await stored(
        pool,
        chain(
            START,
            wait("one", signal="s"),
            wait("two", signal="s"),
            {"id": "all", "type": "transform", "config": {"expression": "[steps.one.output, steps.two.output]"}},
        ),
    )
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        for number in (b"1", b"2", b"3"):
            await one.engine.signal(run.id, "s", number)
        await eventually(ended(pool, run))
        assert await output_of(pool, run) == [1, 2]
        assert await inbox(pool) == 1


async def test_two_signals_at_once_wake_a_run_once(database_url, pool):
    stage = Stage()
    goes_on = stage.gate("a")  # a run that has ended takes no signal
    version = await stored(pool, chain(START, wait(), ("a", "effect")))
    async with instance(database_url, stage) as one, instance(database_url, stage, worker_id="other") as other:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await asyncio.gather(*(each.engine.signal(run.id, "approve", b"1") for each in (one, other) for _ in range(5)))
        goes_on.set()
        await eventually(ended(pool, run))
    assert stage.steps() == ["a"]
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE step_key = 'approve'") == 1


@pytest.mark.parametrize(("on_timeout", "status"), [("fail", "failed"), ("branch", "completed")])
async def test_a_wait_ends_when_its_time_is_up(database_url, pool, on_timeout, status):
    definition = chain(START, wait(timeout=3600, onTimeout=on_timeout))
    version = await stored(pool, definition)
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        left = await pool.fetchval("SELECT extract(epoch FROM wake_at - now())::float8 FROM parked")
        assert 3500 < left <= 3600
        await pool.execute(
            "UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at IS NOT NULL"
        )
        await one.unparker.one_pass()
        await eventually(ended(pool, run, status))
    error = await pool.fetchval("SELECT error FROM runs")
    assert error is None or orjson.loads(error)["code"] == "timeout"


async def test_a_run_that_waits_for_a_year_has_kept_everything(database_url, pool):
    stage = Stage()
    stage.outputs["a"] = {"kept": "x" * 20_000}
    last = {"id": "last", "type": "transform", "config": {"expression": "steps.a.output.kept | length"}}
    version = await stored(pool, chain(START, ("a", "effect"), wait(timeout=2 * 365 * 86_400), last))
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
    await pool.execute(
        "UPDATE parked SET wake_at = wake_at - interval '1 year';UPDATE steps SET wake_at = wake_at - interval '1 year'"
    )
    async with instance(database_url, stage, worker_id="a year later") as one:
        await one.unparker.one_pass()
        assert await place(pool, run.id) == ("waiting", "parked")
        await one.engine.signal(run.id, "approve", b"true")
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 20_000
    assert stage.steps() == ["a"]


async def test_a_wake_that_got_lost_is_made_up_for_by_the_next_pass(database_url, pool):
    version = await stored(pool, chain(START, wait()))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await pool.execute("INSERT INTO run_inbox (run_id, topic, value) VALUES ($1, 'signal:approve', '1')", run.id)
        await one.unparker.one_pass()
        await eventually(ended(pool, run))


async def test_a_message_and_the_wait_for_it_that_are_written_at_once_find_each_other(database_url, pool):
    """Many times over, with no poll behind it: whichever commits later sees the other."""
    version = await stored(pool, chain(START, ("a", "effect"), wait()))
    stage = Stage()
    async with instance(database_url, stage) as one:

        async def signal_soon(ctx):
            asyncio.get_running_loop().call_soon(
                lambda: tasks.append(asyncio.create_task(one.engine.signal(by_id[ctx.run.id], "approve", b"1")))
            )

        tasks, by_id = [], {}
        stage.on_start = signal_soon
        runs = [new_run(version) for _ in range(50)]
        by_id |= {str(run.id): run.id for run in runs}
        await asyncio.gather(*(one.engine.start(run) for run in runs))
        await eventually(lambda: pool.fetchval("SELECT count(*) = 50 FROM runs WHERE status = 'completed'"))
        await asyncio.gather(*tasks)


async def test_a_signal_reaches_a_run_whose_other_branch_is_busy(database_url, pool):
    stage = Stage()
    stage.gate("slow")
    definition = chain(START, wait(), ("a", "effect"))
    definition = definition.model_copy(
        update={
            "nodes": (*definition.nodes, type(definition.nodes[0])(id="slow", type="effect")),
            "edges": (*definition.edges, type(definition.edges[0])(source="start", target="slow")),
        }
    )
    version = await stored(pool, definition)
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: "slow" in stage.steps())
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM steps WHERE status = 'waiting'"))
        await one.engine.signal(run.id, "approve", b"1")
        await one.worker._extend()  # what the next heartbeat brings
        await eventually(lambda: "a" in stage.steps())
        assert "slow" not in stage.steps("ended")
        stage.gates["slow"].set()
        await eventually(ended(pool, run))


async def test_signals_to_runs_that_ended_or_never_were_are_refused(database_url, pool):
    version = await stored(pool, chain(START))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(ended(pool, run))
        with pytest.raises(Conflict):
            await one.engine.signal(run.id, "approve", b"1")
        with pytest.raises(NotFound):
            await one.engine.signal(new_id(), "approve", b"1")


async def test_a_waiting_run_can_be_cancelled(database_url, pool):
    version = await stored(pool, chain(START, wait()))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await one.engine.cancel(run.id)
        assert await place(pool, run.id) == (RunStatus.CANCELLED, "nowhere")
    assert await pool.fetchval("SELECT status FROM steps WHERE step_key = 'approve'") == "cancelled"


async def test_a_worker_that_dies_right_after_a_signal_was_taken_in_loses_nothing(database_url, pool):
    """The message leaves the inbox with the step that it led to, or not at all."""
    stage = Stage()
    version = await stored(pool, chain(START, wait(), ("a", "effect"), ("b", "effect")))
    stage.gate("a")
    async with instance(database_url, stage, lease_seconds=1.5) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await one.engine.signal(run.id, "approve", b"5")
        await eventually(lambda: stage.steps() == ["a"])
        await one.crash()
    stage.gates.clear()
    async with instance(database_url, stage, worker_id="other") as other:
        await pool.execute("UPDATE work_items SET lease_expires_at = now() - interval '1 s' WHERE lease IS NOT NULL")
        await other.rescuer.one_pass()
        await eventually(ended(pool, run))
    assert await pool.fetchval("SELECT output FROM steps WHERE step_key = 'approve'") == b"5"
    assert stage.steps() == ["a", "a", "b"]
    assert await inbox(pool) == 0


async def test_pausing_a_running_run_lets_its_node_finish_and_starts_no_other(database_url, pool):
    stage = Stage()
    stage.gate("a")
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect")))
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        await one.engine.pause(run.id)
        await one.worker._extend()
        stage.gates["a"].set()
        await eventually(lambda: _is(pool, run, ("paused", "parked")))
        assert stage.steps("ended") == ["a"]
        await one.unparker.one_pass()
        assert stage.steps() == ["a"]
        await one.engine.resume(run.id)
        await eventually(ended(pool, run))
        with pytest.raises(Conflict):
            await one.engine.resume(run.id)
    assert stage.steps() == ["a", "b"]


async def _is(pool, run, where):
    return await place(pool, run.id) == where


@pytest.mark.parametrize("kind", ["free", "waiting", "sleeping"])
async def test_a_run_that_nobody_runs_is_paused_at_once_and_goes_on_where_it_was(database_url, pool, kind):
    middle = {
        "free": ("m", "pure"),
        "waiting": wait("m"),
        "sleeping": {"id": "m", "type": "delay", "config": {"duration": "1h"}},
    }
    version = await stored(pool, chain(START, middle[kind], ("b", "effect")))
    stage = Stage()
    async with instance(database_url, stage, starts=kind != "free") as one:
        await one.engine.start(run := new_run(version))
        await eventually(lambda: _is(pool, run, {"free": ("pending", "free")}.get(kind, (kind, "parked"))))
        await one.engine.pause(run.id)
        assert await place(pool, run.id) == ("paused", "parked")
        if kind == "waiting":
            await one.engine.signal(run.id, "m", b"1")
        await one.unparker.one_pass()
        assert await place(pool, run.id) == ("paused", "parked")
        await pool.execute("UPDATE steps SET wake_at = now() WHERE wake_at IS NOT NULL")
        await one.engine.resume(run.id)
        if kind == "free":
            assert await place(pool, run.id) == ("pending", "free")
        else:
            await eventually(ended(pool, run))
    assert await misplaced(pool) == []


async def test_cancel_wins_over_pause(database_url, pool):
    version = await stored(pool, chain(START, wait()))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(waiting(pool, run))
        await one.engine.pause(run.id)
        await one.engine.cancel(run.id)
        with pytest.raises(Conflict):
            await one.engine.resume(run.id)
    assert await place(pool, run.id) == ("cancelled", "nowhere")
