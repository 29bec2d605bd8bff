"""Makes sleeping runs due when their time has come, on every instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle import unpark
from melagent.loop import Loop

if TYPE_CHECKING:
    from melagent.engine.engine import Engine

INTERVAL_SECONDS = 1.0
SHORTEST_SECONDS = 0.02
"""A due run whose row somebody else holds just now is passed over, and must not make us look without a pause."""


class Unparker:
    """Sleeps until the next known moment, at most a second: so a sleep ends on time and a new one is noticed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.loop = Loop("unparker", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        woken = await unpark.unpark_due(self._engine.pool)
        if woken:
            self._engine.runs_changed(woken)
            self._engine.work_queued(None)
        if len(woken) >= unpark.BATCH:
            return 0.0
        next_wake = await unpark.next_wake_in(self._engine.pool)
        return None if next_wake is None else min(max(next_wake, SHORTEST_SECONDS), INTERVAL_SECONDS)
