"""Cancel: a run and its children end in whatever state they are, without the help of the workers that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from melagent.domain.run import RunStatus
from melagent.domain.work import Final
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Conflict, MelError, NotFound
from melagent.store import finals
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 10.0
LOOKED_AT_ONCE = 1_000
FIRST = UUID(int=0)

log = structlog.get_logger()


async def cancel(pool: Pool, run_id: UUID) -> Final:
    """Write the final state and end the lease in one transaction. NotFound; Conflict when the run has ended.

    A run that this call cancelled, but whose answer was lost on the way, is a Conflict the second time only when it
    ended in another way.
    """
    tried = False

    async def operation(conn: Connection) -> Final | None:
        nonlocal tried
        repeat, tried = tried, True
        async with guarded(conn):
            final = await finals.end(conn, run_id, RunStatus.CANCELLED, None)
        return Final(RunStatus.PENDING) if repeat and final and final.before is RunStatus.CANCELLED else final

    final = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    if final is None:
        raise NotFound(f"There is no run {run_id}.")
    if final.before.final:
        raise Conflict(f"The run has ended already: {final.before}.")
    return final


async def cancel_children(pool: Pool, run_ids: Sequence[UUID]) -> dict[UUID, Final]:
    """Cancel the attached children of ended runs, and theirs, level by level. What fails is left to a later pass."""
    cancelled: dict[UUID, Final] = {}
    level = list(run_ids)
    while level:
        cancelled |= (gone := await _cancel_all(pool, await _children(pool, level)))
        level = list(gone)
    return cancelled


async def _children(pool: Pool, run_ids: list[UUID]) -> list[UUID]:
    return await persistently(pool, lambda conn: finals.live_children(conn, run_ids), seconds=GIVE_UP_SECONDS)


async def cancel_orphans(pool: Pool, after: UUID | None) -> tuple[dict[UUID, Final], UUID | None]:
    """Cancel attached children whose parent has ended: whoever ended it died before it came to them.

    Looks at the next thousand live runs after an id (null begins anew); also answers after which to go on.
    """
    orphans, last = await persistently(
        pool, lambda conn: finals.orphans(conn, after or FIRST, LOOKED_AT_ONCE), seconds=GIVE_UP_SECONDS
    )
    gone = await _cancel_all(pool, orphans)
    return gone | await cancel_children(pool, list(gone)), last


async def _cancel_all(pool: Pool, run_ids: Sequence[UUID]) -> dict[UUID, Final]:
    cancelled = {}
    for run_id in run_ids:
        try:
            cancelled[run_id] = await cancel(pool, run_id)
        except Conflict:
            continue  # it has ended by itself
        except MelError as error:
            log.warning("child not cancelled yet", run_id=str(run_id), error=error.message)
    return cancelled
