"""Variables that workflows share, and the commands that change them.

A command says what to do rather than what to write, so that two runs at once never lose a change: each is executed on
the value as it then is, under the lock of its row (see `store.variables`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

GLOBAL = "global"
"""The scope of all workflows. Every other scope in the database is the id of a workflow."""

RUN = "run"
"""The scope of one run, whose variables are in its journal."""

SCOPE_PATTERN = r"^(global|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"
KEY_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,199}$"
MAX_VALUE_BYTES = 256 * 1024
MAX_IN_SCOPE = 10_000
SMALLEST_NUMBER, LARGEST_NUMBER = -(2**63), 2**64 - 1
"""Whole numbers that JSON text is written with here."""

ABSENT = b"null"
"""What a variable that is not there is compared as."""


class VariableOperation(StrEnum):
    SET = "set"
    INCREMENT = "increment"
    COMPARE_AND_SET = "compare_and_set"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class VariableCommand:
    """One change. `value` and `expected` are JSON text.

    `set` uses `value`, `increment` uses `amount`, `compare_and_set` uses `value` and `expected`. To increment starts
    from 0 where there is no variable; to delete one that is not there is no mistake.
    """

    scope: str
    key: str
    operation: VariableOperation
    value: bytes = ABSENT
    expected: bytes = ABSENT
    amount: float = 1


class Refusal(StrEnum):
    """Why a command changed nothing."""

    BAD_NAME = "bad_name"
    BAD_VALUE = "bad_value"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    NOT_EQUAL = "not_equal"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"

    @property
    def reason(self) -> str:
        return REASONS[self]


REASONS = {
    Refusal.BAD_NAME: "A key has 1 to 200 letters, digits and _ . : @ -, and begins with a letter, a digit or _; "
    "a scope is `global` or the id of a workflow.",
    Refusal.BAD_VALUE: "The value is not JSON.",
    Refusal.TOO_LARGE: f"A variable may have at most {MAX_VALUE_BYTES:,} bytes of JSON.",
    Refusal.TOO_MANY: f"A scope may have at most {MAX_IN_SCOPE:,} variables.",
    Refusal.NOT_EQUAL: "The variable is not what was expected.",
    Refusal.NOT_A_NUMBER: "The variable is not a number.",
    Refusal.OUT_OF_RANGE: "The result is not a number that JSON can hold.",
}


@dataclass(frozen=True, slots=True)
class VariableResult:
    """The variable after a command: `value` null and `revision` 0 when there is none. Refused: what it still is."""

    value: bytes | None
    revision: int
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        return self.refusal is None


NO_VARIABLE = VariableResult(None, 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which variables are asked for: with these keys, or any when it is null, that begin with `prefix`.

    Without a `scope` they are as the run sees them; with one only those of `run`, `workflow` or `global`.
    """

    keys: frozenset[str] | None = None
    prefix: str = ""
    scope: str | None = None

    def includes(self, key: str) -> bool:
        return (self.keys is None or key in self.keys) and key.startswith(self.prefix)


def well_named(command: VariableCommand) -> bool:
    return bool(re.fullmatch(SCOPE_PATTERN, command.scope)) and is_key(command.key)


def is_key(text: str) -> bool:
    return bool(re.fullmatch(KEY_PATTERN, text))


def execute(command: VariableCommand, present: VariableResult) -> VariableResult:
    """What a command makes of the variable as it is."""
    after = _value_after(command, present.value)
    if isinstance(after, Refusal):
        return VariableResult(present.value, present.revision, after)
    return NO_VARIABLE if after is None else VariableResult(after, present.revision + 1)


def _value_after(command: VariableCommand, present: bytes | None) -> bytes | Refusal | None:
    try:
        match command.operation:
            case VariableOperation.DELETE:
                return None
            case VariableOperation.INCREMENT:
                return _sum(orjson.loads(present) if present is not None else 0, command.amount)
            case VariableOperation.COMPARE_AND_SET:
                if not same(orjson.loads(present or ABSENT), orjson.loads(command.expected)):
                    return Refusal.NOT_EQUAL
        if len(command.value) > MAX_VALUE_BYTES:
            return Refusal.TOO_LARGE
        orjson.loads(command.value)  # others will read it
    except orjson.JSONDecodeError:
        return Refusal.BAD_VALUE
    return command.value


def _sum(number: Any, amount: float) -> bytes | Refusal:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return Refusal.NOT_A_NUMBER
    try:
        total: Any = number + amount
    except OverflowError:  # a fraction and a whole number that is too large to be one
        return Refusal.OUT_OF_RANGE
    return orjson.dumps(total) if in_range(total) else Refusal.OUT_OF_RANGE


def in_range(number: int | float) -> bool:
    """Whether JSON can carry a number to every reader: a finite fraction, or a whole number of at most 64 bits."""
    return math.isfinite(number) if isinstance(number, float) else SMALLEST_NUMBER <= number <= LARGEST_NUMBER


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, 1 and true are not, and the order of keys is no matter."""
    pairs = [(one, other)]
    while pairs:  # not by recursion: values may be nested deeper than Python's stack
        left, right = pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs += [(left[key], right[key]) for key in left]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif left != right or isinstance(left, bool) != isinstance(right, bool):
            return False
    return True
