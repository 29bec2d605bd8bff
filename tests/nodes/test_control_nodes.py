"""Nodes that decide where a run goes on, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from melagent.registry import Registry
from melagent.sdk import Finish, NodeError, Sleep, Success

REGISTRY = Registry.builtin()


def handles(type_id, config):
    return REGISTRY.get(type_id).handles(config)


NAMED = {
    "conditions": [
        {"expression": "input.total > 100", "branch": "large"},
        {"expression": "input.total > 10", "branch": "medium"},
    ],
    "hasElse": True,
}


@pytest.mark.parametrize(("total", "branch"), [(200, "large"), (50, "medium"), (1, "else")])
async def test_if_takes_the_first_condition_that_is_true(run_node, total, branch):
    assert await run_node("if", NAMED, input={"total": total}) == Success({"total": total}, branch)


@pytest.mark.parametrize(
    ("value", "branch"), [(1, "true"), (0, "false"), ("", "false"), ([0], "true"), (None, "false")]
)
async def test_single_condition_has_the_branches_true_and_false(run_node, value, branch):
    config = {"conditions": [{"expression": "{{ input }}"}]}
    assert await run_node("if", config, input=value) == Success(value, branch)
    assert handles("if", config) == ("true", "false")


def test_handles_of_if_are_its_branches():
    assert handles("if", NAMED) == ("large", "medium", "else")
    unnamed = {
        "conditions": [{"expression": "a"}, {"expression": "b", "branch": "x"}, {"expression": "c", "branch": "x"}]
    }
    assert handles("if", unnamed) == ("branch_1", "x", "else")


async def test_if_whose_condition_fails_is_not_tried_again(run_node):
    with pytest.raises(NodeError) as caught:
        await run_node("if", NAMED, input={})
    assert caught.value.code == "expression_error"
    assert not caught.value.retryable


SWITCH = {
    "expression": "input.kind",
    "cases": [
        {"value": "order", "handle": "orders"},
        {"value": 1, "handle": "one"},
        {"value": True, "handle": "yes"},
        {"value": None, "handle": "nothing"},
        {"expression": "value is string and 'refund' in value", "handle": "refunds"},
    ],
    "default": "rest",
}


@pytest.mark.parametrize(
    ("kind", "handle"),
    [
        ("order", "orders"),
        (1, "one"),
        (1.0, "one"),
        (True, "yes"),
        (None, "nothing"),
        ("a refund", "refunds"),
        ("other", "rest"),
        (False, "rest"),
    ],
)
async def test_switch_takes_the_first_case_that_fits(run_node, kind, handle):
    outcome = await run_node("switch", SWITCH, input={"kind": kind})
    assert outcome == Success({"kind": kind}, handle)


def test_handles_of_switch_are_its_cases_and_the_default():
    assert handles("switch", SWITCH) == ("orders", "one", "yes", "nothing", "refunds", "rest")


@pytest.mark.parametrize(
    "case",
    [{"handle": "a"}, {"handle": "a", "value": 1, "expression": "true"}, {"value": 1, "handle": "error"}, {"value": 1}],
)
async def test_malformed_case_is_refused(run_node, case):
    with pytest.raises(ValidationError):
        await run_node("switch", {"cases": [case]})


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (1500, 1.5),
        ("1500", 1.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("250ms", 0.25),
    ],
)
async def test_delay_sleeps_for_its_duration(run_node, duration, seconds):
    assert await run_node("delay", {"duration": duration}, input=1) == Sleep(seconds, 1)


async def test_duration_may_come_from_an_expression(run_node):
    assert await run_node("delay", {"duration": "{{ input * 1000 }}"}, input=2) == Sleep(2, 2)


@pytest.mark.parametrize("until", ["2030-01-01T00:01:00Z", "2030-01-01T00:01:00", "2030-01-01T01:01:00+01:00"])
async def test_delay_sleeps_until_a_time_which_is_utc_if_it_names_no_zone(run_node, until):
    assert await run_node("delay", {"until": until}) == Sleep(until=datetime(2030, 1, 1, 0, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "config",
    [
        {"duration": "soon"},
        {"duration": "5x"},
        {"duration": -1},
        {"duration": "400d"},
        {"duration": "9" * 50},
        {"duration": "9" * 400},
        {"duration": "9" * 400 + "h"},
        {"duration": "1" * 100_000 + "x"},
        {"duration": float("inf")},
        {"duration": float("nan")},
        {"duration": 10**400},
        {"until": "noon"},
    ],
)
async def test_delay_refuses_what_is_no_time(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("delay", config)


async def test_stop_ends_the_run_with_success_or_error(run_node):
    assert await run_node("stop", {}, input={"a": 1}) == Finish({"a": 1})
    assert await run_node("stop", {"output": None}, input={"a": 1}) == Finish(None)
    failed = await run_node("stop", {"status": "error", "message": "No order {{ input }}", "output": 5}, input=7)
    assert failed == Finish(5, error="No order 7")
