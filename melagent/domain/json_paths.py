"""Places inside a JSON value: a key of an object is text, an index of a list a number.

Nothing is changed in place. What is put somewhere gives a new value that shares all it can with the old one, so whoever
holds the old one, an inverse or a frame that is being written, keeps what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

Step: TypeAlias = "str | int"
Path: TypeAlias = Sequence[Step]

MISSING: Final = object()
"""What `get` answers where there is nothing."""


class PathError(ValueError):
    """A path leads through something that has no such parts. `at` is the number of the step at fault."""

    def __init__(self, at: int, problem: str) -> None:
        self.at = at
        super().__init__(problem)


def get(value: Any, path: Path) -> Any:
    """What stands at a path, or MISSING."""
    for step in path:
        if type(value) is dict and type(step) is str:
            if step not in value:
                return MISSING
        elif type(value) is not list or type(step) is not int or not 0 <= step < len(value):
            return MISSING
        value = value[step]
    return value


def put(value: Any, path: Path, new: Any, at: int = 0) -> Any:
    """The value with `new` at a path. Keys that are missing are made; the index behind the last appends.

    Raises PathError.
    """
    if at == len(path):
        return new
    step = path[at]
    if type(step) is str and type(value) is dict:
        return {**value, step: put(value.get(step, {}), path, new, at + 1)}
    if type(step) is int and type(value) is list:
        if not 0 <= step <= len(value):
            raise PathError(at, f"The list has {len(value):,} elements; there is no place {step:,} in it.")
        changed = list(value)
        changed[step : step + 1] = [put(value[step] if step < len(value) else {}, path, new, at + 1)]
        return changed
    raise _no_way(value, step, at)


def drop(value: Any, path: Path, at: int = 0) -> Any:
    """The value without what stands at a path; the same value when nothing does. Raises PathError."""
    step = path[at]
    if type(step) is str and type(value) is dict:
        if step not in value:
            return value
        if at + 1 == len(path):
            return {key: inner for key, inner in value.items() if key != step}
        return {**value, step: drop(value[step], path, at + 1)}
    if type(step) is int and type(value) is list:
        if not 0 <= step < len(value):
            return value
        changed = list(value)
        changed[step : step + 1] = [] if at + 1 == len(path) else [drop(value[step], path, at + 1)]
        return changed
    raise _no_way(value, step, at)


def made_by(value: Any, path: Path) -> int:
    """How many steps of a path lead to the first thing that `put` would make there; all of them if it makes none."""
    for length, step in enumerate(path, 1):
        inner = get(value, (step,))
        if inner is MISSING:
            return length
        value = inner
    return len(path)


def _no_way(value: Any, step: Step, at: int) -> PathError:
    kinds = {"dict": "an object", "list": "a list", "str": "a text"}
    return PathError(at, f"{step!r:.100} leads into what is {kinds.get(type(value).__name__, 'no object or list')}.")
