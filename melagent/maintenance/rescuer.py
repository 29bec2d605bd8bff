"""Frees the work of dead workers and ends what has passed its deadline: every instance, at least every two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.domain.run import RunStatus
from melagent.domain.work import TIMED_OUT, RunEnd
from melagent.engine import metrics
from melagent.engine.lifecycle import rescue
from melagent.loop import Loop

if TYPE_CHECKING:
    from melagent.engine.engine import Engine

INTERVAL_SECONDS = 1.8
"""With the jitter of a loop this stays below the two seconds that are promised."""

log = structlog.get_logger()


class Rescuer:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.loop = Loop("rescuer", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """One pass; again at once when there was more than one batch of work."""
        freed, failed = await rescue.take_back_expired(self._engine.pool)
        overdue = await rescue.fail_overdue(self._engine.pool)
        if freed:
            log.info("rescued runs", count=len(freed), runs=[str(run_id) for run_id in freed])
            metrics.RUNS_RESCUED.inc(len(freed))
            self._engine.work_queued(None)
        for run_id in failed:
            self._engine.run_ended(RunEnd(run_id, RunStatus.FAILED, None, rescue.WORKER_LOST))
        for run_id in overdue:
            self._engine.run_ended(RunEnd(run_id, RunStatus.FAILED, None, TIMED_OUT))
        full = max(len(freed) + len(failed), len(overdue)) >= rescue.BATCH
        return 0.0 if full else None
