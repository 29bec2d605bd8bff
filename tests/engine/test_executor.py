"""What a leased run writes when, which way it takes, and how it sleeps, drains and loses its lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Settle, Verdict
from melagent.errors import Unavailable

if TYPE_CHECKING:
    from melagent.domain.work import Entry
from tests.engine.executing import STEADY, Sink, Stub, executed, made, node, now, resumed, started, version, virtual

# What is written when.


@virtual
async def test_three_steps_with_effects_cost_three_writes_the_last_with_the_end():
    sink = await executed(node("start"), node("a", "effect"), node("b", "effect"), node("c", "effect", value=3))
    assert sink.written == [["start", "a"], ["b"], ["c"]]
    assert [entry.settle for entry in sink.entries] == [None, None, Settle(RunStatus.COMPLETED, output=b"3")]
    assert [entry.seq for entry in sink.entries] == [1, 2, 3]


@virtual
async def test_pure_nodes_cost_one_write():
    sink = await executed(*[node("start"), *(node(f"n{n}", value=n) for n in range(40))])
    assert len(sink.entries) == 1
    assert list(sink.steps) == ["start", *(f"n{n}" for n in range(40))]
    assert [step.seq for step in sink.steps.values()] == list(range(1, 42))
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b"39")


@virtual
async def test_a_node_with_effects_starts_only_when_all_before_it_is_durable():
    nodes = [node("start"), node("a"), node("b", "effect"), node("c"), node("d", "effect")]
    await executed(*nodes, edges="start>a a>b b>c c>d", sink=Sink(seconds=0.3))
    assert Stub.before["b"] >= {"start", "a"}
    assert Stub.before["d"] >= {"start", "a", "b", "c"}


@virtual
async def test_the_step_of_a_pure_entry_follows_from_the_input_and_holds_nobody_up():
    await executed(node("start", do="input"), node("a", "effect"), sink=Sink(seconds=0.3))
    assert started("a") == [0.0]


@virtual
async def test_pure_successors_run_ahead_of_a_write_under_way():
    sink = await executed(node("start"), node("a", "effect"), node("b", takes=1), node("c"), sink=Sink(seconds=5.0))
    assert started("c") == [1.0]
    assert sink.written == [["start", "a"], ["b", "c"]]


@virtual
async def test_the_outcome_of_a_pure_node_is_durable_a_second_later_at_the_latest():
    sink = await executed(node("start"), node("a"), node("slow", takes=10))
    assert sink.written == [["start", "a"], ["slow"]]
    assert sink.times[0] == 1.0


@virtual
async def test_what_gathers_during_a_write_goes_along_with_the_next_one():
    nodes = [node("start"), *(node(f"e{n}", "effect", takes=0.1 * n) for n in range(5))]
    sink = await executed(*nodes, edges=" ".join(f"start>e{n}" for n in range(5)), sink=Sink(seconds=0.25))
    assert sink.written == [["start", "e0"], ["e1", "e2"], ["e3", "e4"]]


# How the graph is followed.


@virtual
async def test_branches_run_at_the_same_time_and_join_with_their_inputs_in_edge_order():
    nodes = [node("start"), node("a", takes=2, value="A"), node("b", takes=1, value="B"), node("join", do="input")]
    sink = await executed(*nodes, edges="start>a start>b a>join b>join")
    assert started("join") == [2.0]
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b'["A","B"]')


@virtual
async def test_only_the_chosen_branch_runs():
    nodes = [node("start", do="choose", value="left", handles=["left", "right"]), node("a"), node("b"), node("c")]
    sink = await executed(*nodes, edges="start.left>a start.right>b b>c")
    assert set(sink.steps) == {"start", "a"}


@virtual
async def test_several_leaves_make_an_object_by_node_id():
    sink = await executed(node("start"), node("a", value=1), node("b", value=2), edges="start>a start>b")
    assert orjson.loads(sink.settle.output) == {"a": 1, "b": 2}


@virtual
async def test_a_disabled_node_passes_its_input_on():
    sink = await executed(
        node("start", do="input"), node("off", "effect", "fail", disabled=True), node("end", do="input")
    )
    assert started("off") == []
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b'{"a":1}')


@virtual
async def test_a_branch_that_wakes_does_not_wait_for_another_that_runs():
    """After `quick`, `slow` is alone: it must run aside all the same, or the sleeper would oversleep."""
    nodes = [
        node("start"),
        node("nap", do="sleep", value=1),
        node("after"),
        node("quick", takes=0.5),
        node("slow", takes=60),
    ]
    await executed(*nodes, edges="start>nap nap>after start>quick quick>slow")
    assert started("after") == [1.0]


@virtual
async def test_a_retry_does_not_wait_for_another_branch_that_runs():
    nodes = [
        node("start"),
        node("shaky", do="fail twice", retry=STEADY),
        node("quick", takes=0.5),
        node("slow", takes=60),
    ]
    await executed(*nodes, edges="start>shaky start>quick quick>slow")
    assert started("shaky") == [0.0, 1.0, 3.0]


# Sleeping and waking.


@virtual
async def test_a_short_sleep_keeps_its_place_and_costs_no_write():
    sink = await executed(node("start", do="sleep", value=4.5), node("a", do="input"))
    assert started("a") == [4.5]
    assert sink.written == [["start", "a"]]
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b'"awake"')


@virtual
async def test_a_long_sleep_is_durable_before_the_place_is_given_back():
    sink = await executed(node("start"), node("nap", do="sleep", value=5), node("a"))
    assert [step.status for step in sink.entries[0].steps] == ["completed", "sleeping"]
    assert sink.settle.status is RunStatus.SLEEPING
    assert sink.settle.wake_in == pytest.approx(5.0, abs=0.1)
    assert sink.steps["nap"].due_in == 5.0
    assert started("a") == []


@virtual
async def test_a_run_that_wakes_goes_on_behind_the_sleep_with_its_output():
    nodes = [node("start"), node("nap", do="sleep", value=5), node("a", do="input")]
    first = await executed(*nodes)
    second = await executed(*nodes, journal=resumed(first, due_in=-0.5))
    assert [key for _, key, _ in Stub.starts] == ["start", "nap", "a"]
    assert second.steps["nap"].status is StepStatus.COMPLETED
    assert second.settle == Settle(RunStatus.COMPLETED, output=b'"awake"')


@virtual
async def test_a_run_that_was_taken_over_before_its_time_sleeps_on():
    nodes = [node("start", do="sleep", value=60), node("a")]
    first = await executed(*nodes)
    second = await executed(*nodes, journal=resumed(first, due_in=40.0))
    assert second.settle == Settle(RunStatus.SLEEPING, wake_in=40.0)
    assert second.written == [[]]


@virtual
async def test_a_branch_that_works_keeps_the_place_while_another_sleeps_long():
    nodes = [node("start"), node("nap", do="sleep", value=8), node("busy", takes=6), node("after", "effect")]
    sink = await executed(*nodes, edges="start>nap start>busy nap>after")
    assert sink.settle.status is RunStatus.COMPLETED, "two seconds are left: not worth giving the place back"
    assert started("after")[0] == pytest.approx(8.0, abs=0.1)


# Draining.


@virtual
async def test_a_draining_run_finishes_what_runs_and_is_given_back_at_the_step_boundary():
    sink = Sink()
    run = made(version(node("start"), node("a", "effect", takes=3), node("b", "effect")), sink)
    asyncio.get_running_loop().call_later(1, run.drain)
    await run.run()
    assert sink.settle == Settle(RunStatus.PENDING)
    assert sink.steps["a"].status is StepStatus.COMPLETED
    assert started("b") == []


@virtual
async def test_an_interrupted_node_leaves_no_record_and_the_run_is_given_back():
    sink = Sink()
    run = made(version(node("start"), node("a", takes=60), node("b", takes=60), edges="start>a start>b"), sink)
    asyncio.get_running_loop().call_later(1.5, run.interrupt)
    await run.run()
    assert now() < 2
    assert sink.settle == Settle(RunStatus.PENDING)
    assert set(sink.steps) == {"start"}


@virtual
async def test_a_node_that_waits_for_a_write_does_not_start_once_the_run_is_draining():
    sink = Sink(seconds=2.0)
    run = made(version(node("start"), node("a", "effect"), node("b", "effect")), sink)
    asyncio.get_running_loop().call_later(1, run.drain)
    await run.run()
    assert started("b") == []
    assert sink.settle == Settle(RunStatus.PENDING)


@virtual
async def test_a_run_that_is_ending_can_still_be_interrupted():
    """The end is being written for long; meanwhile the worker's grace time runs out."""
    sink = Sink(seconds=5.0)
    run = made(version(node("start"), node("stop", do="finish"), node("b", takes=9), edges="start>stop start>b"), sink)
    asyncio.get_running_loop().call_later(2, run.interrupt)
    await run.run()
    assert sink.settle.status is RunStatus.COMPLETED


# Losing the lease.


@virtual
async def test_a_run_whose_lease_is_lost_stops_its_nodes_and_writes_nothing_more():
    sink = Sink()
    sink.answer = lambda _: Verdict.LEASE_LOST
    nodes = [node("start"), node("a", "effect"), node("b", takes=60)]
    run = asyncio.create_task(made(version(*nodes, edges="start>a start>b"), sink).run())
    await asyncio.wait([run])
    assert now() < 1
    assert len(sink.entries) == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_a_run_whose_journal_cannot_be_written_ends_quietly():
    sink = Sink()
    sink.answer = lambda _: Unavailable()
    await made(version(node("start")), sink).run()
    assert len(sink.entries) == 1


@virtual
async def test_no_node_starts_once_the_lease_may_have_run_out():
    sink, held = Sink(), ["the lease"]
    run = made(version(node("start"), node("a", takes=1), node("b")), sink, still_held=lambda: bool(held))
    asyncio.get_running_loop().call_later(0.5, held.clear)
    await run.run()
    assert started("b") == []


@virtual
async def test_nor_when_it_runs_out_while_the_start_of_a_node_is_recorded():
    sink, held = Sink(seconds=1), ["the lease"]
    careful = node("a", kind="effect", on_interrupted="fail")
    run = made(version(node("start"), careful), sink, still_held=lambda: bool(held))
    asyncio.get_running_loop().call_later(0.5, held.clear)
    await run.run()
    assert sink.steps["a"].status is StepStatus.RUNNING
    assert started("a") == []


@virtual
async def test_a_value_that_the_database_refuses_fails_its_own_step_and_the_run():
    def refuse(entry: Entry) -> Verdict:
        guilty = any(step.step_key == "bad" and step.output is not None for step in entry.steps)
        return Verdict.INVALID if guilty else Verdict.ACCEPTED

    sink = Sink()
    sink.answer = refuse
    await executed(node("start"), node("bad", value="x"), node("after"), sink=sink)
    assert sink.written == [["start", "bad", "after"], ["start"], ["bad"], ["bad"]]
    assert sink.settle.error["code"] == "invalid_value"
    assert sink.steps["bad"].status is StepStatus.FAILED
    assert sink.durable == {"start", "bad"}


@virtual
async def test_an_effect_that_sleeps_shortly_is_recorded_at_once():
    sink = await executed(node("start"), node("a", "effect", "sleep", 1))
    assert [step.status for step in sink.entries[0].steps if step.step_key == "a"] == [StepStatus.SLEEPING]
    assert sink.steps["a"].status is StepStatus.COMPLETED
