"""What becomes of a leased run when a node fails, when it comes to its end, and when a value cannot be kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
import pytest

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Settle, Verdict
from melagent.engine import run_limits
from melagent.engine.values import MAX_VALUE_BYTES
from tests.engine.executing import ACTIONS, ONCE, STEADY, Sink, Stub, executed, node, resumed, started, virtual

# Failures.


@virtual
async def test_a_failed_node_is_tried_again_after_growing_pauses_with_the_same_key():
    sink = await executed(node("start"), node("a", "effect", "fail twice", value=7, retry=STEADY))
    assert [(at, attempt) for at, key, attempt in Stub.starts if key == "a"] == [(0.0, 1), (1.0, 2), (3.0, 3)]
    assert len(Stub.keys) == 2, "one key for each step"
    assert [entry.steps[-1].status for entry in sink.entries] == [*["pending"] * 2, "completed"]
    assert sink.steps["a"].attempt == 3
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b"7")


@virtual
async def test_the_last_failure_fails_the_run():
    sink = await executed(node("start"), node("a", do="fail", value="boom", retry=STEADY))
    error = {"code": "node_error", "message": "boom", "node_id": "a"}
    assert len(started("a")) == 3
    assert sink.steps["a"].status is StepStatus.FAILED
    assert sink.settle == Settle(RunStatus.FAILED, error=error)


@pytest.mark.parametrize(
    ("do", "retry"), [("fail for good", STEADY), ("fail twice", STEADY | {"non_retryable": ["not_yet"]})]
)
@virtual
async def test_what_will_not_get_better_is_not_tried_again(do, retry):
    sink = await executed(node("start", do=do, retry=retry))
    assert len(started("start")) == 1
    assert sink.settle.status is RunStatus.FAILED


@virtual
async def test_a_long_pause_before_the_next_attempt_gives_the_place_back():
    retry = STEADY | {"initial_delay_ms": 9_000}
    sink = await executed(node("start", do="fail twice", retry=retry))
    assert sink.settle.status is RunStatus.SLEEPING
    assert sink.settle.wake_in == pytest.approx(9.0, abs=0.1)
    assert len(started("start")) == 1
    again = await executed(node("start", do="fail twice", retry=STEADY), journal=resumed(sink, due_in=-1.0))
    assert [attempt for _, _, attempt in Stub.starts] == [1, 2, 3]
    assert again.settle.status is RunStatus.COMPLETED


@virtual
async def test_a_failed_node_that_may_fail_leads_on_to_its_successors():
    sink = await executed(
        node("start", do="fail", value="boom", retry=ONCE, on_error="continue"), node("a", do="input")
    )
    assert sink.steps["start"].status is StepStatus.FAILED
    assert orjson.loads(sink.settle.output)["error"]["message"] == "boom"


@virtual
async def test_a_failed_node_with_an_error_branch_leads_there_and_nowhere_else():
    nodes = [node("start", do="fail", retry=ONCE, on_error="branch"), node("fine"), node("repair", do="input")]
    sink = await executed(*nodes, edges="start>fine start.error>repair")
    assert set(sink.steps) == {"start", "repair"}
    assert sink.settle.status is RunStatus.COMPLETED


@virtual
async def test_a_node_that_takes_too_long_is_stopped_and_failed():
    sink = await executed(node("start", takes=60, timeout_seconds=2, retry=ONCE))
    assert sink.times == [2.0]
    assert sink.settle.error == {"code": "timeout", "message": "The node took longer than 2 s.", "node_id": "start"}


@virtual
async def test_a_time_out_of_the_nodes_own_is_not_taken_for_its_time_limit():
    sink = await executed(node("start", do="time out by itself", takes=0.1, retry=ONCE))
    assert "the socket was slow" in sink.settle.error["message"]


@virtual
async def test_a_node_that_crashes_fails_like_any_other():
    sink = await executed(node("start", do="crash", value="by zero", retry=STEADY))
    assert len(started("start")) == 3
    assert sink.settle.error["code"] == "node_crashed"
    assert sink.settle.error["message"] == "ZeroDivisionError: by zero"


@virtual
async def test_an_output_that_the_node_does_not_have_fails_it():
    sink = await executed(node("start", do="choose", value="sideways", retry=STEADY))
    assert sink.settle.error["code"] == "invalid_output"
    assert "'sideways'" in sink.settle.error["message"]
    assert len(started("start")) == 1


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"type": "nowhere_to_be_found", "config": {}}, "unknown_node_type"),
        ({"type": "pure", "config": {"takes": "long"}}, "invalid_params"),
        ({"type": "pure", "config": {"value": "{{ input.b }}"}}, "expression_error"),
    ],
)
@virtual
async def test_a_node_that_cannot_begin_fails_and_says_why(broken, code):
    sink = await executed(node("start", do="input"), {"id": "a", **broken})
    assert sink.settle.error["code"] == code
    assert sink.steps["a"].status is StepStatus.FAILED


@virtual
async def test_failures_of_both_branches_in_the_same_moment_are_both_recorded():
    """The second one had its effect as well: nobody may think that it never ran."""
    nodes = [node("start"), node("a", "effect", "fail", takes=1, retry=ONCE), node("b", "effect", takes=1)]
    sink = await executed(*nodes, edges="start>a start>b")
    assert {key: step.status for key, step in sink.steps.items()} == {
        "start": StepStatus.COMPLETED, "a": StepStatus.FAILED, "b": StepStatus.COMPLETED,
    }  # fmt: skip
    assert sink.settle.status is RunStatus.FAILED


# The end of the run.


@virtual
async def test_finish_ends_the_run_and_cancels_what_runs_and_what_sleeps():
    nodes = [
        node("start"), node("stop", do="finish", value="enough", takes=1), node("busy", takes=9),
        node("nap", do="sleep", value=3), node("shaky", do="fail", retry=STEADY | {"initial_delay_ms": 4_000}),
    ]  # fmt: skip
    sink = await executed(*nodes, edges="start>stop start>busy start>nap start>shaky")
    assert sink.settle == Settle(RunStatus.COMPLETED, output=b'"enough"')
    cancelled = {key for key, step in sink.steps.items() if step.status is StepStatus.CANCELLED}
    assert cancelled == {"busy", "nap", "shaky"}
    assert all(step.finished_at is not None for step in sink.steps.values())


@virtual
async def test_finish_with_an_error_fails_the_run():
    sink = await executed(node("start", do="give up", value="no more"))
    error = {"code": "stopped", "message": "no more", "node_id": "start"}
    assert sink.settle == Settle(RunStatus.FAILED, output=b'"so far"', error=error)


@virtual
async def test_a_run_fails_at_its_deadline_and_its_running_step_is_cancelled():
    sink = await executed(node("start"), node("slow", takes=60), deadline_in=7.5)
    assert sink.times[-1] == 7.5
    assert sink.settle.error["code"] == "timeout"
    assert sink.steps["slow"].status is StepStatus.CANCELLED


@virtual
async def test_a_run_that_wakes_after_its_deadline_ends_with_no_step_open():
    first = await executed(node("start", do="sleep", value=30))
    sink = await executed(node("start", do="sleep", value=30), journal=resumed(first, due_in=12.0), deadline_in=-0.1)
    assert sink.settle.error["code"] == "timeout"
    assert sink.steps["start"].status is StepStatus.CANCELLED


@virtual
async def test_a_run_whose_failed_step_is_durable_fails_again_without_starting_anything():
    first = await executed(node("start", do="fail", retry=ONCE), node("a"))
    sink = await executed(node("start", do="fail", retry=ONCE), node("a"), journal=list(first.steps.values()))
    assert len(Stub.starts) == 1
    assert sink.settle == first.settle


# Values.


@pytest.mark.parametrize(
    ("do", "value", "code"),
    [
        ("big", MAX_VALUE_BYTES + 1, "value_too_large"),
        ("surrogate", None, "invalid_output"),
        ("set", None, "invalid_output"),
    ],
)
@virtual
async def test_a_value_that_cannot_be_kept_fails_its_step_without_another_try(do, value, code):
    sink = await executed(node("start", do=do, value=value, retry=STEADY))
    assert sink.settle.error["code"] == code
    assert sink.steps["start"].output is None
    assert len(started("start")) == 1


@virtual
async def test_a_value_of_exactly_sixteen_mebibytes_is_kept():
    sink = await executed(node("start", do="big", value=MAX_VALUE_BYTES))
    assert len(sink.settle.output) == MAX_VALUE_BYTES
    assert sink.settle.status is RunStatus.COMPLETED


@virtual
async def test_a_run_whose_values_grow_too_large_fails_at_the_step_that_was_too_much(monkeypatch):
    monkeypatch.setattr(run_limits, "MAX_RUN_BYTES", 1_000)
    sink = await executed(node("start", do="big", value=600), node("a", do="big", value=600), node("b"))
    assert sink.settle.error["code"] == "run_too_large"
    assert {key: step.status for key, step in sink.steps.items()} == {"start": "completed", "a": "failed"}


@virtual
async def test_a_nul_character_in_values_errors_and_logs_is_passed_on():
    sink = await executed(node("start", do="log", value="a\x00b"), node("a", do="fail", value="c\x00d", retry=ONCE))
    assert sink.steps["start"].output == rb'"a\u0000b"'
    assert sink.steps["start"].logs[0]["message"] == "a\x00b"
    assert sink.settle.error["message"] == "c\x00d"


@pytest.mark.parametrize("do", ["fail with a surrogate", "stop with a surrogate", "log a surrogate", "log an object"])
@virtual
async def test_errors_and_logs_are_json_whatever_a_node_puts_into_them(do):
    """They are encoded in one statement with those of other runs, which must not suffer."""
    sink = await executed(node("start", do=do, retry=ONCE))
    for step in sink.steps.values():
        orjson.loads(orjson.dumps([step.error, step.logs]))
    orjson.loads(orjson.dumps(sink.settle.error))
    assert sink.settle.status.final


@virtual
async def test_a_failure_of_the_entry_is_durable_before_an_effect_follows_it():
    nodes = [node("start", do="fail", retry=ONCE, on_error="continue"), node("a", "effect")]
    await executed(*nodes, sink=Sink(seconds=0.3))
    assert Stub.before["a"] == {"start"}


@virtual
async def test_a_node_whose_handles_cannot_be_told_fails_like_one_that_crashes(monkeypatch):
    monkeypatch.setattr(Stub, "handles", lambda *_: 1 / 0)
    sink = await executed(node("start", retry=ONCE))
    assert sink.settle.error["code"] == "node_crashed"


@virtual
async def test_whatever_goes_wrong_with_a_write_nothing_goes_on_as_if_it_had_been_written():
    sink = Sink()
    sink.answer = lambda entry: Verdict.ACCEPTED if entry.seq == 1 else RuntimeError("disk full")
    nodes = [node("start"), node("a", "effect"), node("b"), node("c", "effect"), node("d", "effect")]
    with suppress(asyncio.CancelledError):
        await executed(*nodes, sink=sink)
    assert len(sink.entries) == 2
    assert sink.durable == {"start", "a", "b"}
    assert len(started("c")) == 1
    assert started("d") == []


@virtual
async def test_a_node_that_is_cancelled_from_within_fails_like_one_that_crashes(monkeypatch):
    monkeypatch.setitem(ACTIONS, "cancel itself", cancel_itself)
    sink = await executed(node("start", do="cancel itself", retry=ONCE))
    assert sink.settle.error["code"] == "node_crashed"


def cancel_itself(value, ctx):
    raise asyncio.CancelledError
