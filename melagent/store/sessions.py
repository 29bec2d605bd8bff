"""Who is signed in, by the SHA-256 of the session's token.

A session is good while it has not expired, was used lately, and names the present `epoch` of its user. So whatever
raises the epoch ends all sessions, also one that is inserted at the same moment for what was true before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import SessionRow, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_SESSION = """
INSERT INTO sessions (hash, user_id, epoch, expires_at)
SELECT $1, id, epoch, now() + make_interval(secs => $4) FROM users
 WHERE id = $2 AND epoch = $3 AND disabled_at IS NULL
"""


async def insert(conn: Connection, digest: bytes, user_id: UUID, epoch: int, seconds: float) -> bool:
    """Begin a session. False when the user is gone or disabled, or all sessions of that epoch have ended."""
    return bool(await conn.execute(INSERT_SESSION, digest, user_id, epoch, seconds) == "INSERT 0 1")


DELETE_OLDEST = """
DELETE FROM sessions WHERE hash = ANY(ARRAY(
    SELECT hash FROM sessions WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2))
"""


async def keep_newest(conn: Connection, user_id: UUID, count: int) -> None:
    """End all sessions of a user but the newest so many."""
    await conn.execute(DELETE_OLDEST, user_id, count)


FIND_SESSION = """
SELECT u.id AS user_id, u.email, u.name, u.role, s.expires_at, s.seen_at < now() - make_interval(secs => $3) AS unseen
  FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.hash = $1 AND s.epoch = u.epoch AND u.disabled_at IS NULL
   AND s.expires_at > now() AND s.seen_at > now() - make_interval(secs => $2)
"""


async def find(conn: Connection, digest: bytes, idle_seconds: float, unseen_seconds: float) -> SessionRow | None:
    """A session that is good. `unseen`: it is so long ago that it was noted to be in use."""
    row = await conn.fetchrow(FIND_SESSION, digest, idle_seconds, unseen_seconds)
    return value_of(SessionRow, row) if row else None


FIND_SESSIONS = """
SELECT s.hash, u.id AS user_id, u.name, u.role
  FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.hash = ANY($1::bytea[]) AND s.epoch = u.epoch AND u.disabled_at IS NULL
   AND s.expires_at > now() AND s.seen_at > now() - make_interval(secs => $2)
"""


async def find_all(
    conn: Connection, digests: Sequence[bytes], idle_seconds: float
) -> dict[bytes, tuple[UUID, str, str]]:
    """Id, name and role of the users of those of these sessions that are good."""
    rows = await conn.fetch(FIND_SESSIONS, digests, idle_seconds)
    return {row["hash"]: (row["user_id"], row["name"], row["role"]) for row in rows}


TOUCH_SESSIONS = """
UPDATE sessions SET seen_at = now() WHERE hash = ANY($1::bytea[]) AND seen_at < now() - make_interval(secs => $2)
"""


async def touch_all(conn: Connection, digests: Sequence[bytes], unseen_seconds: float) -> None:
    """Note that sessions are in use, where that was noted longer ago."""
    await conn.execute(TOUCH_SESSIONS, digests, unseen_seconds)


TOUCH_SESSION = "UPDATE sessions SET seen_at = now() WHERE hash = $1"


async def touch(conn: Connection, digest: bytes) -> None:
    """Note that a session is in use."""
    await conn.execute(TOUCH_SESSION, digest)


DELETE_SESSION = "DELETE FROM sessions WHERE hash = $1"


async def delete(conn: Connection, digest: bytes) -> None:
    """End one session."""
    await conn.execute(DELETE_SESSION, digest)


SWEEP_SESSIONS = """
DELETE FROM sessions WHERE hash = ANY(ARRAY(
    SELECT s.hash FROM sessions s JOIN users u ON u.id = s.user_id
     WHERE s.expires_at <= now() OR s.seen_at <= now() - make_interval(secs => $1) OR s.epoch <> u.epoch
     LIMIT $2 FOR UPDATE OF s SKIP LOCKED))
"""


async def sweep(conn: Connection, idle_seconds: float, limit: int) -> int:
    """Delete up to `limit` sessions that have ended; how many there were."""
    return int((await conn.execute(SWEEP_SESSIONS, idle_seconds, limit)).split()[-1])
