"""Unpark: sleeping runs become due when their time has come, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle.persist import persistently
from melagent.store import work

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Pool

BATCH = 500
GIVE_UP_SECONDS = 5.0


async def unpark_due(pool: Pool) -> list[UUID]:
    """Make parked runs due whose time has come; their ids. Unavailable when the database cannot do it for 5 s."""
    return await persistently(pool, lambda conn: work.unpark(conn, BATCH), seconds=GIVE_UP_SECONDS)


async def next_wake_in(pool: Pool) -> float | None:
    """Seconds until the next parked run is due; null when none has a time."""
    return await persistently(pool, work.next_wake_in, seconds=GIVE_UP_SECONDS)
