"""What happened in a simulation, line by line, and the promises that were broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop


class Violation(AssertionError):
    """A promise was broken."""


class Trace:
    """`lines` tell a failed simulation's story. A broken promise ends it: nodes' errors would be caught."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self._loop = loop

    def tell(self, *what: Any) -> None:
        self.lines.append((round(self._loop.time(), 3), *what))

    def require(self, kept: bool, promise: str, *details: Any) -> None:
        if not kept:
            self.tell("VIOLATION", promise, *details)
            self._loop.faults.append(Violation(f"{promise}: {', '.join(map(str, details))}"))
