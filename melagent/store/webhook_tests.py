"""Addresses that take one call, to be looked at by whoever made them, and start nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_TEST = """
INSERT INTO webhook_tests (id, trigger_id, token_hash, expires_at)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
RETURNING expires_at
"""


async def insert(conn: Connection, test_id: UUID, trigger_id: UUID, token_hash: bytes, seconds: float) -> datetime:
    """Listen for so many seconds; the moment at which that ends."""
    return await conn.fetchval(INSERT_TEST, test_id, trigger_id, token_hash, seconds)  # type: ignore[no-any-return]  # the driver has no types


FIND_LISTENING = """
SELECT trigger_id FROM webhook_tests WHERE token_hash = $1 AND captured IS NULL AND expires_at > now()
"""


async def listening(conn: Connection, token_hash: bytes) -> UUID | None:
    """The trigger that an address listens for, while it does and nothing has come."""
    return await conn.fetchval(FIND_LISTENING, token_hash)  # type: ignore[no-any-return]  # as above


CAPTURE = """
UPDATE webhook_tests SET captured = $2 WHERE token_hash = $1 AND captured IS NULL AND expires_at > now() RETURNING id
"""


async def capture(conn: Connection, token_hash: bytes, call: bytes) -> UUID | None:
    """Keep a call, the first one; the id of its test. Null when there was one before, or nobody listens any more."""
    return await conn.fetchval(CAPTURE, token_hash, call)  # type: ignore[no-any-return]  # as above


FIND_CAPTURED = "SELECT captured, expires_at > now() AS listens FROM webhook_tests WHERE id = $1 AND trigger_id = $2"


async def captured(conn: Connection, trigger_id: UUID, test_id: UUID) -> tuple[bytes | None, bool] | None:
    """The call that was captured, if any, and whether the test still listens; null for a test that is not there."""
    row = await conn.fetchrow(FIND_CAPTURED, test_id, trigger_id)
    return (row["captured"], row["listens"] and row["captured"] is None) if row else None


SWEEP_TESTS = """
DELETE FROM webhook_tests WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM webhook_tests WHERE expires_at < now() - make_interval(secs => $1)
     ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


async def sweep(conn: Connection, seconds: float, limit: int) -> int:
    """Delete up to `limit` tests that ended so long ago; how many there were."""
    return int((await conn.execute(SWEEP_TESTS, seconds, limit)).split()[-1])
