"""workflow_call, workflow_trigger and workflow_return: what is asked, what is let in, and what comes back."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from melagent.registry import Registry
from melagent.sdk import Call, Finish, NodeError, Received

REGISTRY = Registry.builtin()
ID = "0199ec5d-8f2b-7c3e-9a51-3f1f0c7f2b6a"
FAILED = {"code": "stopped", "message": "no luck", "node_id": "x"}


# Calls


async def test_a_call_hands_its_input_on_and_waits(run_node):
    assert await run_node("workflow_call", {"workflow": "Prices"}, input=[1]) == Call("Prices", [1])


async def test_all_that_is_set_reaches_the_engine(run_node):
    config = {
        "workflow": "{{ input.which }}", "input": "{'n': input.n + 1}", "mode": "async", "version": 3, "timeout": "5m",
    }  # fmt: skip
    asked = await run_node("workflow_call", config, input={"which": "Prices", "n": 1})
    assert asked == Call("Prices", {"n": 2}, 3, wait=False, seconds=300)


async def test_the_output_of_the_called_run_is_the_output(run_node):
    assert await run_node("workflow_call", {"workflow": "a"}, received=Received({"n": 1})) == {"n": 1}


async def test_a_called_run_that_failed_fails_the_node_with_its_error_and_output(run_node):
    with pytest.raises(NodeError) as caught:
        await run_node("workflow_call", {"workflow": "Prices"}, received=Received({"left": 1}, error=FAILED))
    assert caught.value.message == "'Prices' did not succeed: no luck"
    assert (caught.value.code, caught.value.retryable) == ("child_failed", False)
    assert caught.value.details == {"error": FAILED, "output": {"left": 1}}


async def test_a_large_output_of_a_called_run_that_failed_is_left_out_of_the_error(run_node):
    with pytest.raises(NodeError) as caught:
        await run_node("workflow_call", {"workflow": "a"}, received=Received("x" * 8_191, error={"code": "cancelled"}))
    assert caught.value.message == "'a' did not succeed: cancelled"
    assert caught.value.details == {"error": {"code": "cancelled"}}


async def test_a_called_run_that_takes_too_long_fails_the_node(run_node):
    with pytest.raises(NodeError) as caught:
        await run_node("workflow_call", {"workflow": "a", "timeout": "2m"}, received=Received(timed_out=True))
    assert (caught.value.code, caught.value.message) == ("timeout", "'a' did not end within 120 s.")


@pytest.mark.parametrize(
    "config",
    [{}, {"workflow": ""}, {"workflow": "a", "version": 0}, {"workflow": "a", "version": "draft"},
     {"workflow": "a", "mode": "later"}, {"workflow": "a", "timeout": "soon"}],
)  # fmt: skip  # one list of mistakes
async def test_a_call_that_makes_no_sense_is_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("workflow_call", config)


# Being called


SCHEMA = [
    {"name": "id"},
    {"name": "total", "type": "number"},
    {"name": "tags", "type": "list", "required": False},
    {"name": "paid", "type": "boolean", "required": False},
]


@pytest.mark.parametrize(
    "given",
    [
        {"id": "x", "total": 1},
        {"id": {}, "total": 0.5, "tags": [], "paid": False, "more": 1},
        {"id": 0, "total": 0, "tags": None},
    ],
)
async def test_an_input_that_fits_is_passed_on(run_node, given):
    assert await run_node("workflow_trigger", {"inputSchema": SCHEMA}, input=given) == given


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "id is missing; total is missing"),
        (None, "id is missing; total is missing"),
        ({"id": None, "total": "1"}, "id is missing; total is not of the type number"),
        ({"id": 1, "total": True}, "total is not of the type number"),
        ({"id": 1, "total": 1, "tags": {}, "paid": 1}, "tags is not of the type list; paid is not of the type boolean"),
        ([1], "it is not an object"),
        ("x", "it is not an object"),
    ],
)
async def test_an_input_that_does_not_fit_is_told_as_a_whole(run_node, given, fault):
    with pytest.raises(NodeError) as caught:
        await run_node("workflow_trigger", {"inputSchema": SCHEMA}, input=given)
    assert caught.value.message == f"The input does not fit: {fault}."
    assert (caught.value.code, caught.value.retryable) == ("invalid_input", False)


@pytest.mark.parametrize("given", [None, 7, [1], {"a": 1}])
async def test_without_a_schema_any_input_is_passed_on(run_node, given):
    assert await run_node("workflow_trigger", {}, input=given) == given


@pytest.mark.parametrize("callers", [[], ["*"], [ID], [ID.upper(), "*"]])
def test_callers_are_ids_or_anybody(callers):
    assert REGISTRY.get("workflow_trigger").problems({"allowedCallers": callers}) == []


@pytest.mark.parametrize("caller", ["Orders", "", ID.replace("-", "")])
def test_a_caller_that_nobody_could_be_is_a_problem(caller):
    (problem,) = REGISTRY.get("workflow_trigger").problems({"allowedCallers": ["*", caller]})
    assert problem.field == "allowedCallers[1]"
    assert "neither * nor the id of a workflow" in problem.problem


# Returning


async def test_the_caller_gets_the_input_or_what_an_expression_makes_of_it(run_node):
    assert await run_node("workflow_return", {}, input={"n": 1}) == Finish({"n": 1})
    assert await run_node("workflow_return", {"data": "{'twice': input.n * 2}"}, input={"n": 2}) == Finish({"twice": 4})


async def test_an_error_fails_the_run_and_still_has_data(run_node):
    config = {"status": "error", "message": "No price for {{ input.id }}"}
    assert await run_node("workflow_return", config, input={"id": 7}) == Finish({"id": 7}, error="No price for 7")
    assert (await run_node("workflow_return", {"status": "error"})).error == "returned with an error"


async def test_a_warning_succeeds_and_is_logged(run_node, context):
    ctx = context(input=1)
    assert await run_node("workflow_return", {"status": "warning", "message": "an old price"}, ctx) == Finish(1)
    assert ctx.lines == [("warn", "an old price")]
