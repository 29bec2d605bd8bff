"""A run's progress as a sequence of events that can be taken up again anywhere, after any event.

The position of an event is the place in the journal that has been told completely when it arrives: whoever saw it asks
for what comes after. The logs of a step come before the step and so carry the position before it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from melagent.domain.run import StepStatus
from melagent.services import runs as run_service
from melagent.services.workflows import found
from melagent.store import runs, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from melagent.domain.run import RunStatus
    from melagent.engine.engine import Engine
    from melagent.engine.live import LiveLine
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
    """`position` is the last step told completely; `data` is a run, a step without its values, a log line or a piece of
    the text that a step shows.
    """

    kind: Literal["run", "step", "log", "token", "end"]
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
                yield _told(line, after)
            for step in recorded:
                record = step.record
                for number in live.untold(record.step_key, record.attempt, len(record.logs)):
                    yield Event("log", after, {"step_key": record.step_key, **record.logs[number]})
                if record.status is not StepStatus.RUNNING:
                    live.recorded(record.step_key, record.attempt)
                after = step.record.seq
                yield Event("step", after, {name: getattr(step.record, name) for name in STEP_FIELDS})
            if recorded:
                continue
            if run.run.status.final:
                yield Event("end", after, await run_service.get(pool, run_id))
                return
            yield None
            while not await _may_have_changed(changed, live.stirred):
                for line in live.take():
                    yield _told(line, after)


async def _read(pool: Pool, run_id: UUID, after: int) -> tuple[StoredRun, list[StoredStep]]:
    """The run first: when it is final, no step can come that the second statement does not see."""
    async with pool.acquire() as conn:
        run = found(await runs.find(conn, run_id), "run")
        return run, await steps.page(conn, run_id, after, STEPS_AT_ONCE)


def _told(line: LiveLine, position: int) -> Event:
    if line.kind == "log":
        return Event("log", position, {"step_key": line.step_key, **line.line})
    piece = {"step_key": line.step_key, "attempt": line.attempt, "offset": line.number, "text": line.line["text"]}
    return Event("token", position, piece)


async def _may_have_changed(changed: asyncio.Event, stirred: asyncio.Event) -> bool:
    """Wait for a hint, or for a second. False when nothing but lines have come: they are told without a look."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (changed, stirred)]
    try:
        await asyncio.wait(waiting, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return changed.is_set() or not stirred.is_set()
