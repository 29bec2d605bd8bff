"""Runs that are not due: how they become due, and how they are paused. Only `engine.lifecycle` calls this.

A parked run sleeps, waits for messages (`waits` are their topics), is paused, or waits for a place among the runs of
its workflow. `wake_at` is the earliest of its timers and its deadline; of a paused or limited one the deadline alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

DUE = "SELECT run_id FROM parked WHERE wake_at <= now() AND reason <> 'limited' ORDER BY wake_at LIMIT $1"


async def due(conn: Connection, limit: int) -> list[UUID]:
    """Parked runs whose time has come."""
    return [row["run_id"] for row in await conn.fetch(DUE, limit)]


MAILED = """
WITH newest AS (
    SELECT run_id FROM run_inbox WHERE sent_at > now() - make_interval(secs => $2) ORDER BY sent_at DESC LIMIT $3
)
SELECT run_id FROM parked p
 WHERE run_id = ANY(ARRAY(SELECT run_id FROM newest)) AND reason = 'waiting'
   AND EXISTS (SELECT FROM run_inbox i WHERE i.run_id = p.run_id AND i.topic = ANY(p.waits))
 LIMIT $1
"""
ALL_MAILED = """
SELECT DISTINCT p.run_id FROM run_inbox i JOIN parked p ON p.run_id = i.run_id
 WHERE p.reason = 'waiting' AND i.topic = ANY(p.waits)
 LIMIT $1
"""


async def mailed(conn: Connection, limit: int, within_seconds: float, newest: int) -> list[UUID]:
    """Waiting runs that have a message they wait for, of those to which the newest messages were sent.

    An array of ids, because a join reads all parked runs when many messages lie there.
    """
    return [row["run_id"] for row in await conn.fetch(MAILED, limit, within_seconds, newest)]


async def all_mailed(conn: Connection, limit: int) -> list[UUID]:
    """Waiting runs that have a message they wait for. Reads all messages that are not taken in."""
    return [row["run_id"] for row in await conn.fetch(ALL_MAILED, limit)]


UNPARK = """
WITH locked AS (
    SELECT id FROM runs WHERE id = ANY($1::uuid[]) AND id BETWEEN $1[1] AND $1[cardinality($1)]
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), awake AS MATERIALIZED (
    SELECT p.run_id, p.limited_by FROM parked p
     WHERE p.run_id = ANY(ARRAY(SELECT id FROM locked)) AND p.reason <> 'limited'
       AND (p.wake_at <= now() OR p.reason = 'waiting' AND EXISTS
            (SELECT FROM run_inbox i WHERE i.run_id = p.run_id AND i.topic = ANY(p.waits)))
), held_back AS (
    UPDATE parked SET reason = 'limited', wake_at = deadline_at, waits = '{}', waiting_for = NULL
     WHERE run_id = ANY(ARRAY(SELECT run_id FROM awake WHERE limited_by IS NOT NULL))
), moved AS (
    DELETE FROM parked WHERE run_id = ANY(ARRAY(SELECT run_id FROM awake WHERE limited_by IS NULL))
    RETURNING run_id, priority, requires, attempt, started_at, deadline_at
), shown AS (
    UPDATE runs SET status = 'pending'
     WHERE id = ANY(ARRAY(SELECT run_id FROM awake)) AND id BETWEEN $1[1] AND $1[cardinality($1)]
), free AS (
    INSERT INTO work_items (run_id, priority, requires, attempt, started_at, deadline_at)
    SELECT run_id, priority, requires, attempt, started_at, deadline_at FROM moved
)
SELECT run_id, limited_by FROM awake
"""


async def unpark(conn: Connection, run_ids: Sequence[UUID]) -> tuple[list[UUID], set[UUID]]:
    """Make runs due whose time has come or that have a message they wait for; their ids.

    Limited runs then wait for a place; also answers the workflows among whose runs they are counted. Whoever holds a
    run's row is moving it already: it is passed over.
    """
    rows = await conn.fetch(UNPARK, sorted(run_ids)) if run_ids else []
    return [row["run_id"] for row in rows], {row["limited_by"] for row in rows if row["limited_by"]}


NEXT_WAKE = """
SELECT extract(epoch FROM min(wake_at) - now())::float8 FROM parked WHERE wake_at IS NOT NULL AND reason <> 'limited'
"""


async def next_wake_in(conn: Connection) -> float | None:
    """Seconds until the next parked run is due; null when none has a time."""
    value = await conn.fetchval(NEXT_WAKE)
    return None if value is None else float(value)


PAUSE_ITEM = "UPDATE work_items SET pausing = true WHERE run_id = $1 AND lease IS NOT NULL RETURNING run_id"
PAUSE_FREE = """
WITH moved AS (
    DELETE FROM work_items WHERE run_id = $1 AND lease IS NULL
    RETURNING run_id, priority, requires, attempt, started_at, deadline_at, limited_by, limit_to
)
INSERT INTO parked (run_id, priority, requires, wake_at, reason, attempt, started_at, deadline_at, limited_by, limit_to)
SELECT run_id, priority, requires, deadline_at, 'paused', attempt, started_at, deadline_at, limited_by, limit_to
  FROM moved
RETURNING run_id
"""
PAUSE_PARKED = """
UPDATE parked SET reason = 'paused', wake_at = deadline_at, waits = '{}', waiting_for = NULL
 WHERE run_id = $1 AND reason <> 'paused'
RETURNING run_id
"""
SHOW_PAUSED = "UPDATE runs SET status = 'paused' WHERE id = $1"


async def pause(conn: Connection, run_id: UUID) -> None:
    """Pause a live run whose row is locked; one that is leased at its next step boundary. May be repeated."""
    if await conn.fetchval(PAUSE_ITEM, run_id):
        return
    if await conn.fetchval(PAUSE_FREE, run_id) or await conn.fetchval(PAUSE_PARKED, run_id):
        await conn.execute(SHOW_PAUSED, run_id)


GO_ON = "UPDATE work_items SET pausing = false WHERE run_id = $1 AND pausing RETURNING run_id"
RESUME_LIMITED = """
UPDATE parked SET reason = 'limited' WHERE run_id = $1 AND reason = 'paused' AND limited_by IS NOT NULL
RETURNING limited_by
"""
RESUME = """
WITH moved AS (
    DELETE FROM parked WHERE run_id = $1 AND reason = 'paused'
    RETURNING run_id, priority, requires, attempt, started_at, deadline_at
)
INSERT INTO work_items (run_id, priority, requires, attempt, started_at, deadline_at)
SELECT run_id, priority, requires, attempt, started_at, deadline_at FROM moved
RETURNING run_id
"""
SHOW_PENDING = "UPDATE runs SET status = 'pending' WHERE id = $1"


async def resume(conn: Connection, run_id: UUID) -> tuple[bool, UUID | None]:
    """Let a paused run whose row is locked go on; false when it is not paused.

    A limited one waits for a place: then also answers the workflow among whose runs it is counted.
    """
    if await conn.fetchval(GO_ON, run_id):
        return True, None
    limited_by = await conn.fetchval(RESUME_LIMITED, run_id)
    if limited_by is None and not await conn.fetchval(RESUME, run_id):
        return False, None
    await conn.execute(SHOW_PENDING, run_id)
    return True, limited_by
