"""Fires schedules and timers, on every instance: a row lock decides who does, the clock of the database when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.loop import Loop
from melagent.services.firings import Firings

if TYPE_CHECKING:
    from melagent.engine.engine import Engine
    from melagent.registry import Registry

INTERVAL_SECONDS = 1.0
SHORTEST_SECONDS = 0.02
"""A due trigger whose row somebody else holds just now is passed over, and must not make us look without a pause."""


class Scheduler:
    """Sleeps until the next trigger is due, at most a second; woken when triggers change, here or elsewhere."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._firings = Firings(engine, registry)
        self.loop = Loop("scheduler", self.one_pass, interval_seconds=INTERVAL_SECONDS)
        engine.on_triggers_changed(self.loop.wake)

    async def one_pass(self) -> float | None:
        due_in = await self._firings.fire_due(INTERVAL_SECONDS)
        return None if due_in is None else max(due_in, SHORTEST_SECONDS)
