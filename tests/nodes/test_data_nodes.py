"""Nodes that make values: set, transform, merge, log, noop and the triggers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from melagent.sdk import NodeError

ORDER = {"id": 7, "customer": {"name": "Ann"}, "secret": "s"}


async def test_manual_trigger_returns_the_input_it_was_started_with(run_node):
    assert await run_node("manual_trigger", {"data": {"a": 1}}, input={"b": 2}) == {"b": 2}
    assert await run_node("manual_trigger", {"data": {"a": 1}}, input=False) is False


@pytest.mark.parametrize(
    ("config", "payload"),
    [
        ({}, {}),
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": '{"a": 1}'}, {"a": 1}),
        ({"data": '{"a": 1}', "format": "text"}, '{"a": 1}'),
        ({"data": "1.5", "format": "number"}, 1.5),
    ],
)
async def test_manual_trigger_has_a_payload_of_its_own(run_node, config, payload):
    assert await run_node("manual_trigger", config) == payload


@pytest.mark.parametrize(
    "config", [{"data": "{"}, {"data": "true", "format": "number"}, {"data": "x", "format": "number"}]
)
async def test_payload_that_cannot_be_read_is_refused(run_node, config):
    with pytest.raises(ValidationError, match="data is not"):
        await run_node("manual_trigger", config)


@pytest.mark.parametrize("type_id", ["webhook", "noop"])
async def test_input_is_passed_on(run_node, type_id):
    assert await run_node(type_id, {}, input=ORDER) is ORDER


async def test_set_renames_removes_and_sets_fields(run_node):
    config = {
        "fields": {"total": "{{ 2 * 3 }}", "name": "{{ input.customer.name }}"},
        "rename": {"id": "order_id", "missing": "x"},
        "remove": ["secret"],
    }
    assert await run_node("set", config, input=ORDER) == {
        "customer": {"name": "Ann"},
        "order_id": 7,
        "total": 6,
        "name": "Ann",
    }
    assert ORDER == {"id": 7, "customer": {"name": "Ann"}, "secret": "s"}


async def test_set_can_begin_with_nothing(run_node):
    config = {"include": "none", "fields": {"a": 1}}
    assert await run_node("set", config, input=[1]) == {"a": 1}
    assert await run_node("set", {"fields": {"a": 1}}, input=None) == {"a": 1}


async def test_set_refuses_an_input_that_is_no_object(run_node):
    with pytest.raises(NodeError, match="not an object") as caught:
        await run_node("set", {}, input=[1])
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("config", "value"),
    [
        ({"expression": "input.id + 1"}, 8),
        ({"template": "{{ input.id }}"}, 7),
        ({"template": "Order {{ input.id }}"}, "Order 7"),
        (
            {"template": {"id": "{{ input.id }}", "list": ["{{ input.customer }}"]}},
            {"id": 7, "list": [{"name": "Ann"}]},
        ),
    ],
)
async def test_transform_gives_text_or_value(run_node, config, value):
    assert await run_node("transform", config, input=ORDER) == value


@pytest.mark.parametrize("config", [{}, {"expression": "1", "template": "x"}])
async def test_transform_takes_one_of_both(run_node, config):
    with pytest.raises(ValidationError, match="either an expression or a template"):
        await run_node("transform", config)


async def test_log_writes_text_or_json_and_passes_its_input_on(run_node, context):
    ctx = context(input=ORDER)
    assert await run_node("log", {"level": "warn", "message": "Order {{ input.id }}"}, ctx) is ORDER
    await run_node("log", {"message": "{{ input.customer }}"}, ctx)
    assert ctx.lines == [("warn", "Order 7"), ("info", '{"name":"Ann"}')]


@pytest.mark.parametrize(
    ("strategy", "inputs", "merged"),
    [
        ("concat", [[1, 2], [2, 3]], [1, 2, 2, 3]),
        ("concat", [[1], "x", None], [1, "x"]),
        ("concat", [{"a": 1, "b": {"x": 1}}, {"b": {"y": 2}}], {"a": 1, "b": {"y": 2}}),
        ("concat", [], []),
        ("union", [[1, {"a": 1, "b": 2}], [{"b": 2, "a": 1}, 3, 1]], [1, {"a": 1, "b": 2}, 3]),
        ("union", [{"a": 1}, {"a": 2, "b": 3}], {"a": 2, "b": 3}),
        ("union", [[1, 1.5, True, "1"], [1]], [1, 1.5, True, "1"]),
        ("deep", [{"a": {"x": 1, "l": [1]}}, {"a": {"y": 2, "l": [2]}}], {"a": {"x": 1, "y": 2, "l": [1, 2]}}),
        ("intersection", [[1, 2, 2, 3], [3, 2], [2, 3, 4]], [2, 3]),
        ("intersection", [{"a": 1, "b": 2}, {"b": 3, "c": 4}], {"b": 3}),
        ("intersection", [], []),
        ("append", [{"a": 1}, [2], None], [{"a": 1}, [2], None]),
    ],
)
async def test_merge_follows_its_strategy(run_node, strategy, inputs, merged):
    given = {f"node{index}": value for index, value in enumerate(inputs)}
    assert await run_node("merge", {"strategy": strategy}, inputs=given) == merged


async def test_merge_by_key_joins_the_objects_that_belong_together(run_node):
    inputs = {
        "orders": [{"id": 1, "total": 5}, {"id": 2, "total": 6}],
        "customers": [{"id": 2, "name": "B"}, {"id": 3}],
    }
    assert await run_node("merge", {"strategy": "by_key", "key": "id"}, inputs=inputs) == [
        {"id": 1, "total": 5},
        {"id": 2, "total": 6, "name": "B"},
        {"id": 3},
    ]


@pytest.mark.parametrize(
    ("config", "inputs", "problem"),
    [
        ({"strategy": "by_key", "key": "id"}, {"a": [{"x": 1}]}, "the field 'id'"),
        ({"strategy": "deep"}, {"a": {}, "b": [1]}, "Objects merge with objects only"),
    ],
)
async def test_merge_refuses_what_does_not_fit_together(run_node, config, inputs, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("merge", config, inputs=inputs)
    assert not caught.value.retryable
