"""How much a run may grow. What goes beyond that fails the run, with the reason on the step that would have done it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Settle
from melagent.engine.attempt import Ended
from melagent.engine.values import MAX_RUN_BYTES

if TYPE_CHECKING:
    from melagent.engine.journal import Journal

MAX_STEPS = 100_000


def exceeded(journal: Journal, record: StepRecord) -> dict[str, Any] | None:
    """The error of a run that would be too large with this record; null when it fits."""
    if journal.size + len(record.output or b"") > MAX_RUN_BYTES:
        message = f"The values of the run would exceed {MAX_RUN_BYTES:,} bytes."
        return {"code": "run_too_large", "message": message, "node_id": record.node_id}
    if journal.steps > MAX_STEPS:
        message = f"The run has more than {MAX_STEPS:,} steps."
        return {"code": "too_many_steps", "message": message, "node_id": record.node_id}
    return None


def beyond_limit(record: StepRecord, error: dict[str, Any]) -> Ended:
    """The step fails, and its run with it."""
    finished = record.finished_at or record.started_at
    failed = replace(
        record, status=StepStatus.FAILED, handle=None, output=None, due_in=None, error=error, finished_at=finished
    )
    return Ended(failed, Settle(RunStatus.FAILED, error=error))
