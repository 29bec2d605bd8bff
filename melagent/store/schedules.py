"""The positions of schedules: which planned moment of a trigger comes next, by the clock of the database alone.

Whoever fires holds the row of the trigger. The run, the key of the firing and the next position are one transaction,
so a moment has fired once or not yet, wherever the process dies. The key is there for a schedule that begins anew: it
may plan a moment that has fired already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from melagent.domain.firing import GRACE, LOOK_BACK

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from melagent.store.pool import Connection

KEPT = LOOK_BACK + timedelta(hours=1)
"""How long the key of a firing is kept: nothing that is older fires."""

CLOCK = "SELECT clock_timestamp()"


async def now(conn: Connection) -> datetime:
    """What the clock of the database says, also within a transaction."""
    return await conn.fetchval(CLOCK)  # type: ignore[no-any-return]  # the driver has no types


@dataclass(frozen=True, slots=True)
class Held:
    """A trigger whose row is locked. Its runs start at `entry` of the version; there may be none if it is `by_hand`."""

    id: UUID
    workflow_id: UUID
    version_id: UUID | None
    entry: str | None
    type: str
    config: bytes
    since: datetime | None
    planned_at: datetime | None
    next_fire_at: datetime | None
    enabled: bool
    by_hand: bool

    @property
    def armed(self) -> bool:
        return self.enabled and self.version_id is not None


_HELD = """
       id, workflow_id, version_id, coalesce(node_id, entry) AS entry, type, config::text, since, planned_at,
       next_fire_at, active AND enabled AS enabled, node_id IS NULL AS by_hand
"""

HOLD_TRIGGERS = f"SELECT {_HELD} FROM triggers WHERE workflow_id = $1 ORDER BY id FOR UPDATE"  # noqa: S608  # the columns above


async def hold(conn: Connection, workflow_id: UUID) -> dict[UUID, Held]:
    """Lock all triggers of a locked workflow, retired ones as well; by id."""
    return {row["id"]: _held(row) for row in await conn.fetch(HOLD_TRIGGERS, workflow_id)}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a schedule stands. Null moments: it fires no more. `since` is null for what was never a schedule."""

    trigger_id: UUID
    since: datetime | None
    planned_at: datetime | None
    next_fire_at: datetime | None
    fired: bool = False


MOVE_TRIGGERS = """
UPDATE triggers t
   SET since = new.since, planned_at = new.planned_at, next_fire_at = new.next_fire_at,
       last_fired_at = CASE WHEN new.fired THEN now() ELSE t.last_fired_at END
  FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
       AS new (id, since, planned_at, next_fire_at, fired)
 WHERE t.id = new.id
"""


async def move(conn: Connection, positions: Sequence[Position]) -> None:
    """Store the positions of held triggers."""
    await conn.execute(
        MOVE_TRIGGERS,
        [position.trigger_id for position in positions],
        [position.since for position in positions],
        [position.planned_at for position in positions],
        [position.next_fire_at for position in positions],
        [position.fired for position in positions],
    )


SOON = """
SELECT workflow_id, version_id, extract(epoch FROM next_fire_at - clock_timestamp())::float8 AS due_in
  FROM triggers
 WHERE active AND enabled AND next_fire_at < clock_timestamp() + make_interval(secs => $1) AND id <> ALL ($2::uuid[])
 ORDER BY next_fire_at LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Soon:
    """A trigger that is due in so many seconds, and what it starts."""

    workflow_id: UUID
    version_id: UUID
    due_in: float


async def soon(conn: Connection, seconds: float, without: Collection[UUID], limit: int) -> list[Soon]:
    """The triggers that are due within so many seconds, the first ones first. Locks nothing."""
    return [Soon(**row) for row in await conn.fetch(SOON, seconds, list(without), limit)]


CLAIM_DUE = f"""
SELECT {_HELD}, now() AS now FROM triggers
 WHERE active AND enabled AND next_fire_at <= now() AND id <> ALL ($1::uuid[])
   AND (next_fire_at < now() - make_interval(secs => $2)) = $3
 ORDER BY next_fire_at LIMIT $4 FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # the columns above


async def claim(
    conn: Connection, without: Collection[UUID], limit: int, limit_missed: int
) -> tuple[datetime | None, list[Held]]:
    """Lock due triggers that nobody else has locked; the time they were found due at, and they.

    Those that have missed a moment have places of their own: however many they are, they hold up nobody.
    """
    rows: list[asyncpg.Record] = []
    for missed, most in ((False, limit), (True, limit_missed)):
        rows += await conn.fetch(CLAIM_DUE, list(without), GRACE.total_seconds(), missed, most)
    return rows[0]["now"] if rows else None, [_held(row) for row in rows]


KEEP_FIRINGS = """
INSERT INTO run_keys (scope, key, request_hash, resource, expires_at)
SELECT 'trigger:' || f.trigger_id, to_char(f.planned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '', f.run_id,
       now() + $4::interval
  FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS f (trigger_id, planned_at, run_id)
ON CONFLICT (scope, key) DO NOTHING
RETURNING resource
"""


async def keep_firings(conn: Connection, firings: Sequence[tuple[UUID, datetime, UUID]]) -> set[UUID]:
    """Keep that these runs stand for these planned moments of triggers; the runs whose moment had not fired before."""
    columns = [[firing[column] for firing in firings] for column in range(3)]
    return {row["resource"] for row in await conn.fetch(KEEP_FIRINGS, *columns, KEPT)}


OVERVIEW = """
SELECT count(*) AS active, count(*) FILTER (WHERE next_fire_at <= now()) AS due, min(next_fire_at) AS next_fire_at,
       greatest(0, extract(epoch FROM now() - min(next_fire_at)))::float8 AS lag_seconds
  FROM triggers WHERE active AND enabled AND next_fire_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Overview:
    """How many schedules there are, how many of them are due, when the first one is, and for how long it has been."""

    active: int
    due: int
    next_fire_at: datetime | None
    lag_seconds: float


async def overview(conn: Connection) -> Overview:
    return Overview(**await conn.fetchrow(OVERVIEW))


def _held(row: asyncpg.Record) -> Held:
    return Held(
        id=row["id"],
        workflow_id=row["workflow_id"],
        version_id=row["version_id"],
        entry=row["entry"],
        type=row["type"],
        config=row["config"].encode(),
        since=row["since"],
        planned_at=row["planned_at"],
        next_fire_at=row["next_fire_at"],
        enabled=row["enabled"],
        by_hand=row["by_hand"],
    )
