"""Lengths of time, as several nodes take them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

MAX_LENGTH = 100
MAX_TIMEOUT_SECONDS = 10 * 366 * 86_400
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")


def read_seconds(text: str) -> float:
    """Seconds of a text like `90s`, `5m`, `1h30m`. Raises ValueError."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a duration has at most {MAX_LENGTH} characters")
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ValueError(f"{text!r} is no duration; write a number, or text like 90s, 5m, 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def is_number(text: str) -> bool:
    return text.isascii() and text.strip().isdigit()


def _timeout(value: object) -> object:
    return read_seconds(value) if isinstance(value, str) and not is_number(value) else value


Timeout = Annotated[
    float,
    BeforeValidator(_timeout),
    Field(gt=0, le=MAX_TIMEOUT_SECONDS),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
"""How long to wait, in seconds; written as a number of seconds, or as text like `90s`, `5m`, `1h30m`."""
