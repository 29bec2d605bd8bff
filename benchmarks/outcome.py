"""What a benchmark comes to: rows of a table, goals, and the details behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure: the length of one measurement, the numbers of connections, the length of the long queue.

    `parked` sleepers, and as many that wait, lie beside what is measured; `children` are how many runs one run starts.
    `runs` of each worker while its memory is watched; `minute` is the length of one of the soak, in seconds.
    `sockets` are those of live editing, `many` those on one instance, `parts` what is measured of it, or all, in so
    many `rounds`.
    """

    seconds: float | None
    connections: tuple[int, ...]
    queued: int
    runs: int = 100_000
    minute: float = 60.0
    parked: int = 100_000
    children: int = 1_000
    sockets: tuple[int, ...] = (100, 1_000)
    many: int = 10_000
    parts: tuple[str, ...] = ()
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that should be at least, or at most, so much."""

    name: str
    measured: float
    bound: Literal["at least", "at most"]
    limit: float

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.bound == "at least" else self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rows` make a table, each with the same columns; `details` are only for the file."""

    rows: list[dict[str, Any]]
    goals: list[Goal]
    postgres: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
