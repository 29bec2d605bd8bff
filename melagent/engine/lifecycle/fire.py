"""Fire: runs start at the planned moments of triggers, and the next moments are stored, in one transaction.

The row of a trigger is locked by whoever fires it, and by the database's clock alone it is due. So a planned moment has
fired, with its run, or it has not; which process does it, and what its clock says, plays no role.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from melagent.engine import metrics
from melagent.engine.lifecycle.persist import persistently, with_partitions
from melagent.store import schedules, work
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.work import NewRun
    from melagent.store.pool import Connection, Pool
    from melagent.store.schedules import Held, Position

GIVE_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Due:
    """How many triggers are fired at once at most; those that have missed a moment are counted by themselves."""

    limit: int
    limit_missed: int


@dataclass(frozen=True, slots=True)
class Salvo:
    """Runs that stand for planned moments (their trigger says which), and where that leaves the triggers."""

    runs: list[NewRun] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)


Prepare: TypeAlias = "Callable[[Sequence[Held], datetime], Salvo]"
"""What to do about locked triggers that are due at a time. One that gets no position stays due."""


async def fire(pool: Pool, without: Collection[UUID], due: Due, prepare: Prepare) -> list[NewRun]:
    """Fire due triggers that nobody else is firing; the runs that were started, durable when this returns.

    May be repeated when its outcome is unknown: what has fired is no longer due. A moment that has fired before, under
    another schedule of its trigger, starts nothing. Raises Unavailable.
    """
    ids: list[UUID] = []

    async def write(conn: Connection) -> list[NewRun]:
        async with guarded(conn):
            now, held = await schedules.claim(conn, without, due.limit, due.limit_missed)
            if now is None:
                return []
            salvo = prepare(held, now)
            ids[:] = [run.id for run in salvo.runs]
            runs = await _not_fired(conn, salvo.runs)
            if runs:
                await work.start(conn, runs, [None] * len(runs), lease_seconds=0.0)
            await schedules.move(conn, salvo.positions)
            return runs

    with metrics.FIRE_SECONDS.time():
        return await persistently(
            pool, lambda conn: with_partitions(conn, ids, lambda: write(conn)), seconds=GIVE_UP_SECONDS
        )


async def _not_fired(conn: Connection, runs: Sequence[NewRun]) -> list[NewRun]:
    firings = [
        (run.trigger.id, run.trigger.scheduled_for, run.id)
        for run in runs
        if run.trigger.id is not None and run.trigger.scheduled_for is not None
    ]
    fresh = await schedules.keep_firings(conn, firings) if firings else set()
    return [run for run in runs if run.id in fresh]
