"""Pause and resume. A leased run is paused by its worker: running nodes finish, none starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Conflict, NotFound
from melagent.store import finals, parked
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.run import RunStatus
    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0


async def pause(pool: Pool, run_id: UUID) -> None:
    """Pause a live run; a leased one within a heartbeat. May be repeated. NotFound; Conflict when it has ended."""

    async def operation(conn: Connection) -> None:
        async with guarded(conn):
            _check_live(await finals.lock(conn, run_id), run_id)
            await parked.pause(conn, run_id)

    await persistently(pool, operation, seconds=GIVE_UP_SECONDS)


async def resume(pool: Pool, run_id: UUID) -> UUID | None:
    """Let a paused run go on; the workflow among whose runs it waits for a place, if it is limited.

    NotFound; Conflict when it has ended or is not paused.
    """
    tried = False

    async def operation(conn: Connection) -> tuple[bool, UUID | None]:
        nonlocal tried
        repeat, tried = tried, True
        async with guarded(conn):
            _check_live(await finals.lock(conn, run_id), run_id)
            resumed, limited_by = await parked.resume(conn, run_id)
            return resumed or repeat, limited_by

    resumed, limited_by = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    if not resumed:
        raise Conflict("The run is not paused.")
    return limited_by


def _check_live(status: RunStatus | None, run_id: UUID) -> None:
    if status is None:
        raise NotFound(f"There is no run {run_id}.")
    if status.final:
        raise Conflict(f"The run has ended already: {status}.")
