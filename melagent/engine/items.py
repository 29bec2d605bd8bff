"""What the journal says about loops and their items: results, items that child runs run, and how those ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from melagent.domain.loops import DONE_HANDLE, LOOP_TYPE
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.engine.values import MAX_VALUE_BYTES
from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from melagent.domain.work import Message, NewRun
    from melagent.engine.course import Loop
    from melagent.engine.planner import Place, Plan


def results_of(loop: Loop, now: datetime) -> StepRecord:
    """The record of a loop that is over. NodeError when its results are too large together."""
    output = loop.output()
    if len(output) > MAX_VALUE_BYTES:
        message = f"The results have {len(output):,} bytes; a value may have {MAX_VALUE_BYTES:,}."
        raise NodeError(message, code="value_too_large", retryable=False)
    began, attempt = loop.record.started_at, loop.record.attempt
    return StepRecord(
        loop.place.key, loop.place.node_id, LOOP_TYPE, StepStatus.COMPLETED, attempt, began, max(now, began),
        handle=DONE_HANDLE, output=output,
    )  # fmt: skip  # in the order of the fields


def waiting_for(run: NewRun, loop: Loop, index: int, now: datetime) -> StepRecord:
    """The step that stands for an item of a distributed loop: it waits for the end of the run that runs the item."""
    output = orjson.dumps({"run_id": str(run.id)})
    key, node_id = loop.key_of(index), loop.place.node_id
    return StepRecord(key, node_id, LOOP_TYPE, StepStatus.WAITING, 1, now, output=output)


def ended_by(message: Message, record: StepRecord, now: datetime) -> StepRecord:
    """The record of such a step once its run has ended."""
    completed = message.status is RunStatus.COMPLETED
    cancelled = {"code": "cancelled", "message": "The run was cancelled."}
    return replace(
        record,
        status=StepStatus.COMPLETED if completed else StepStatus.FAILED,
        output=message.value if completed else None,
        error=None if completed else message.error or cancelled,
        finished_at=max(now, record.started_at),
    )


def loop_and_index(key: str) -> tuple[str, int]:
    """The key of the loop, and the number of the item, that such a step is about."""
    loop_key, _, index = key.rpartition("[")
    return loop_key, int(index[:-1])


def belongs_to(loop: Loop, plans: Collection[Plan], place: Place | None, record: StepRecord) -> bool:
    """Whether an open step is about an item of this loop, or lies in one of its plans."""
    return place.plan in plans if place is not None else record.node_id == loop.place.node_id
