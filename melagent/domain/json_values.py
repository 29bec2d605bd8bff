"""Which JSON values a draft may hold."""

from __future__ import annotations

from math import isfinite
from typing import Any

MAX_DEPTH = 100
"""Objects and lists within one another. All parsers take so many."""

INTEGERS = range(-(2**63), 2**64)
"""What is written as an integer and read back as the same one."""


def fault_of(value: Any, depth: int = MAX_DEPTH) -> str | None:
    """Why a value cannot be kept, as a sentence; null when it can. `depth` is how deep it may still go."""
    kind = type(value)
    if kind is str:
        return _fault_of_text(value)
    if kind is dict or kind is list:
        return _fault_inside(value, depth)
    if kind is float:
        return None if isfinite(value) else "A number has to be finite."
    if kind is int:
        return None if value in INTEGERS else "An integer has at most 64 bits."
    return None if value is None or kind is bool else f"{kind.__name__} is no JSON value."


def _fault_inside(value: Any, depth: int) -> str | None:
    if depth <= 0:
        return f"Objects and lists may lie at most {MAX_DEPTH} deep within one another."
    if type(value) is dict:
        for key in value:
            if (fault := fault_of_key(key)) is not None:
                return fault
        value = value.values()
    for part in value:
        if (fault := fault_of(part, depth - 1)) is not None:
            return fault
    return None


def fault_of_key(key: Any) -> str | None:
    """Why an object cannot have a key. `__proto__` is none, as it is not one like others to JavaScript."""
    if type(key) is not str:
        return "Keys are text."
    return "No key is called __proto__." if key == "__proto__" else _fault_of_text(key)


def _fault_of_text(text: str) -> str | None:
    if "\x00" in text:
        return "Text cannot hold the character \\u0000."
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "Text cannot hold half of a surrogate pair."
    return None
