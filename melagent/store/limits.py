"""Places among the runs of a workflow with a limit. Only `engine.lifecycle` calls this."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

LOCK = "SELECT FROM workflows WHERE id = $1 FOR NO KEY UPDATE"
ADMIT = """
WITH used AS (
    SELECT count(*) AS runs FROM work_items WHERE limited_by = $1
), next AS (
    SELECT p.run_id, p.limit_to, row_number() OVER (ORDER BY p.priority, p.run_id) AS place
      FROM (SELECT run_id, limit_to, priority FROM parked WHERE limited_by = $1 AND reason = 'limited'
             ORDER BY priority, run_id LIMIT $2) AS p
), moved AS (
    DELETE FROM parked USING next, used
     WHERE parked.run_id = next.run_id AND parked.reason = 'limited' AND used.runs + next.place <= next.limit_to
    RETURNING parked.run_id, parked.priority, parked.requires, parked.attempt, parked.started_at, parked.deadline_at,
              parked.limited_by, parked.limit_to
)
INSERT INTO work_items (run_id, priority, requires, attempt, started_at, deadline_at, limited_by, limit_to)
SELECT run_id, priority, requires, attempt, started_at, deadline_at, limited_by, limit_to FROM moved
RETURNING requires
"""


async def admit(conn: Connection, workflow_id: UUID, most: int) -> list[str]:
    """Make up to `most` of the runs due that wait for a place, as far as there are places; what they require.

    Must be called in a transaction: the row of the workflow is locked, so that no two fill the same place.
    """
    await conn.execute(LOCK, workflow_id)
    return [row["requires"] for row in await conn.fetch(ADMIT, workflow_id, most)]


LIMITED = "SELECT DISTINCT limited_by FROM parked WHERE reason = 'limited'"


async def limited(conn: Connection) -> list[UUID]:
    """The workflows with runs that wait for a place."""
    return [row["limited_by"] for row in await conn.fetch(LIMITED)]
