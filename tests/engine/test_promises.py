"""The promises of the engine to its users, each with a test named after it, on real instances and a real PostgreSQL.

A crash stops every task of an instance in the middle of what it does; time passes by moving it in the database.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from datetime import timedelta

import pytest

from melagent.domain.definition import Definition
from melagent.domain.ids import milliseconds_of, uuid7
from melagent.domain.run import RunStatus
from melagent.domain.work import Settle, Verdict
from melagent.engine.lifecycle import rescue
from melagent.errors import Conflict, Gone
from melagent.maintenance.pruner import Pruner
from melagent.maintenance.scheduler import Scheduler
from melagent.registry import Registry
from melagent.services import firings as service
from melagent.services.approvals import Approvals
from melagent.services.copies import Copies
from melagent.store import schedules, work
from melagent.store.ids import new_id
from tests.builders import chain, entry, eventually, expire, leased_run, misplaced, new_run, place, step, stored
from tests.instances import Stage, instance
from tests.scheduling import REGISTRY, deployed, firings, let_pass, schedule, trigger, triggers

START = ("start", "manual_trigger")


async def rows(pool, table="runs"):
    return [dict(row) for row in await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]


async def recorded(pool, run_id, status="completed"):
    found = await pool.fetch(
        "SELECT step_key FROM steps WHERE run_id = $1 AND status = $2 ORDER BY seq", run_id, status
    )
    return [row["step_key"] for row in found]


def ended(pool, *run_ids):
    """A condition: all these runs have ended."""

    async def condition():
        return await pool.fetchval(
            "SELECT count(*) = $2 FROM runs WHERE id = ANY($1) AND finished_at IS NOT NULL", run_ids, len(run_ids)
        )

    return condition


def is_at(pool, run_id, where):
    """A condition: the run is there."""

    async def condition():
        return (await place(pool, run_id))[1] == where

    return condition


async def wake_now(pool):
    """The time of all sleepers has come."""
    await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE status = 'sleeping'")


async def rescued(pool, *instances):
    """The leases of the dead run out, and each instance makes a rescue pass."""
    await expire(pool)
    for each in instances:
        await each.rescuer.one_pass()


async def test_promise_1_a_start_that_was_answered_has_exactly_one_run_whatever_dies_next(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect")))
    runs = [new_run(version) for _ in range(60)]
    answered = []

    async def start(engine, run):
        await engine.start(run)
        answered.append(run.id)

    async with instance(database_url, Stage(), worker_id="dies") as dying:
        starting = [asyncio.create_task(start(dying.engine, run)) for run in runs]
        await eventually(lambda: len(answered) >= 10)
        await dying.crash()
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
    async with instance(database_url, Stage()) as other:
        await rescued(pool, other)
        there = [row["id"] for row in await rows(pool)]
        await eventually(ended(pool, *there))
    assert set(answered) <= set(there) <= {run.id for run in runs}
    assert {row["status"] for row in await rows(pool)} == {"completed"}
    assert await misplaced(pool) == []


async def test_promise_1_a_start_that_is_sent_again_has_still_one_run(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect")))
    stage, run = Stage(), new_run(version)
    async with instance(database_url, stage) as one, instance(database_url, stage, worker_id="two") as two:
        await asyncio.gather(*(each.engine.start(run) for each in (one, two, one)))
        await eventually(ended(pool, run.id))
        await two.engine.start(run)
        await two.worker._claim()
    assert stage.steps() == ["a"]
    assert [row["id"] for row in await rows(pool)] == [run.id]


async def test_promise_2_a_recorded_step_never_starts_again_and_an_unrecorded_one_has_the_same_key(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"), ("c", "effect")))
    first, second, run = Stage(), Stage(), new_run(version)
    first.gate("b")
    async with instance(database_url, first) as dying:
        await dying.engine.start(run)
        await eventually(lambda: first.steps() == ["a", "b"])
        await dying.crash()
    before = await rows(pool, "steps")
    assert "a" in [row["step_key"] for row in before]
    async with instance(database_url, second, worker_id="other") as other:
        await rescued(pool, other)
        await eventually(ended(pool, run.id))
    assert second.steps() == ["b", "c"]
    assert first.started[1] == second.started[0] == f"{run.id}:b"
    assert [
        row for row in await rows(pool, "steps") if row["step_key"] in {old["step_key"] for old in before}
    ] == before
    assert await recorded(pool, run.id) == ["start", "a", "b", "c"]


async def test_promise_2_holds_for_runs_that_are_broken_off_anywhere(database_url, pool):
    """Many runs, their worker killed again and again: no step that is in the journal starts afterwards."""
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "pure"), ("c", "effect"), ("d", "effect")))
    runs = [new_run(version) for _ in range(30)]
    stage, again = Stage(), []

    async def not_recorded(ctx):
        if ctx.step_key in await recorded(pool, ctx.run.id):
            again.append(ctx.idempotency_key)

    stage.on_start = not_recorded
    for kill in range(4):
        async with instance(database_url, stage, worker_id=f"w{kill}", concurrency=30) as dying:
            await rescued(pool, dying)
            if kill == 0:
                await asyncio.gather(*map(dying.engine.start, runs))
            seen = len(stage.started)
            await eventually(lambda seen=seen: len(stage.started) >= seen + 15)
            await dying.crash()
    async with instance(database_url, stage, worker_id="last", concurrency=30) as other:
        await rescued(pool, other)
        await eventually(ended(pool, *(run.id for run in runs)))
    assert again == []
    assert await pool.fetchval("SELECT count(*) FROM steps") == 5 * len(runs)
    assert {row["status"] for row in await rows(pool)} == {"completed"}


async def test_promise_3_whoever_lost_the_lease_changes_nothing(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"), ("c", "effect")))
    late, quick, run = Stage(), Stage(), new_run(version)
    gate = late.gate("b")
    async with instance(database_url, late, concurrency=1) as frozen, instance(database_url, quick) as other:
        await frozen.engine.start(run)
        await eventually(lambda: late.steps() == ["a", "b"])
        await rescued(pool, other)
        await eventually(ended(pool, run.id))
        before = await rows(pool), await rows(pool, "steps")
        gate.set()
        await eventually(lambda: frozen.worker.busy == 0)
        assert (await rows(pool), await rows(pool, "steps")) == before
    assert late.steps("ended") == ["a", "b"]
    assert quick.steps() == ["b", "c"]
    assert await pool.fetchval("SELECT status FROM runs") == "completed"


async def test_promise_4_an_effect_happens_only_when_all_it_depends_on_is_durable(database_url, pool):
    nodes = [START, ("p", "pure"), ("q", "pure"), ("e", "effect"), ("r", "pure"), ("f", "effect")]
    version = await stored(pool, chain(*nodes))
    stage, durable = Stage(), {}

    async def look(ctx):
        durable[ctx.step_key] = await recorded(pool, ctx.run.id)

    stage.on_start = look
    async with instance(database_url, stage) as one:
        run = new_run(version)
        await one.engine.start(run)
        await eventually(ended(pool, run.id))
    assert durable["e"] == ["start", "p", "q"]
    assert durable["f"] == ["start", "p", "q", "e", "r"]


async def test_promise_4_a_branch_waits_for_its_own_past_while_another_goes_on(database_url, pool):
    nodes = [START, ("p", "pure"), ("q", "pure"), ("e", "effect"), ("s", "effect")]
    edges = [("start", "p"), ("start", "q"), ("p", "e"), ("e", "s"), ("q", "s")]
    definition = {
        "nodes": [{"id": node_id, "type": kind} for node_id, kind in nodes],
        "edges": [{"source": source, "target": target} for source, target in edges],
    }
    version = await stored(pool, Definition.model_validate(definition))
    stage, durable = Stage(), {}
    stage.gate("q")

    async def look(ctx):
        durable[ctx.step_key] = set(await recorded(pool, ctx.run.id))

    stage.on_start = look
    async with instance(database_url, stage) as one:
        run = new_run(version)
        await one.engine.start(run)
        await eventually(lambda: "e" in stage.steps("ended"))
        stage.gate("q").set()
        await eventually(ended(pool, run.id))
    assert durable["e"] >= {"p"}
    assert durable["s"] >= {"start", "p", "q", "e"}


async def test_promise_4_an_answer_and_a_change_are_told_only_when_they_are_durable(database_url, pool):
    version = await stored(pool, chain(START, ("p", "pure"), ("answer", "answer"), ("after", "effect")))
    stage = Stage()
    gate = stage.gate("after")
    async with instance(database_url, stage) as one:
        run = new_run(version)
        with one.engine.changes(run.id) as changed:
            end = await one.engine.start_and_wait(run, 10, until_answer=True)
            assert end.answer is not None
            assert changed.is_set()
            assert await recorded(pool, run.id) == ["start", "p", "answer"]
        gate.set()
        await eventually(ended(pool, run.id))


async def test_promise_4_a_sleep_begins_when_all_before_it_is_durable(database_url, pool):
    sleeper = {"id": "sleep", "type": "delay", "config": {"duration": "10m"}}
    version = await stored(pool, chain(START, ("p", "pure"), sleeper, ("after", "pure")))
    stage, run = Stage(), new_run(version)
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(is_at(pool, run.id, "parked"))
        assert await recorded(pool, run.id) == ["start", "p"]
        assert await recorded(pool, run.id, "sleeping") == ["sleep"]
        await wake_now(pool)
        await one.unparker.one_pass()
        await eventually(ended(pool, run.id))
    assert stage.steps() == ["p", "after"]
    assert await recorded(pool, run.id) == ["start", "p", "sleep", "after"]


async def test_promise_5_a_run_ends_in_exactly_one_final_state_whoever_ends_it(database_url, pool):
    async with (
        instance(database_url, Stage(), starts=False) as one,
        instance(database_url, Stage(), starts=False) as two,
    ):
        grants = [await leased_run(pool, deadline_in=-1.0) for _ in range(25)]
        expected = {}

        async def settle(grant, end):
            settle = Settle(end, output=b"1") if end is RunStatus.COMPLETED else Settle(end, error={"code": "x"})
            if await two.engine.recorder.submit(entry(grant, 1, step(), settle=settle)) is Verdict.ACCEPTED:
                expected.setdefault(grant.run_id, []).append(end)

        async def cancel(grant):
            try:
                await one.engine.cancel(grant.run_id)
            except Conflict:
                return
            expected.setdefault(grant.run_id, []).append(RunStatus.CANCELLED)

        async def overdue():
            for run_id in await rescue.fail_overdue(one.engine.pool):
                expected.setdefault(run_id, []).append(RunStatus.FAILED)

        def everybody():
            half = len(grants) // 2
            return [*map(cancel, grants[half - 4 :]), overdue(),
                    *(settle(grant, RunStatus.COMPLETED) for grant in grants[:half])]  # fmt: skip

        await asyncio.gather(*everybody())
        final = await rows(pool)
        assert {row["id"]: [row["status"]] for row in final} == expected
        assert await misplaced(pool) == []

        expected.clear()
        await asyncio.gather(*(cancel(grant) for grant in grants), overdue())
        verdicts = [
            await two.engine.recorder.submit(entry(grant, 9, step("late"), settle=Settle(RunStatus.COMPLETED)))
            for grant in grants
        ]
        await rescued(pool, one, two)
        assert set(verdicts) == {Verdict.LEASE_LOST}
        assert expected == {}
        assert await rows(pool) == final


async def test_promise_5_a_retry_is_a_new_run_that_copies_recorded_steps(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect")))
    stage, run = Stage(), new_run(version)
    stage.gate("b")
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a", "b"])
        await one.engine.cancel(run.id)
        before = await rows(pool), await rows(pool, "steps")
        stage.gate("b").set()
        copies = Copies(one.engine.pool, one.engine, Registry.builtin())
        await copies.retry(run.id, again := new_id())
        await eventually(ended(pool, again))
    assert stage.steps() == ["a", "b", "b"]
    assert [row for row in await rows(pool) if row["id"] == run.id] == before[0]
    assert [row for row in await rows(pool, "steps") if row["run_id"] == run.id] == before[1]
    assert await recorded(pool, again) == ["start", "a", "b"]
    assert await pool.fetchval("SELECT retry_of FROM runs WHERE id = $1", again) == run.id


@pytest.mark.parametrize("early", [True, False])
async def test_promise_6_a_signal_is_consumed_once_also_when_it_comes_before_the_wait(database_url, pool, early):
    waits = [{"id": name, "type": "wait", "config": {"signal": "go"}} for name in ("one", "two")]
    version = await stored(pool, chain(START, ("a", "effect"), *waits, ("b", "effect")))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        if not early:
            gate.set()
            await eventually(is_at(pool, run.id, "parked"))
        key = {"scope": "signal", "key": "k"}
        sent = [await one.engine.signal_once(run.id, "go", b"1", **key) for _ in range(3)]
        assert sent == [True, False, False]
        gate.set()

        async def waits_for_the_second():
            return await recorded(pool, run.id, "waiting") == ["two"]

        await eventually(waits_for_the_second)
        await one.unparker.one_pass()
        assert await place(pool, run.id) == ("waiting", "parked")
        await one.engine.signal(run.id, "go", b"2")
        await eventually(ended(pool, run.id))
    assert stage.steps() == ["a", "b"]
    assert await pool.fetch("SELECT output FROM steps WHERE node_type = 'wait' ORDER BY seq") == [(b"1",), (b"2",)]


async def test_promise_6_an_approval_waits_a_year_keeps_its_history_and_its_link_works_once(database_url, pool):
    """The run is a year old from its start: its week has long been due to be dropped."""
    ask = {"id": "ask", "type": "wait", "config": {"title": "Pay?"}}
    version = await stored(pool, chain(START, ("a", "effect"), ask, ("b", "effect")))
    a_year_ago = milliseconds_of(new_id()) - 365 * 86_400_000
    stage, run = Stage(), new_run(version, id=uuid7(a_year_ago, b"0123456789"))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(is_at(pool, run.id, "parked"))
        before = await rows(pool, "steps")
    async with instance(database_url, stage, worker_id="a year later") as one:
        while await Pruner(pool, database_url, 30).one_pass() == 0.0:
            pass
        assert await rows(pool, "steps") == before
        approvals = Approvals(one.engine.pool, one.engine)
        token = (await one.engine.linker.of(run.id)).token("ask")
        assert (await approvals.question(token)).title == "Pay?"
        asked = [await approvals.question(token) for _ in range(5)]
        answers = [approvals.answer(each, b"%d" % number) for number, each in enumerate(asked)]
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert sorted(map(type, results), key=str) == sorted([type(None), *[Gone] * 4], key=str)
        await eventually(ended(pool, run.id))
        with pytest.raises(Gone):
            await approvals.question(token)
    assert stage.steps() == ["a", "b"]
    assert await pool.fetchval("SELECT output FROM steps WHERE step_key = 'ask'") == b"%d" % results.index(None)


@pytest.fixture
def deaths(monkeypatch):
    """Lets whoever sends certain statements of a firing, counted over all, die right after it, before its commit."""
    counted, deadly, dead = itertools.count(1), set(), set()

    def mortal(real):
        async def send(conn, *given, **more):
            if asyncio.current_task() in dead:  # the lost connection was taken for no more than that
                raise asyncio.CancelledError
            result = await real(conn, *given, **more)
            if next(counted) in deadly:
                dead.add(asyncio.current_task())
                conn.terminate()
                raise asyncio.CancelledError
            return result

        return send

    for module, name in ((schedules, "claim"), (schedules, "keep_firings"), (work, "start"), (schedules, "move")):
        monkeypatch.setattr(module, name, mortal(getattr(module, name)))
    return deadly


async def fire_until_death(each):
    """Look for due schedules without a pause."""
    scheduler = Scheduler(each.engine, REGISTRY)
    while await scheduler._firings.fire_due(0.0) is not None:
        pass


async def test_promise_7_a_planned_moment_fires_once_whoever_dies_while_he_fires_it(
    database_url, pool, deaths, monkeypatch
):
    """Two instances at a time look for what is due; each dies between two statements, and others come after them."""
    monkeypatch.setattr(service, "MOST_MOMENTS", 3)
    await deployed(pool, *(schedule(f"clock{number}", cron="* * * * * *", missed="all") for number in range(9)))
    await let_pass(pool, timedelta(seconds=100))
    before, dice = await triggers(pool), random.Random(7)
    deaths |= set(itertools.accumulate(dice.randrange(1, 8) for _ in range(16)))
    for _ in range(8):
        async with (
            instance(database_url, Stage(), starts=False) as one,
            instance(database_url, Stage(), starts=False) as two,
        ):
            ends = await asyncio.gather(fire_until_death(one), fire_until_death(two), return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}
            await asyncio.gather(one.crash(), two.crash())
    assert 0 < len(await firings(pool)) < 9 * 100, "all or nobody had done his work when he died: nothing was proved"
    async with instance(database_url, Stage(), starts=False) as last:
        while await Scheduler(last.engine, REGISTRY)._firings.fire_due(0.0) is not None:
            pass
    after, found = await triggers(pool), await firings(pool)
    for name, row in before.items():
        seconds = int((after[name]["planned_at"] - row["planned_at"]).total_seconds())
        moments = [row["planned_at"] + timedelta(seconds=number) for number in range(seconds)]
        assert [at for trigger_id, at in found if trigger_id == row["id"]] == moments
        assert seconds >= 100


@pytest.mark.parametrize("missed", ["skip", "one", "all"])
async def test_promise_7_what_passed_while_nobody_was_up_follows_missed(database_url, pool, missed):
    await deployed(pool, schedule(cron="0 * * * *", missed=missed))
    hour = (await trigger(pool))["planned_at"]
    await let_pass(pool, timedelta(hours=30))
    async with instance(database_url, Stage(), starts=False) as one:
        while await Scheduler(one.engine, REGISTRY)._firings.fire_due(0.0) is not None:
            pass
    passed = [hour - timedelta(hours=number) for number in range(1, 31)]  # not that of this hour if it is on time
    moments = [at for _, at in await firings(pool) if at != hour]
    now = await pool.fetchval("SELECT now()")
    overdue = [at for at in passed if now - at > timedelta(seconds=70)]
    looked_back = [at for at in overdue if now - at < timedelta(hours=24) - timedelta(seconds=70)]
    made_up = {"skip": set(), "one": {overdue[0]}, "all": set(looked_back)}[missed]
    assert made_up <= set(moments)
    assert len(set(moments) - made_up) <= 1  # one may be on the edge


@pytest.mark.parametrize("state", ["free", "leased", "parked"])
async def test_promise_8_cancel_works_in_every_state_without_the_worker(database_url, pool, state):
    sleeper = {"id": "sleep", "type": "delay", "config": {"duration": "10m"}}
    kinds = {"free": ("a", "effect"), "leased": ("a", "effect"), "parked": sleeper}
    version = await stored(pool, chain(START, kinds[state], ("b", "effect")))
    stage, run = Stage(), new_run(version)
    stage.gate("a")
    async with instance(database_url, stage, starts=state != "free") as one:
        await one.engine.start(run)
        if state == "leased":
            await eventually(lambda: stage.steps() == ["a"])
            await one.crash()
        elif state == "parked":
            await eventually(is_at(pool, run.id, "parked"))
        assert (await place(pool, run.id))[1] == state
    async with instance(database_url, stage, starts=False) as other:
        await other.engine.cancel(run.id)
        assert await place(pool, run.id) == ("cancelled", "nowhere")
        with pytest.raises(Conflict):
            await other.engine.cancel(run.id)
    assert "b" not in stage.steps()


async def test_promise_8_no_node_starts_later_than_one_heartbeat_after_a_cancel(database_url, pool):
    version = await stored(pool, chain(START, ("a", "pure"), ("b", "pure"), ("c", "pure")))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    async with instance(database_url, stage) as one, instance(database_url, Stage(), starts=False) as other:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await other.engine.cancel(run.id)
        await one.worker._extend()
        gate.set()
        await eventually(lambda: one.worker.busy == 0)
    assert stage.steps() == ["a"]
    assert stage.steps("ended") == []
    assert await recorded(pool, run.id) in ([], ["start"])


async def test_promise_8_an_effect_after_a_cancel_is_stopped_even_before_the_heartbeat(database_url, pool):
    version = await stored(pool, chain(START, ("a", "pure"), ("b", "effect")))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    async with instance(database_url, stage) as one, instance(database_url, Stage(), starts=False) as other:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await other.engine.cancel(run.id)
        gate.set()
        await eventually(lambda: one.worker.busy == 0)
    assert stage.steps() == ["a"]
    assert await pool.fetchval("SELECT status FROM runs") == "cancelled"


async def test_promise_10_work_of_a_dead_worker_runs_elsewhere_within_a_lease_and_a_rescue_pass(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect")))
    first, second, run = Stage(), Stage(), new_run(version)
    first.gate("b")
    options = {"lease_seconds": 1.5, "heartbeat_seconds": 0.5}
    async with instance(database_url, first, worker_id="dies", **options) as dying:
        await dying.engine.start(run)
        await eventually(lambda: first.steps() == ["a", "b"])
        async with instance(database_url, second, worker_id="alive", **options) as alive:
            alive.rescuer.loop.start()
            await dying.crash()
            died_at = time.monotonic()
            await eventually(lambda: second.steps() == ["b"])
            took = time.monotonic() - died_at
            await eventually(ended(pool, run.id))
            await alive.rescuer.loop.stop()
    assert took < 5 * (1.5 + 2.2)  # lease, and rescue pass with its jitter, on a machine that is very slow


async def test_promise_10_nobody_takes_the_work_of_a_living_worker(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect")))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    options = {"lease_seconds": 5.0, "heartbeat_seconds": 0.3}
    async with instance(database_url, stage, **options) as one, instance(database_url, stage, **options) as two:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        granted = await pool.fetchval("SELECT lease_expires_at FROM work_items")

        async def outlived_its_first_lease():
            await two.rescuer.one_pass()
            return await pool.fetchval("SELECT now() > $1", granted)

        await eventually(outlived_its_first_lease)
        assert await place(pool, run.id) == ("pending", "leased")
        gate.set()
        await eventually(ended(pool, run.id))
    assert stage.steps() == ["a"]
    assert await pool.fetchval("SELECT attempt FROM runs") == 1


async def test_promise_11_losing_the_broker_makes_things_slower_never_wrong(database_url, pool):
    version = await stored(pool, chain(START, ("a", "effect")))
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    stage, run = Stage(), new_run(version)
    async with (
        instance(database_url, Stage(), starts=False, broker_url=nowhere) as one,
        instance(database_url, stage, broker_url=nowhere) as two,
    ):
        assert (one.broker.health, two.broker.health) == ("degraded", "degraded")
        end = await one.engine.start_and_wait(run, 10)
    assert end is not None
    assert end.status is RunStatus.COMPLETED
    assert stage.steps() == ["a"]
