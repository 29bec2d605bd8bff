"""wait: what it waits for, and what it makes of what comes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from melagent.registry import Registry
from melagent.sdk import NodeError, Received, Success, Wait

NOBODY = Received(timed_out=True)
WAIT = Registry.builtin().get("wait")


async def test_it_waits_for_a_signal_that_is_named_like_its_step_and_for_ever(run_node, context):
    waits = await run_node("wait", {}, context(step_key="approve[2]"))
    assert waits == Wait("approve[2]", None, {"title": "", "fields": []})


async def test_the_signal_may_be_named_by_an_expression(run_node):
    assert (await run_node("wait", {"signal": "paid:{{ input.id }}"}, input={"id": 7})).signal == "paid:7"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), ("1h30m", 5_400), ("7d", 604_800), ("250 ms", 0.25), (None, None)],
)
async def test_a_time_out_is_seconds_or_a_text(run_node, given, seconds):
    assert (await run_node("wait", {"timeout": given})).seconds == seconds


async def test_a_time_out_may_come_from_an_expression(run_node):
    config = {"timeout": "{{ input.patience | default(60) }}"}
    assert (await run_node("wait", config, input={"patience": "2h"})).seconds == 7_200
    assert (await run_node("wait", config, input={})).seconds == 60


@pytest.mark.parametrize("given", [0, -1, "0s", "soon", "", "1w", "11000d", 1e12, "9" * 200, float("nan"), [1]])
async def test_what_is_no_time_out_is_refused(run_node, given):
    with pytest.raises(ValidationError):
        await run_node("wait", {"timeout": given})


async def test_people_see_the_title_and_the_form(run_node):
    fields = [
        {"name": "approved", "type": "boolean", "required": True},
        {"name": "why", "label": "Why {{ not a template }}"},
        {"name": "how", "type": "choice", "options": ["now", "later"]},
    ]
    waits = await run_node("wait", {"title": "Order {{ input }}", "fields": fields}, input=7)
    blank = {"label": "", "type": "text", "options": [], "required": False}
    assert waits.shown == {"title": "Order 7", "fields": [blank | field for field in fields]}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ([{"name": "how", "type": "choice"}], "the choice 'how' has no options"),
        ([{"name": "a"}, {"name": "a"}], "two fields have the same name"),
        ([{"name": "not a name"}], "pattern"),
        ([{"label": "a"}], "required"),
    ],
)
def test_a_form_that_nobody_could_fill_in_is_a_problem(fields, fault):
    (problem,) = WAIT.problems({"fields": fields})
    assert problem.field.startswith("fields")
    assert fault in problem.problem


async def test_what_was_sent_is_the_output(run_node):
    assert await run_node("wait", {}, input=1, received=Received({"approved": True})) == {"approved": True}
    assert await run_node("wait", {"timeout": 5}, input=1, received=Received(None)) is None


async def test_a_time_out_fails_and_is_not_tried_again(run_node):
    with pytest.raises(NodeError) as caught:
        await run_node("wait", {"timeout": "1h"}, received=NOBODY)
    assert (caught.value.code, caught.value.retryable) == ("timeout", False)
    assert caught.value.message == "Nobody answered within 3600 s."


async def test_a_time_out_may_branch_and_passes_the_input_on(run_node):
    config = {"timeout": 1, "onTimeout": "branch"}
    assert await run_node("wait", config, input={"a": 1}, received=NOBODY) == Success({"a": 1}, "timeout")


def test_the_output_timeout_is_there_only_for_who_branches():
    assert WAIT.handles({"timeout": 1}) == ("out",)
    assert WAIT.handles({"timeout": 1, "onTimeout": "branch"}) == ("out", "timeout")
    assert WAIT.handles({"timeout": "{{ input }}", "onTimeout": "branch"}) == ("out", "timeout")


@pytest.mark.parametrize("signal", ["two words", "a/b", "x" * 201])
async def test_a_signal_that_no_address_can_hold_is_refused(run_node, signal):
    with pytest.raises(ValidationError):
        await run_node("wait", {"signal": signal})
