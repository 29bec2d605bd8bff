"""Cancel: a run ends in whatever state it is, without the help of the worker that may hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.domain.run import RunStatus
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Conflict, NotFound
from melagent.store import work
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 10.0


async def cancel(pool: Pool, run_id: UUID) -> None:
    """Write the final state and end the lease in one transaction. NotFound; Conflict when the run has ended.

    A run that this call cancelled, but whose answer was lost on the way, is a Conflict the second time only when it
    ended in another way.
    """
    tried = False

    async def operation(conn: Connection) -> RunStatus | None:
        nonlocal tried
        repeat, tried = tried, True
        async with guarded(conn):
            before = await work.end(conn, run_id, RunStatus.CANCELLED, None)
        return RunStatus.PENDING if repeat and before is RunStatus.CANCELLED else before

    before = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    if before is None:
        raise NotFound(f"There is no run {run_id}.")
    if before.final:
        raise Conflict(f"The run has ended already: {before}.")
