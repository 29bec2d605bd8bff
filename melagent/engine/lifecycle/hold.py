"""Hold: a worker keeps its leases by saying so, in one statement for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine.lifecycle.persist import persistently
from melagent.store import work

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.store.pool import Connection, Pool


async def extend(pool: Pool, leases: Mapping[UUID, UUID], lease_seconds: float) -> set[UUID]:
    """Extend leases, given as lease by run; the leases that are lost (taken back, cancelled, or ended)."""

    async def operation(conn: Connection) -> set[UUID]:
        return await work.extend(conn, list(leases.keys()), list(leases.values()), lease_seconds)

    kept = await persistently(pool, operation, seconds=lease_seconds)
    return set(leases.values()) - kept
