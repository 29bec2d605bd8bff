"""Ending a live run from outside, whoever holds it. Only `engine.lifecycle` calls this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.run import RunStatus
from melagent.domain.work import CHILD_TOPIC, FAILED_TOPIC, Final

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

LOCK_RUN = """
SELECT status, parent_run_id, attached,
       on_failure IS NOT NULL OR (
           workflow_id IS NOT NULL AND scope IS NULL
           AND EXISTS (SELECT FROM triggers WHERE active AND enabled AND type = 'error')) AS watched
  FROM runs WHERE id = $1 FOR NO KEY UPDATE
"""
DROP_ITEM = "DELETE FROM work_items WHERE run_id = $1 RETURNING attempt, started_at, limited_by"
DROP_PARKED = "DELETE FROM parked WHERE run_id = $1 RETURNING attempt, started_at, limited_by"
END_RUN = """
UPDATE runs SET status = $2, error = $3::text::json, finished_at = now(), attempt = $4, started_at = $5 WHERE id = $1
"""
END_STEPS = """
UPDATE steps SET status = 'cancelled', finished_at = greatest(now(), started_at), wake_at = NULL
 WHERE run_id = $1 AND status IN ('pending', 'running', 'sleeping', 'waiting')
"""
TELL = "INSERT INTO run_inbox (run_id, topic, child_id) VALUES ($1, $2, $3)"


async def lock(conn: Connection, run_id: UUID) -> RunStatus | None:
    """Lock the row of a run; its stored status, null when there is no such run."""
    row = await conn.fetchrow(LOCK_RUN, run_id)
    return RunStatus(row["status"]) if row else None


async def end(conn: Connection, run_id: UUID, status: RunStatus, error: dict[str, Any] | None) -> Final | None:
    """End a live run, and its lease with it. Must be called in a transaction. A final run is left as it is.

    The parent of an attached child gets a message. Null when there is no such run.
    """
    run = await conn.fetchrow(LOCK_RUN, run_id)
    if run is None or RunStatus(run["status"]).final:
        return None if run is None else Final(RunStatus(run["status"]))
    live = await conn.fetchrow(DROP_ITEM, run_id) or await conn.fetchrow(DROP_PARKED, run_id)
    if live is None:
        raise AssertionError(f"run {run_id} has not ended and has neither a work item nor is it parked")
    text = orjson.dumps(error).decode() if error else None
    await conn.execute(END_RUN, run_id, status, text, live["attempt"], live["started_at"])
    await conn.execute(END_STEPS, run_id)
    parent = run["parent_run_id"] if run["attached"] else None
    if parent is not None:
        await conn.execute(TELL, parent, CHILD_TOPIC, run_id)
    if status is RunStatus.FAILED and run["watched"]:
        await conn.execute(TELL, run_id, FAILED_TOPIC, None)
    return Final(RunStatus(run["status"]), parent, live["limited_by"])


LIVE_CHILDREN = """
SELECT id FROM runs
 WHERE parent_run_id = ANY($1::uuid[]) AND attached AND id >= ($1::uuid[])[1]
   AND status NOT IN ('completed', 'failed', 'cancelled')
"""


async def live_children(conn: Connection, run_ids: list[UUID]) -> list[UUID]:
    """The attached children of these runs that have not ended."""
    return [row["id"] for row in await conn.fetch(LIVE_CHILDREN, sorted(run_ids))]


LIVE = """
SELECT run_id FROM (
    (SELECT run_id FROM work_items WHERE run_id > $1 ORDER BY run_id LIMIT $2) UNION ALL
    (SELECT run_id FROM parked WHERE run_id > $1 ORDER BY run_id LIMIT $2)) AS live
 ORDER BY run_id LIMIT $2
"""
ORPHANS = """
SELECT c.id FROM runs c JOIN runs p ON p.id = c.parent_run_id
 WHERE c.id = ANY($1::uuid[]) AND c.id BETWEEN $1[1] AND $1[cardinality($1)] AND c.attached
   AND p.status IN ('completed', 'failed', 'cancelled') AND c.status NOT IN ('completed', 'failed', 'cancelled')
"""


async def orphans(conn: Connection, after: UUID, limit: int) -> tuple[list[UUID], UUID | None]:
    """Attached children that are live though their parent has ended, among the next `limit` live runs after an id.

    Also answers after which id to go on; null when these were the last.
    """
    live = [row["run_id"] for row in await conn.fetch(LIVE, after, limit)]
    found = [row["id"] for row in await conn.fetch(ORPHANS, live)] if live else []
    return found, live[-1] if len(live) == limit else None
