"""What readiness asks of the database and its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection, Pool

MIGRATIONS_TABLE = "SELECT to_regclass('_yoyo_migration') IS NOT NULL"

APPLIED_MIGRATIONS = "SELECT migration_id FROM _yoyo_migration"


async def applied_migrations(conn: Connection) -> frozenset[str]:
    """The ids of all migrations that the database has seen; empty for a database that was never migrated."""
    if not await conn.fetchval(MIGRATIONS_TABLE):
        return frozenset()
    return frozenset(row["migration_id"] for row in await conn.fetch(APPLIED_MIGRATIONS))


def pool_numbers(pool: Pool) -> dict[str, int]:
    """How many connections there may be, are, are free, and are used; and how many callers wait for one."""
    size, idle = pool.get_size(), pool.get_idle_size()
    waiting = len(pool._queue._getters) if pool._queue else 0  # noqa: SLF001  # the driver tells it nowhere else
    return {"max": pool.get_max_size(), "open": size, "idle": idle, "in_use": size - idle, "waiting": waiting}
