"""Frees the work of dead workers and ends what has passed its deadline: every instance, at least every two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.domain.run import RunStatus
from melagent.domain.work import TIMED_OUT
from melagent.engine import metrics
from melagent.engine.lifecycle import rescue
from melagent.engine.lifecycle.cancel import cancel_orphans
from melagent.loop import Loop

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.engine.engine import Engine

INTERVAL_SECONDS = 1.8
"""With the jitter of a loop this stays below the two seconds that are promised."""

log = structlog.get_logger()


class Rescuer:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looked_up_to: UUID | None = None
        self.loop = Loop("rescuer", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """One pass; again at once when there was more than one batch of work."""
        freed, failed = await rescue.take_back_expired(self._engine.pool)
        overdue = await rescue.fail_overdue(self._engine.pool)
        if freed:
            log.info("rescued runs", count=len(freed), runs=[str(run_id) for run_id in freed])
            metrics.RUNS_RESCUED.inc(len(freed))
            self._engine.work_queued(None)
        self._engine.ended_from_outside(failed, RunStatus.FAILED, rescue.WORKER_LOST)
        self._engine.ended_from_outside(overdue, RunStatus.FAILED, TIMED_OUT)
        await self._cancel_orphans()
        full = max(len(freed) + len(failed), len(overdue)) >= rescue.BATCH
        return 0.0 if full else None

    async def _cancel_orphans(self) -> None:
        """Whoever ends a parent ends its children; this is for the case that he dies in between.

        A pass looks at some of the live runs, so that it stays short however many there are.
        """
        gone, self._looked_up_to = await cancel_orphans(self._engine.pool, self._looked_up_to)
        self._engine.ended_from_outside(gone, RunStatus.CANCELLED, None)
