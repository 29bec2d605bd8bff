"""Which JSON values are equal, which have an order, and their sum. Not a node type; the nodes about lists ask it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from melagent.sdk import Json, NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable


def identity(value: Json) -> bytes:
    """Equal for equal JSON, whatever the order of keys. Raises NodeError for what is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise _wrong(f"A value cannot be compared: {error}") from error


def check_comparable(values: Iterable[Json]) -> None:
    """Raises NodeError unless all are numbers, or all texts, or all true or false."""
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1 or "list or object" in kinds:
        raise _wrong(
            f"Only numbers compare with numbers, and text with text; the values are: {', '.join(sorted(kinds))}."
        )


def total(values: list[Json]) -> float:
    """Exact for whole numbers, and rounded once otherwise. Raises NodeError for what is no number."""
    if not all(_kind(value) == "number" for value in values):
        raise _wrong("Only numbers have a sum; the expression gives something else.")
    try:
        return math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)
    except OverflowError as error:
        raise _wrong("The sum is too large for a number.") from error


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list or object"


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
