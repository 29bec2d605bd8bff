"""How often somebody has tried to sign in lately, over all instances: a leaky bucket in one row.

Each attempt fills the bucket by the `seconds` that it takes to leak away; `free_at` is when the bucket is empty. So a
row needs no pass of its own to leak, and whoever finds it may delete it once it is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection

TAKE_ATTEMPT = """
INSERT INTO sign_in_attempts AS known (slot, free_at) VALUES ($1, now() + make_interval(secs => $2))
ON CONFLICT (slot) DO UPDATE SET free_at = greatest(known.free_at, now()) + make_interval(secs => $2)
 WHERE known.free_at <= now() + make_interval(secs => $2 * ($3 - 1))
"""
SECONDS_TO_WAIT = """
SELECT extract(epoch FROM free_at - now())::float8 - $2::float8 * ($3::int - 1) FROM sign_in_attempts WHERE slot = $1
"""


async def take(conn: Connection, slot: int, seconds: float, attempts: int) -> float | None:
    """Take one of so many attempts, each of which comes back after `seconds`; else how long to wait for one."""
    if await conn.execute(TAKE_ATTEMPT, slot, seconds, attempts) == "INSERT 0 1":
        return None
    return max(0.0, await conn.fetchval(SECONDS_TO_WAIT, slot, seconds, attempts) or 0.0)


GIVE_BACK_ATTEMPT = "UPDATE sign_in_attempts SET free_at = free_at - make_interval(secs => $2) WHERE slot = $1"


async def give_back(conn: Connection, slot: int, seconds: float) -> None:
    """Undo one `take`: the attempt has succeeded."""
    await conn.execute(GIVE_BACK_ATTEMPT, slot, seconds)


SWEEP_ATTEMPTS = """
DELETE FROM sign_in_attempts WHERE slot = ANY(ARRAY(
    SELECT slot FROM sign_in_attempts WHERE free_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED))
"""


async def sweep(conn: Connection, limit: int) -> int:
    """Delete up to `limit` empty buckets; how many there were."""
    return int((await conn.execute(SWEEP_ATTEMPTS, limit)).split()[-1])
