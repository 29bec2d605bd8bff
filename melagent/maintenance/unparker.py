"""Makes parked runs due whose time has come, or that have a message or a place they wait for, on every instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle import wake
from melagent.loop import Loop

if TYPE_CHECKING:
    from melagent.engine.engine import Engine

INTERVAL_SECONDS = 1.0
SHORTEST_SECONDS = 0.02
"""A due run whose row somebody else holds just now is passed over, and must not make us look without a pause."""

PASSES_BETWEEN_THOROUGH = 60


class Unparker:
    """Sleeps until the next known moment, at most a second: so a sleep ends on time and a new one is noticed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._passes = 0
        self.loop = Loop("unparker", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        thorough = self._passes % PASSES_BETWEEN_THOROUGH == 0
        woken = await wake.wake_due(self._engine.pool, thorough=thorough)
        admitted = await wake.admit_all(self._engine.pool)
        self._passes += 1
        if woken or admitted:
            self._engine.runs_changed(woken)
            self._engine.work_queued(None)
        if len(woken) >= wake.BATCH:
            return 0.0
        next_wake = await wake.next_wake_in(self._engine.pool)
        return None if next_wake is None else min(max(next_wake, SHORTEST_SECONDS), INTERVAL_SECONDS)
