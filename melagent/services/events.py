"""A run's progress as a sequence of events that can be taken up again anywhere, after any event.

The position of an event is the place in the journal that has been told completely when it arrives: whoever saw it asks
for what comes after. The logs of a step come before the step and so carry the position before it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from melagent.services import runs as run_service
from melagent.services.workflows import found
from melagent.store import runs, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from melagent.domain.run import RunStatus
    from melagent.engine.engine import Engine
    from melagent.store.pool import Pool
    from melagent.store.rows import StoredRun, StoredStep

POLL_SECONDS = 1.0
STEPS_AT_ONCE = 100
STEP_FIELDS = (
    "step_key",
    "node_id",
    "node_type",
    "status",
    "attempt",
    "handle",
    "started_at",
    "finished_at",
    "error",
    "seq",
)


@dataclass(frozen=True, slots=True)
class Event:
    """`position` is the last step told completely; `data` is a run, a step without its values, or a log line."""

    kind: Literal["run", "step", "log", "end"]
    position: int
    data: Any


async def follow(pool: Pool, engine: Engine, run_id: UUID, after: int) -> AsyncGenerator[Event | None, None]:
    """The events of a run after a position, until `end`; null after each look that found nothing new.

    The engine's hint brings an event within milliseconds; the poll behind it brings it within a second.
    """
    told: RunStatus | None = None
    with engine.changes(run_id) as changed, engine.live.watch(run_id) as live:
        while True:
            changed.clear()
            run, recorded = await _read(pool, run_id, after)
            if run.run.status is not told and not run.run.status.final:
                told = run.run.status
                yield Event("run", after, run.run)
            for line in live.take():
                yield Event("log", after, {"step_key": line.step_key, **line.line})
            for step in recorded:
                record = step.record
                for number in live.untold(record.step_key, record.attempt, len(record.logs)):
                    yield Event("log", after, {"step_key": record.step_key, **record.logs[number]})
                after = step.record.seq
                yield Event("step", after, {name: getattr(step.record, name) for name in STEP_FIELDS})
            if recorded:
                continue
            if run.run.status.final:
                yield Event("end", after, await run_service.get(pool, run_id))
                return
            yield None
            await _within(changed, POLL_SECONDS)


async def _read(pool: Pool, run_id: UUID, after: int) -> tuple[StoredRun, list[StoredStep]]:
    """The run first: when it is final, no step can come that the second statement does not see."""
    async with pool.acquire() as conn:
        run = found(await runs.find(conn, run_id), "run")
        return run, await steps.page(conn, run_id, after, STEPS_AT_ONCE)


async def _within(changed: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), seconds)
