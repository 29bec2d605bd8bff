"""Messages to runs: signals, and the ends of children. Only `engine.lifecycle` calls this.

Writing a message takes no lock on the run. Whoever has written one wakes the run in a statement that comes after the
commit (`parked.unpark`), and a run that parks looks into its inbox once more after its commit: whichever of the two is
later sees the other. A poll stands behind both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from melagent.domain.run import RunStatus
from melagent.domain.work import Failure, Message
from melagent.store.payloads import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from melagent.store.pool import Connection

SEND = """
INSERT INTO run_inbox (run_id, topic, value)
SELECT id, $2, $3 FROM runs WHERE id = $1 AND status NOT IN ('completed', 'failed', 'cancelled')
RETURNING id
"""


async def send(conn: Connection, run_id: UUID, topic: str, value: bytes) -> bool:
    """Leave a message for a run; false when it has ended or is not there."""
    return await conn.fetchval(SEND, run_id, topic, value) is not None


SEND_ONCE = """
WITH live AS (
    SELECT id FROM runs WHERE id = $1 AND status NOT IN ('completed', 'failed', 'cancelled')
), fresh AS (
    INSERT INTO run_keys (scope, key, request_hash, resource, expires_at)
    SELECT $4, $5, $6, id, now() + make_interval(secs => $7) FROM live
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING resource
)
INSERT INTO run_inbox (run_id, topic, value) SELECT resource, $2, $3 FROM fresh RETURNING run_id
"""
USED_BY = "SELECT request_hash FROM run_keys WHERE scope = $1 AND key = $2"


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a message be left at most once: a key, for so many seconds, and who leaves it (16 random bytes)."""

    scope: str
    key: str
    by: bytes
    seconds: float


async def send_once(conn: Connection, run_id: UUID, topic: str, value: bytes, once: Once) -> bytes | None:
    """Leave a message under a key; who has left it, which may be somebody before us. Null when the run has ended.

    The second statement sees what another session has committed while the first one waited for it.
    """
    values = (once.scope, once.key, once.by, once.seconds)
    if await conn.fetchval(SEND_ONCE, run_id, topic, value, *values) is not None:
        return once.by
    return await used_by(conn, once.scope, once.key)


async def used_by(conn: Connection, scope: str, key: str) -> bytes | None:
    """Who has left a message under a key, if somebody has."""
    return await conn.fetchval(USED_BY, scope, key)  # type: ignore[no-any-return]  # the driver has no types


UNREAD = """
SELECT i.id, i.topic, i.value, i.child_id, c.status, c.output, c.output_hash, c.error
  FROM run_inbox i LEFT JOIN runs c ON c.id = i.child_id
 WHERE i.run_id = $1 ORDER BY i.id LIMIT $2
"""


async def unread(conn: Connection, run_id: UUID, limit: int) -> tuple[Message, ...]:
    """The oldest messages that a run has not taken in, those about a child with its end."""
    return tuple([await _message(conn, row) for row in await conn.fetch(UNREAD, run_id, limit)])


async def _message(conn: Connection, row: asyncpg.Record) -> Message:
    value = row["value"] if row["child_id"] is None else row["output"]
    if row["output_hash"] is not None:
        value = (await load(conn, row["child_id"], [row["output_hash"]]))[row["output_hash"]]
    return Message(
        id=row["id"],
        topic=row["topic"],
        value=value,
        child_id=row["child_id"],
        status=RunStatus(row["status"]) if row["status"] else None,
        error=orjson.loads(row["error"]) if row["error"] else None,
    )


TAKE = """
DELETE FROM run_inbox WHERE run_id = ANY($1::uuid[])
   AND (run_id, id) IN (SELECT * FROM unnest($1::uuid[], $2::bigint[]))
"""


async def take(conn: Connection, run_ids: Sequence[UUID], ids: Sequence[int]) -> None:
    """Remove messages, each given with its run."""
    await conn.execute(TAKE, run_ids, ids)


FAILURES = """
SELECT r.id, r.workflow_id, r.version_id, r.on_failure, r.error
  FROM (SELECT DISTINCT run_id FROM run_inbox WHERE topic = 'failed' LIMIT $1) AS i JOIN runs r ON r.id = i.run_id
"""


async def failures(conn: Connection, limit: int) -> list[Failure]:
    """Failed runs that others may be started for, and nobody has seen to yet."""
    return [_failure(row) for row in await conn.fetch(FAILURES, limit)]


def _failure(row: asyncpg.Record) -> Failure:
    return Failure(
        run_id=row["id"],
        workflow_id=row["workflow_id"],
        version_id=row["version_id"],
        handler=row["on_failure"],
        error=orjson.loads(row["error"]) if row["error"] else None,
    )


FORGET_FAILURE = "DELETE FROM run_inbox WHERE run_id = $1 AND topic = 'failed'"


async def forget_failure(conn: Connection, run_id: UUID) -> None:
    """The failure of this run has been seen to."""
    await conn.execute(FORGET_FAILURE, run_id)


FORGET_STALE = """
DELETE FROM run_inbox WHERE (run_id, id) IN (
    SELECT i.run_id, i.id FROM run_inbox i
     WHERE i.sent_at < now() - make_interval(secs => $1) AND i.topic <> 'failed'
       AND NOT EXISTS (SELECT FROM work_items w WHERE w.run_id = i.run_id)
       AND NOT EXISTS (SELECT FROM parked p WHERE p.run_id = i.run_id)
     LIMIT $2)
"""


async def forget_stale(conn: Connection, older_than_seconds: float, limit: int) -> int:
    """Remove messages to runs that have ended; how many there were."""
    return int((await conn.execute(FORGET_STALE, older_than_seconds, limit)).split()[-1])
