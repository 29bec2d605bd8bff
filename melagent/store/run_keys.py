"""What was answered under an idempotency key, until the key expires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Claim:
    """A key in use. `resource` is the id for what the call makes: each repetition makes the same."""

    scope: str
    key: str
    resource: UUID


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer: its HTTP status and its JSON text."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a key: the call that it was first used for, and its answer once there is one."""

    request_hash: bytes
    resource: UUID
    kept: Kept | None


CLAIM_KEY = """
INSERT INTO run_keys AS known (scope, key, request_hash, resource, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))
ON CONFLICT (scope, key) DO UPDATE
   SET request_hash = excluded.request_hash, resource = excluded.resource, expires_at = excluded.expires_at,
       status = NULL, answer = NULL
 WHERE known.expires_at <= now()
"""
FIND_KEY = "SELECT request_hash, resource, status, answer FROM run_keys WHERE scope = $1 AND key = $2"


async def claim(conn: Connection, wanted: Claim, request_hash: bytes, seconds: float) -> Known:
    """Take a key for so many seconds, unless it is taken; what is known of it afterwards. Of many callers one wins.

    The second statement sees what another session has committed while the first one waited for it.
    """
    values = (wanted.scope, wanted.key, request_hash, wanted.resource)
    while True:
        if await conn.execute(CLAIM_KEY, *values, seconds) == "INSERT 0 1":
            return Known(request_hash, wanted.resource, None)
        if row := await conn.fetchrow(FIND_KEY, wanted.scope, wanted.key):  # else it has just expired and was swept
            return _known(row)


async def find(conn: Connection, claim: Claim) -> Kept | None:
    """The answer that was kept under a claim."""
    row = await conn.fetchrow(FIND_KEY, claim.scope, claim.key)
    known = _known(row) if row else None
    return known.kept if known is not None and known.resource == claim.resource else None


KEEP_ANSWER = """
UPDATE run_keys SET status = $4, answer = $5 WHERE scope = $1 AND key = $2 AND resource = $3 AND answer IS NULL
"""


async def keep(conn: Connection, claim: Claim, kept: Kept) -> bool:
    """Keep an answer under a claim. False when there is one already, or the key has passed to another call."""
    values = (claim.scope, claim.key, claim.resource, kept.status, kept.body)
    return bool(await conn.execute(KEEP_ANSWER, *values) == "UPDATE 1")


LINK = "link"
"""The scope of approval links that were used. Their keys are kept as long as their run, `resource`, goes on."""

SWEEP_KEYS = f"""
DELETE FROM run_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM run_keys k
     WHERE expires_at <= now()
       AND (scope <> '{LINK}' OR NOT EXISTS (SELECT FROM work_items WHERE run_id = k.resource)
                             AND NOT EXISTS (SELECT FROM parked WHERE run_id = k.resource))
     ORDER BY expires_at LIMIT $1 FOR UPDATE OF k SKIP LOCKED))
"""  # noqa: S608  # the scope above


async def sweep(conn: Connection, limit: int) -> int:
    """Delete up to `limit` expired keys; how many there were."""
    return int((await conn.execute(SWEEP_KEYS, limit)).split()[-1])


def _known(row: asyncpg.Record) -> Known:
    kept = Kept(row["status"], row["answer"]) if row["answer"] is not None else None
    return Known(row["request_hash"], row["resource"], kept)
