"""list: each operation, and what it does with odd items."""

import pytest
from pydantic import ValidationError

from melagent.nodes import list_
from melagent.sdk import NodeError

ORDERS = [
    {"id": 1, "customer": "b", "total": 30},
    {"id": 2, "customer": "a", "total": 5.5},
    {"id": 3, "customer": "b", "total": None},
    {"id": 4, "customer": "c", "total": 5.5},
]


def ids(items):
    return [item["id"] for item in items]


async def test_filter_sees_item_index_and_input(run_node):
    config = {"items": "input.orders", "expression": "item.total and item.total > input.least and index > 0"}
    assert ids(await run_node("list", config, input={"orders": ORDERS, "least": 5})) == [2, 4]
    assert await run_node("list", {}, input=[0, 1, "", "a", None, []]) == [1, "a"]


async def test_map_gives_the_value_of_each_item(run_node):
    config = {"operation": "map", "expression": "{'id': item.id, 'last': index == 3}"}
    assert await run_node("list", config, input=ORDERS[2:]) == [{"id": 3, "last": False}, {"id": 4, "last": False}]
    assert await run_node("list", {"operation": "map", "expression": "item.total"}, input=ORDERS) == [
        30,
        5.5,
        None,
        5.5,
    ]


@pytest.mark.parametrize("operation", ["map", "sort", "unique", "group", "aggregate"])
async def test_values_that_grow_with_each_item_are_refused(run_node, monkeypatch, operation):
    monkeypatch.setattr(list_, "MAX_TEXT", 100)
    config = {"operation": operation, "items": "input.items", "expression": "input.text ~ index"}
    given = {"items": [1, 2, 3], "text": "x" * 60}
    with pytest.raises(NodeError, match="more than 100 characters") as caught:
        await run_node("list", config, input=given)
    assert (caught.value.code, caught.value.retryable) == ("too_large", False)
    assert await run_node("list", config | {"operation": "filter"}, input=given) == [1, 2, 3]


@pytest.mark.parametrize(
    ("expression", "order", "expected"),
    [
        ("item.total", "asc", [2, 4, 1, 3]),
        ("item.total", "desc", [1, 2, 4, 3]),
        ("item.customer", "asc", [2, 1, 3, 4]),
        ("item.customer", "desc", [4, 1, 3, 2]),
        ("item.id == 3", "desc", [3, 1, 2, 4]),
    ],
)
async def test_sort_keeps_the_order_of_equals_and_puts_null_last(run_node, expression, order, expected):
    config = {"operation": "sort", "expression": expression, "order": order}
    assert ids(await run_node("list", config, input=ORDERS)) == expected


@pytest.mark.parametrize("given", [[1, "a"], [True, 2], [[1], [2]], [{}]])
async def test_values_that_do_not_compare_are_refused(run_node, given):
    for config in ({"operation": "sort"}, {"operation": "aggregate", "function": "max"}):
        with pytest.raises(NodeError, match="numbers compare with numbers") as caught:
            await run_node("list", config, input=given)
        assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"count": 2}, [0, 1]),
        ({"count": 2, "offset": 3}, [3, 4]),
        ({"count": 2, "offset": 4}, [4]),
        ({"count": 0}, []),
        ({"count": 2, "keep": "last"}, [3, 4]),
        ({"count": 2, "offset": 1, "keep": "last"}, [2, 3]),
        ({"count": 9, "offset": 3, "keep": "last"}, [0, 1]),
        ({"count": 1, "offset": 9, "keep": "last"}, []),
    ],
)
async def test_limit_keeps_items_from_either_end(run_node, config, expected):
    assert await run_node("list", {"operation": "limit"} | config, input=[0, 1, 2, 3, 4]) == expected


async def test_unique_keeps_the_first_of_each_value(run_node):
    config = {"operation": "unique", "expression": "item.customer"}
    assert ids(await run_node("list", config, input=ORDERS)) == [1, 2, 4]
    given = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, 1, True, "1", 1]
    assert await run_node("list", {"operation": "unique"}, input=given) == [{"a": 1, "b": 2}, 1, True, "1"]


async def test_group_keeps_the_type_of_keys_and_the_order_of_their_first_items(run_node):
    groups = await run_node("list", {"operation": "group", "expression": "item.total"}, input=ORDERS)
    assert [(group["key"], ids(group["items"])) for group in groups] == [(30, [1]), (5.5, [2, 4]), (None, [3])]


async def test_flatten_opens_as_many_levels_as_asked_for(run_node):
    given = [1, [2, [3, [4]]], [], {"a": [5]}]
    assert await run_node("list", {"operation": "flatten"}, input=given) == [1, 2, [3, [4]], {"a": [5]}]
    assert await run_node("list", {"operation": "flatten", "depth": 9}, input=given) == [1, 2, 3, 4, {"a": [5]}]


async def test_split_makes_batches(run_node):
    assert await run_node("list", {"operation": "split", "size": 2}, input=[1, 2, 3]) == [[1, 2], [3]]
    assert await run_node("list", {"operation": "split"}, input=[]) == []


@pytest.mark.parametrize(
    ("function", "expression", "value"),
    [
        ("count", "item", 4),
        ("count", "item.total", 3),
        ("sum", "item.total", 41.0),
        ("sum", "item.id", 10),
        ("avg", "item.id", 2.5),
        ("min", "item.total", 5.5),
        ("max", "item.customer", "c"),
        ("join", "item.customer", "b, a, b, c"),
        ("join", "item.id", "1, 2, 3, 4"),
    ],
)
async def test_aggregate_makes_one_value_of_all(run_node, function, expression, value):
    config = {"operation": "aggregate", "function": function, "expression": expression}
    assert await run_node("list", config, input=ORDERS) == value


@pytest.mark.parametrize(
    ("function", "value"), [("count", 0), ("sum", 0), ("avg", None), ("min", None), ("max", None), ("join", "")]
)
async def test_aggregate_of_nothing(run_node, function, value):
    assert await run_node("list", {"operation": "aggregate", "function": function}, input=[None]) == value


async def test_a_sum_of_fractions_is_rounded_once(run_node):
    config = {"operation": "aggregate", "function": "sum"}
    assert await run_node("list", config, input=[0.1] * 10) == 1.0


@pytest.mark.parametrize(
    ("given", "problem"), [([1, "2"], "Only numbers"), ([True], "Only numbers"), ([1.7e308] * 9, "too large")]
)
async def test_what_has_no_sum_is_refused(run_node, given, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("list", {"operation": "aggregate", "function": "sum"}, input=given)
    assert not caught.value.retryable


@pytest.mark.parametrize("given", [None, {"a": 1}, "text"])
async def test_what_is_no_list_is_refused(run_node, given):
    with pytest.raises(NodeError, match="not a list") as caught:
        await run_node("list", {}, input=given)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


async def test_a_fault_names_the_item(run_node):
    with pytest.raises(NodeError, match="Item 1: ") as caught:
        await run_node("list", {"expression": "item.total > 1"}, input=[{"total": 2}, {}])
    assert (caught.value.code, caught.value.retryable) == ("expression_error", False)


async def test_work_and_text_have_limits(run_node, monkeypatch):
    monkeypatch.setattr(list_, "MAX_SECONDS", -1.0)
    with pytest.raises(NodeError, match="1 of 3 items") as caught:
        await run_node("list", {}, input=[1, 2, 3])
    assert (caught.value.code, caught.value.retryable) == ("too_much_work", False)
    monkeypatch.undo()
    monkeypatch.setattr(list_, "MAX_TEXT", 10)
    config = {"operation": "aggregate", "function": "join"}
    assert await run_node("list", config, input=["abc", "def"]) == "abc, def"
    with pytest.raises(NodeError, match="10 characters") as caught:
        await run_node("list", config, input=["a"] * 5)
    assert (caught.value.code, caught.value.retryable) == ("too_large", False)


async def test_values_too_deep_to_compare_are_refused(run_node):
    deep = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(NodeError, match=r"compared|deep") as caught:
        await run_node("list", {"operation": "unique"}, input=[deep])
    assert not caught.value.retryable


@pytest.mark.parametrize("config", [{"operation": "shuffle"}, {"size": 0}, {"count": -1}, {"expression": ""}])
async def test_wrong_parameters_are_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("list", config, input=[])
