"""What workflows have done last, and when they do something next: for lists of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class RecentRun:
    """A run with as much as a list of workflows shows of it."""

    workflow_id: UUID
    id: UUID
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


RECENT_RUNS = """
SELECT recent.*
  FROM unnest($1::uuid[]) AS wanted (id)
 CROSS JOIN LATERAL (
    SELECT r.workflow_id, r.id, CASE WHEN w.lease_expires_at > now() THEN 'running' ELSE r.status END AS status,
           r.created_at, coalesce(r.started_at, w.started_at) AS started_at, r.finished_at
      FROM runs r
      LEFT JOIN work_items w ON w.run_id = r.id
     WHERE r.workflow_id = wanted.id
     ORDER BY r.id DESC LIMIT $2
 ) AS recent
"""


async def recent_runs(conn: Connection, workflow_ids: Sequence[UUID], limit: int) -> list[RecentRun]:
    """The newest runs of each of these workflows, newest first."""
    return [value_of(RecentRun, row) for row in await conn.fetch(RECENT_RUNS, workflow_ids, limit)]


NEXT_FIRINGS = """
SELECT workflow_id, min(next_fire_at) AS next_fire_at FROM triggers
 WHERE workflow_id = ANY ($1::uuid[]) AND active AND enabled
 GROUP BY workflow_id
"""


async def next_firings(conn: Connection, workflow_ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    """When each of these workflows fires next by itself; null for those that have webhooks only."""
    return {row["workflow_id"]: row["next_fire_at"] for row in await conn.fetch(NEXT_FIRINGS, workflow_ids)}
