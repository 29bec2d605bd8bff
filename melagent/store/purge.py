"""Deleting runs that have ended, with all they have left. Only `engine.lifecycle` calls this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store import remains
from melagent.store.ids import first_id_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.run import Purge
    from melagent.store.pool import Connection

LOOKED_AT = 1000
CHUNK_BYTES = 2000
"""PostgreSQL keeps a large value in rows of about so many bytes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run to delete, and about how many rows there are of it."""

    run_id: UUID
    rows: int


# Whatever is asked for, so many runs are looked at: a rare status must not make one statement read the whole table.
LOOK_FOR_ENDED = f"""
WITH looked AS MATERIALIZED (
    SELECT id, workflow_id, status, finished_at FROM runs WHERE id > $1 AND id < $2 ORDER BY id LIMIT {LOOKED_AT}
)
SELECT id,
       CASE WHEN finished_at < $3 AND ($4::text IS NULL OR status = $4) AND ($5::uuid IS NULL OR workflow_id = $5)
            THEN (SELECT count(*) FROM steps s WHERE s.run_id = looked.id)
                 + (SELECT coalesce(sum(octet_length(p.data) / {CHUNK_BYTES} + 1), 0)
                      FROM payloads p WHERE p.run_id = looked.id) + 1 END AS rows
  FROM looked ORDER BY id
"""  # noqa: S608  # the numbers above


async def look(conn: Connection, purge: Purge, after: UUID) -> tuple[list[Ended], UUID | None]:
    """Those of the next thousand runs that are to be deleted, by id, and the last one looked at; null at the end."""
    end = first_id_at(purge.before)  # no run ends before it is made
    rows = await conn.fetch(LOOK_FOR_ENDED, after, end, purge.before, purge.status, purge.workflow_id)
    ended = [Ended(row["id"], int(row["rows"])) for row in rows if row["rows"] is not None]
    return ended, rows[-1]["id"] if len(rows) == LOOKED_AT else None


DELETE_ENDED = """
WITH ended AS (
    SELECT id FROM runs WHERE id = ANY($1::uuid[]) AND id BETWEEN $1[1] AND $1[cardinality($1)]
       AND finished_at IS NOT NULL
     ORDER BY id FOR UPDATE
), steps_gone AS (
    DELETE FROM steps
     WHERE run_id = ANY(ARRAY(SELECT id FROM ended)) AND run_id BETWEEN $1[1] AND $1[cardinality($1)]
), payloads_gone AS (
    DELETE FROM payloads
     WHERE run_id = ANY(ARRAY(SELECT id FROM ended)) AND run_id BETWEEN $1[1] AND $1[cardinality($1)]
)
DELETE FROM runs WHERE id = ANY(ARRAY(SELECT id FROM ended)) AND id BETWEEN $1[1] AND $1[cardinality($1)]
RETURNING id
"""


async def delete(conn: Connection, run_ids: Sequence[UUID]) -> int:
    """Delete those of the runs that have ended, with all there is of them; how many. Must be in a transaction."""
    gone = sorted(row["id"] for row in await conn.fetch(DELETE_ENDED, sorted(run_ids)))
    await remains.drop_of(conn, gone)
    return len(gone)
