"""What runs leave outside the weekly partitions. Whoever makes a table with rows of runs adds it here, or they stay.

Both ways in which history ends come by: a week that is dropped (`drop_between`) and runs that are purged (`drop_of`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

TABLES = ("payload_parts", "run_inbox", "deliveries")
"""Tables whose rows belong to the run in their column `run_id`. Those that end with the run are not among them
(work_items and parked); a test finds what was forgotten."""

BATCH = 5000

DROP_BETWEEN = {
    table: f"""
WITH next AS MATERIALIZED (SELECT ctid FROM {table} WHERE run_id >= $1 AND run_id < $2 LIMIT {BATCH})
DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM next))
"""  # noqa: S608  # the names above
    for table in TABLES
}


async def drop_between(conn: Connection, first: UUID, end: UUID) -> None:
    """Delete what the runs of a range of ids have left, `end` not included, in batches."""
    for statement in DROP_BETWEEN.values():
        while await conn.execute(statement, first, end) == f"DELETE {BATCH}":
            pass


DROP_OF = {table: f"DELETE FROM {table} WHERE run_id = ANY($1::uuid[])" for table in TABLES}  # noqa: S608  # as above


async def drop_of(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """Delete what these runs have left."""
    for statement in DROP_OF.values():
        await conn.execute(statement, run_ids)
