"""Wake: parked runs become due when their time has come, when a message comes, or when a place falls free.

A message and the run that waits for it may be written at the same moment, in transactions that do not see each other.
So whoever has written either of them calls `Waker.wake` after the commit, and a pass a second stands behind that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from melagent.engine.lifecycle.persist import persistently
from melagent.errors import MelError
from melagent.store import limits, parked
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

BATCH = 500
GIVE_UP_SECONDS = 5.0
RECENT_SECONDS = 60.0
NEWEST = 2_000
"""Messages are looked for among those of this time, and no more than these, but for a thorough look: a lost wake is
noticed within seconds, and a pass stays short however many messages lie unread."""

log = structlog.get_logger()


async def wake(pool: Pool, run_ids: Sequence[UUID]) -> list[UUID]:
    """Make those of the runs due whose time has come, or that have a message they wait for; their ids."""
    woken, with_runs = await persistently(pool, lambda conn: parked.unpark(conn, run_ids), seconds=GIVE_UP_SECONDS)
    await admit(pool, with_runs)
    return woken


async def wake_due(pool: Pool, *, thorough: bool) -> list[UUID]:
    """Make parked runs due whose time has come, or to which a message was sent; their ids."""

    async def operation(conn: Connection) -> list[UUID]:
        if thorough:
            return [*await parked.due(conn, BATCH), *await parked.all_mailed(conn, BATCH)]
        return [*await parked.due(conn, BATCH), *await parked.mailed(conn, BATCH, RECENT_SECONDS, NEWEST)]

    due = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    return await wake(pool, due) if due else []


async def admit_all(pool: Pool) -> list[str]:
    """Fill the free places of all workflows with a limit; what the admitted runs require."""
    return await admit(pool, await persistently(pool, limits.limited, seconds=GIVE_UP_SECONDS))


async def admit(pool: Pool, workflow_ids: Iterable[UUID]) -> list[str]:
    """Fill the free places among the runs of these workflows; what the admitted runs require."""
    admitted: list[str] = []
    for workflow_id in sorted(workflow_ids):

        async def operation(conn: Connection, workflow_id: UUID = workflow_id) -> list[str]:
            async with guarded(conn):
                return await limits.admit(conn, workflow_id, BATCH)

        admitted += await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    return admitted


async def next_wake_in(pool: Pool) -> float | None:
    """Seconds until the next parked run is due; null when none has a time."""
    return await persistently(pool, parked.next_wake_in, seconds=GIVE_UP_SECONDS)


class Waker:
    """Wakes runs without anybody waiting for it; what gathers meanwhile goes along with the next statement."""

    def __init__(self, pool: Pool, on_woken: Callable[[Sequence[UUID], Collection[str] | None], None]) -> None:
        self._pool = pool
        self._on_woken = on_woken
        self._runs: set[UUID] = set()
        self._with_place: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    def wake(self, run_ids: Iterable[UUID], with_place: Iterable[UUID] = ()) -> None:
        """Look whether these runs can go on, and whether these workflows have a place free for a limited run."""
        self._runs.update(run_ids)
        self._with_place.update(with_place)
        if (self._runs or self._with_place) and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work_off())

    async def drain(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work_off(self) -> None:
        while self._runs or self._with_place:
            run_ids, self._runs = sorted(self._runs), set()
            with_place, self._with_place = self._with_place, set()
            try:
                await self._pass(run_ids, with_place)
            except MelError as error:  # the poll finds them
                log.warning("runs not woken", count=len(run_ids), error=error.message)

    async def _pass(self, run_ids: Sequence[UUID], with_place: Collection[UUID]) -> None:
        admitted = await admit(self._pool, with_place)
        for start in range(0, len(run_ids), BATCH):
            if woken := await wake(self._pool, run_ids[start : start + BATCH]):
                self._on_woken(woken, None)
        if admitted:
            self._on_woken([], set(admitted))
