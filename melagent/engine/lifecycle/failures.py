"""Failures: what is left to do for failed runs that others may be started for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle.persist import persistently
from melagent.store import inbox

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.work import Failure
    from melagent.store.pool import Pool

BATCH = 100
GIVE_UP_SECONDS = 5.0
STALE_SECONDS = 3600.0
STALE_AT_ONCE = 5_000


async def failures(pool: Pool) -> list[Failure]:
    """Failed runs that nobody has seen to."""
    return await persistently(pool, lambda conn: inbox.failures(conn, BATCH), seconds=GIVE_UP_SECONDS)


async def handled(pool: Pool, run_id: UUID) -> None:
    """The failure of this run has been seen to. May be repeated."""
    await persistently(pool, lambda conn: inbox.forget_failure(conn, run_id), seconds=GIVE_UP_SECONDS)


async def forget_stale_messages(pool: Pool) -> int:
    """Remove messages to runs that ended an hour ago or earlier; how many there were."""
    return await persistently(
        pool, lambda conn: inbox.forget_stale(conn, STALE_SECONDS, STALE_AT_ONCE), seconds=GIVE_UP_SECONDS
    )
