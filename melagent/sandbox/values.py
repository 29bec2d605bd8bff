"""The two borders of an expression: JSON values go in as read-only views, and only JSON values come out.

MiniJinja calls methods of Python objects, so a plain list in the scope could be changed by `input.items.append(1)`, and
a missing field `input.items` would be found as a method of the dict. A view has no method and no field of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import orjson

from melagent.sandbox.lexer import ExpressionError

Json: TypeAlias = Any

MAX_VALUES = 250_000
"""How many values a result may be made of, counted where they stand (a list used twice counts twice)."""
MAX_CHARACTERS = 16 * 1024 * 1024
"""How many characters of text a result may hold."""
MAX_DEPTH = 200
MAX_INTEGER = 2**64 - 1
MIN_INTEGER = -(2**63)


class ListView:
    """A list that can only be read. It is a sequence to MiniJinja because it is registered as one below."""

    __slots__ = ("_data",)

    def __init__(self, data: Sequence[Json]) -> None:
        self._data = data

    def __getitem__(self, index: int) -> Json:
        return view(self._data[index])

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Json]:
        return map(view, self._data)

    def __eq__(self, other: object) -> bool:
        return bool(self._data == unwrap(other))

    __hash__ = None  # type: ignore[assignment]  # the idiom for an unhashable class

    def __str__(self) -> str:
        return text(self._data)


Sequence.register(ListView)


class ObjectView:
    """An object that can only be read."""

    __slots__ = ("_data", "_missed_items")

    def __init__(self, data: Mapping[str, Json]) -> None:
        self._data = data
        self._missed_items = False

    def __getitem__(self, key: str) -> Json:
        try:
            return view(self._data[key])
        except KeyError:
            self._missed_items = key == "items"
            raise

    @property
    def items(self) -> None:
        """Makes MiniJinja take this for a mapping. When it comes here for a missing field `items`, there is none."""
        if self._missed_items:
            self._missed_items = False
            raise AttributeError("items")

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __eq__(self, other: object) -> bool:
        return bool(self._data == unwrap(other))

    __hash__ = None  # type: ignore[assignment]  # the idiom for an unhashable class

    def __str__(self) -> str:
        return text(self._data)


_VIEWS = (ObjectView, ListView)
_SEEN_AS_THEY_ARE = (str, int, float, *_VIEWS)


def view(value: Json) -> Json:
    """The value as an expression may see it: containers as views, scalars as they are."""
    kind = type(value)
    if kind is dict:
        return ObjectView(value)
    if kind is list:
        return ListView(value)
    if value is None or isinstance(value, _SEEN_AS_THEY_ARE):
        return value
    if isinstance(value, Mapping):
        return ObjectView(value)
    if isinstance(value, Sequence):
        return ListView(value)
    raise ExpressionError(f"a {kind.__name__} is no JSON value")


def unwrap(value: object) -> object:
    """What a view shows; anything else as it is."""
    return value._data if isinstance(value, _VIEWS) else value  # noqa: SLF001 - the views' own module


def plain(value: Json) -> Json:
    """The JSON value of a result, sharing nothing with the scope. Raises ExpressionError when there is none."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int or kind is float:
        return _number(value)
    if isinstance(value, _VIEWS):
        value = unwrap(value)
        if type(value) in (dict, list):
            return _duplicate(value)
    return _Copy().of(value, 0)


def _duplicate(value: Json) -> Json:
    """A copy of a value of the scope, of any size, the quick way where orjson takes it."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        return _Copy().of(value, 0)


class _Copy:
    """Copies a result into plain JSON, within the limits."""

    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.characters = MAX_CHARACTERS

    def of(self, value: Json, depth: int) -> Json:
        self.values -= 1
        if self.values < 0 or self.characters < 0:
            raise ExpressionError("the result is too large")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            self.characters -= len(value)
            return str.__str__(value)
        if isinstance(value, int | float):
            return _number(value)
        return self._container(unwrap(value), depth + 1)

    def _container(self, value: object, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the result is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return {self._key(key): self.of(item, depth) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.of(item, depth) for item in value]
        raise ExpressionError(f"the result is a {type(value).__name__}, not a JSON value")

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise ExpressionError("the keys of an object must be text")
        self.characters -= len(key)
        return str.__str__(key)


def _number(value: float) -> float:
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise ExpressionError("the result is a whole number of more than 64 bits")
    elif not math.isfinite(value):
        raise ExpressionError("the result is not a finite number")
    return value


def text(value: Json) -> str:
    """A value as it stands in a text: text itself, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def json_text(value: Json, *, indent: bool = False) -> str:
    """The JSON of a value. Raises ExpressionError when there is none, or when it is too large."""
    try:
        return orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError as error:  # a lone surrogate, or nested deeper than orjson goes
        raise ExpressionError(f"the value cannot be written as JSON: {error}") from error


def null_places(value: Json, limit: int) -> list[str]:
    """Where nulls stand in lists and objects that the expression made itself, as subscripts like `[2]["name"]`."""
    return list(islice(_nulls(value, ""), limit))


def _nulls(value: Json, place: str) -> Iterator[str]:
    if value is None:
        yield place
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nulls(item, f"{place}[{orjson.dumps(key).decode()}]" if isinstance(key, str) else place)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _nulls(item, f"{place}[{index}]")
