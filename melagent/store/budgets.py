"""Budgets: token buckets that all instances draw on, by the clock of the database.

An instance takes a slice at a time and spends it without asking, so a row is written some ten times a second and
instance at most, however many calls there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Taken:
    """So many tokens were taken, and so many (not a whole number) are left."""

    tokens: int
    left: float


_SINCE = "greatest(0, extract(epoch FROM excluded.refilled_at - b.refilled_at))::float8"
_HAS = f"least($3::float8, b.tokens + $2::float8 * {_SINCE})"
_GETS = f"least($4::integer, floor({_HAS}))"
_GETS_AT_FIRST = "least($4::integer, floor($3::float8))"

TAKE_TOKENS = f"""
INSERT INTO budgets AS b (key, tokens, granted, refilled_at, full_at)
VALUES ($1, $3::float8 - {_GETS_AT_FIRST}, {_GETS_AT_FIRST}, clock_timestamp(),
        clock_timestamp() + make_interval(secs => {_GETS_AT_FIRST} / $2::float8))
ON CONFLICT (key) DO UPDATE
   SET tokens = {_HAS} - {_GETS}, granted = {_GETS}, refilled_at = greatest(b.refilled_at, excluded.refilled_at),
       full_at = greatest(b.refilled_at, excluded.refilled_at)
                 + make_interval(secs => ($3::float8 - ({_HAS} - {_GETS})) / $2::float8)
RETURNING granted, tokens
"""  # noqa: S608  # the formulas above


async def take(conn: Connection, key: str, per_second: float, burst: float, wanted: int) -> Taken:
    """Take up to `wanted` tokens from a bucket that holds `burst` and gains `per_second`; a new one is full.

    In any span of s seconds no more than `burst + per_second * s` are taken by all who do.
    """
    row = await conn.fetchrow(TAKE_TOKENS, key, per_second, burst, wanted)
    return Taken(row["granted"], row["tokens"])


SWEEP_BUDGETS = """
DELETE FROM budgets WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM budgets WHERE full_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED))
"""


async def sweep(conn: Connection, limit: int) -> int:
    """Delete up to `limit` buckets that are full; how many there were."""
    return int((await conn.execute(SWEEP_BUDGETS, limit)).split()[-1])
