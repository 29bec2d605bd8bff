"""Filters, maps, sorts, cuts, groups and sums up a list."""

from __future__ import annotations

import time
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Literal

from melagent.nodes.ordering import check_comparable, identity, total
from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.config import JsonDict

MAX_SECONDS = 60.0
"""Processor time that the expression may take for all items together."""
MAX_TEXT = 16 * 1024 * 1024
"""How many characters come out, or are kept on the way; a value of a run cannot be larger."""

Function = Literal["count", "sum", "avg", "min", "max", "join"]

_PER_ITEM: JsonDict = {"x-visible-if": "operation != 'limit' && operation != 'flatten' && operation != 'split'"}
_LIMIT: JsonDict = {"x-visible-if": "operation == 'limit'"}
_AGGREGATE: JsonDict = {"x-visible-if": "operation == 'aggregate'"}


class ListParams(Params):
    operation: Literal["filter", "map", "sort", "limit", "unique", "group", "flatten", "split", "aggregate"] = Field(
        default="filter",
        description=(
            "filter keeps items for which the expression is true; map gives its values; sort orders by it; unique "
            "keeps the first item of each value; group gives a list of {key, items}; aggregate makes one value of "
            "all; limit keeps some items; flatten opens lists within the list; split makes batches"
        ),
    )
    items: Annotated[str, Expression] = Field(default="input", min_length=1, description="The list")
    expression: Annotated[str, Expression] = Field(
        default="item",
        min_length=1,
        description="Evaluated for each item, which it sees as `item`, its place from 0 as `index`",
        json_schema_extra=_PER_ITEM,
    )
    order: Literal["asc", "desc"] = Field(
        default="asc",
        description="Equal items keep their order, null comes last, text is ordered by its characters' codes",
        json_schema_extra={"x-visible-if": "operation == 'sort'"},
    )
    count: int = Field(default=10, ge=0, description="How many items to keep", json_schema_extra=_LIMIT)
    offset: int = Field(default=0, ge=0, description="How many items to pass over", json_schema_extra=_LIMIT)
    keep: Literal["first", "last"] = Field(
        default="first", description="From which end to count", json_schema_extra=_LIMIT
    )
    depth: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="How many levels of lists to open",
        json_schema_extra={"x-visible-if": "operation == 'flatten'"},
    )
    size: int = Field(
        default=100,
        ge=1,
        description="Items of a batch; the last one may have fewer",
        json_schema_extra={"x-visible-if": "operation == 'split'"},
    )
    function: Function = Field(
        default="count",
        description="Null values are passed over; of no values the sum is 0, and avg, min and max are null",
        json_schema_extra=_AGGREGATE,
    )
    separator: str = Field(
        default=", ",
        max_length=100,
        description="Between texts that are joined",
        json_schema_extra={"x-visible-if": "operation == 'aggregate' && function == 'join'"},
    )


class List(Node[ListParams]):
    id = "list"
    name = "List"
    description = "Filters, maps, sorts, limits, groups, flattens, splits or sums up a list"
    category = "Data"
    icon = "list"
    in_thread = True

    async def run(self, params: ListParams, ctx: NodeContext) -> Result:
        items = ctx.evaluate(params.items)
        if not isinstance(items, list):
            raise _wrong("`items` is not a list.")
        match params.operation:
            case "limit":
                return _limited(items, params)
            case "flatten":
                return _flattened(items, params.depth)
            case "split":
                return [items[start : start + params.size] for start in range(0, len(items), params.size)]
        return _by_value(items, _values(items, params.expression, ctx), params)


def _values(items: list[Json], expression: str, ctx: NodeContext) -> Iterator[Json]:
    """The value of the expression for each item. Raises NodeError that names the item."""
    end = time.thread_time() + MAX_SECONDS
    for index, item in enumerate(items):
        try:
            yield ctx.evaluate(expression, {"item": item, "index": index})
        except NodeError as error:
            message = f"Item {index}: {error.message}"
            raise NodeError(message, code=error.code, retryable=error.retryable, details=error.details) from error
        if time.thread_time() > end:
            message = f"The expression took more than {MAX_SECONDS:g} s for {index + 1:,} of {len(items):,} items."
            raise NodeError(message, code="too_much_work", retryable=False)


def _by_value(items: list[Json], values: Iterator[Json], params: ListParams) -> Json:
    if params.operation == "filter":
        return [item for item, value in zip(items, values, strict=True) if value]
    kept = _kept(values)
    match params.operation:
        case "map":
            return list(kept)
        case "sort":
            return _sorted(items, kept, descending=params.order == "desc")
        case "unique":
            first: dict[bytes, Json] = {}
            for item, value in zip(items, kept, strict=True):
                first.setdefault(identity(value), item)
            return list(first.values())
        case "group":
            return _grouped(items, kept)
    return _aggregated([value for value in kept if value is not None], params)


def _kept(values: Iterator[Json]) -> Iterator[Json]:
    """The same values. Raises NodeError when they are more than a value may hold: items can give large ones each."""
    left = MAX_TEXT
    for value in values:
        if isinstance(value, str | list | dict):
            left -= len(value if isinstance(value, str) else identity(value))
            if left < 0:
                raise _too_large("The values of the expression have")
        yield value


def _limited(items: list[Json], params: ListParams) -> list[Json]:
    if params.keep == "first":
        return items[params.offset : params.offset + params.count]
    end = max(0, len(items) - params.offset)
    return items[max(0, end - params.count) : end]


def _flattened(items: list[Json], depth: int) -> list[Json]:
    """Each item is touched once, however deep the lists are."""
    flat: list[Json] = []
    opened = [iter(items)]
    while opened:
        for item in opened[-1]:
            if isinstance(item, list) and len(opened) <= depth:
                opened.append(iter(item))
                break
            flat.append(item)
        else:
            opened.pop()
    return flat


def _sorted(items: list[Json], values: Iterable[Json], *, descending: bool) -> list[Json]:
    pairs = list(zip(values, items, strict=True))
    known = [pair for pair in pairs if pair[0] is not None]
    check_comparable(value for value, _ in known)
    known.sort(key=itemgetter(0), reverse=descending)
    return [item for _, item in known] + [item for value, item in pairs if value is None]


def _grouped(items: list[Json], values: Iterable[Json]) -> list[Json]:
    groups: dict[bytes, dict[str, Json]] = {}
    for item, value in zip(items, values, strict=True):
        groups.setdefault(identity(value), {"key": value, "items": []})["items"].append(item)
    return list(groups.values())


def _aggregated(values: list[Json], params: ListParams) -> Json:
    match params.function:
        case "count":
            return len(values)
        case "sum":
            return total(values)
        case "avg":
            return total(values) / len(values) if values else None
        case "join":
            return _joined(values, params.separator)
    check_comparable(values)
    return min(values, default=None) if params.function == "min" else max(values, default=None)


def _joined(values: list[Json], separator: str) -> str:
    texts = [value if isinstance(value, str) else identity(value).decode() for value in values]
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_TEXT:
        raise _too_large("The text would have")
    return separator.join(texts)


def _too_large(what: str) -> NodeError:
    return NodeError(f"{what} more than {MAX_TEXT:,} characters.", code="too_large", retryable=False)


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
