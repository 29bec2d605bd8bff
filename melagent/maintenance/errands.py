"""What is left to do for runs that have ended, on every instance: workflows for failures, and messages nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle import failures
from melagent.loop import Loop
from melagent.services.failures import see_to, watchers

if TYPE_CHECKING:
    from melagent.engine.engine import Engine
    from melagent.registry import Registry

INTERVAL_SECONDS = 2.0
PASSES_BETWEEN_SWEEPS = 300


class Errands:
    """Woken when a run has failed here; the interval is for failures whose instance died right after."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._passes = 0
        self.loop = Loop("errands", self.one_pass, interval_seconds=INTERVAL_SECONDS)
        engine.on_failure(self.loop.wake)

    async def one_pass(self) -> float | None:
        found = await failures.failures(self._engine.pool)
        watching = await watchers(self._engine.pool) if found else []
        for failure in found:
            await see_to(self._engine, self._registry, failure, watching)
            await failures.handled(self._engine.pool, failure.run_id)
        if self._passes % PASSES_BETWEEN_SWEEPS == 0:
            await failures.forget_stale_messages(self._engine.pool)
        self._passes += 1
        return 0.0 if len(found) >= failures.BATCH else None
