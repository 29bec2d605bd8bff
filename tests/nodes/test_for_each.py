"""for_each: which items it asks the engine to run, and how."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from melagent.sdk import ForEach, NodeError


async def test_it_takes_the_list_that_comes_in(run_node):
    assert await run_node("for_each", {}, input=[3, 1]) == ForEach([3, 1], concurrency=10)


async def test_the_list_may_be_any_expression(run_node):
    asked = await run_node("for_each", {"items": "input.orders | rejectattr('paid')"}, input={"orders": [{"paid": 0}]})
    assert asked.items == [{"paid": 0}]


async def test_an_object_gives_its_entries(run_node):
    asked = await run_node("for_each", {}, input={"a": 1, "b": None})
    assert asked.items == [{"key": "a", "value": 1}, {"key": "b", "value": None}]


@pytest.mark.parametrize(
    ("size", "batches"), [(1, [1, 2, 3]), (2, [[1, 2], [3]]), (3, [[1, 2, 3]]), (10_000, [[1, 2, 3]])]
)
async def test_batches_are_lists_and_the_last_may_be_shorter(run_node, size, batches):
    assert (await run_node("for_each", {"batchSize": size}, input=[1, 2, 3])).items == batches


@pytest.mark.parametrize("given", [[], {}])
async def test_nothing_gives_no_items(run_node, given):
    assert (await run_node("for_each", {"batchSize": 5}, input=given)).items == []


@pytest.mark.parametrize(
    ("given", "word"), [("abc", "text"), (7, "a number"), (0.5, "a number"), (True, "true or false"), (None, "null")]
)
async def test_what_is_no_list_is_named_and_not_tried_again(run_node, given, word):
    with pytest.raises(NodeError) as caught:
        await run_node("for_each", {"items": "input.rows"}, input={"rows": given})
    assert caught.value.message == f"`items` is {word}, and must be a list or an object."
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


async def test_all_that_is_set_reaches_the_engine(run_node):
    config = {"concurrency": 1, "onItemError": "skip", "distributed": True}
    assert await run_node("for_each", config, input=[1]) == ForEach([1], 1, "skip", distributed=True)


async def test_parameters_may_come_from_expressions(run_node):
    config = {"items": "input.rows", "concurrency": "{{ input.at_once }}"}
    assert (await run_node("for_each", config, input={"rows": [], "at_once": 3})).concurrency == 3


@pytest.mark.parametrize(
    "config",
    [{"concurrency": 0}, {"concurrency": 1_001}, {"batchSize": 0}, {"onItemError": "ignore"}, {"items": ""}],
)
async def test_what_makes_no_sense_is_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("for_each", config, input=[])
