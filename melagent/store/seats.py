"""Who has a seat in which room, where no Redis keeps that: tables that a crash of the server empties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from melagent.domain.seats import Seat

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection

TOUCH_HUB = "UPDATE hubs SET seen_at = now() WHERE instance = $1"


async def touch_hub(conn: Connection, instance: str) -> bool:
    """Say that an instance is there. False when it is not known, or no longer, and then none of its seats is."""
    return bool(await conn.execute(TOUCH_HUB, instance) == "UPDATE 1")


INSERT_HUB = "INSERT INTO hubs (instance) VALUES ($1) ON CONFLICT (instance) DO UPDATE SET seen_at = now()"


async def insert_hub(conn: Connection, instance: str) -> None:
    await conn.execute(INSERT_HUB, instance)


DELETE_HUB = "DELETE FROM hubs WHERE instance = $1"


async def delete_hub(conn: Connection, instance: str) -> None:
    """Take an instance away, with its seats."""
    await conn.execute(DELETE_HUB, instance)


PUT_SEATS = """
INSERT INTO seats (workflow_id, peer, owner, instance, person_id, name, color, joined_at)
SELECT g.workflow_id, g.peer, g.owner, $1, g.person_id, g.name, g.color, coalesce(g.joined_at, clock_timestamp())
  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
       AS g(workflow_id, peer, owner, person_id, name, color, joined_at)
 ORDER BY g.workflow_id, g.peer
ON CONFLICT (workflow_id, peer) DO UPDATE
   SET owner = excluded.owner, instance = excluded.instance, person_id = excluded.person_id, name = excluded.name,
       color = excluded.color, joined_at = excluded.joined_at
 WHERE seats.joined_at <= excluded.joined_at
RETURNING owner, joined_at
"""


async def put(conn: Connection, instance: str, given: Sequence[Seat]) -> dict[str, datetime] | None:
    """Write seats, each (workflow, peer) once; by owner, when those were taken that nobody has taken later.

    Null, and nothing is written, when the instance is not known.
    """
    columns = [[getattr(seat, name) for seat in given] for name in ("workflow_id", "peer", "owner", "person_id")]
    shown = [[getattr(seat, name) for seat in given] for name in ("name", "color", "joined_at")]
    try:
        rows = await conn.fetch(PUT_SEATS, instance, *columns, *shown)
    except asyncpg.ForeignKeyViolationError:
        return None
    return {row["owner"]: row["joined_at"] for row in rows}


DELETE_SEATS = """
DELETE FROM seats s USING unnest($1::uuid[], $2::text[], $3::text[]) AS g(workflow_id, peer, owner)
 WHERE s.workflow_id = g.workflow_id AND s.peer = g.peer AND s.owner = g.owner
"""


async def delete(conn: Connection, left: Sequence[Seat]) -> None:
    """Remove seats that their owners still hold."""
    columns = ([getattr(seat, name) for seat in left] for name in ("workflow_id", "peer", "owner"))
    await conn.execute(DELETE_SEATS, *columns)


SWEEP_HUBS = """
WITH dead AS (DELETE FROM hubs WHERE seen_at < now() - make_interval(secs => $1) RETURNING instance)
SELECT s.workflow_id, s.peer, s.owner, s.instance, s.person_id, s.name, s.color, s.joined_at
  FROM seats s JOIN dead USING (instance)
"""


async def sweep(conn: Connection, seconds: float) -> list[Seat]:
    """Take away instances that have said nothing for so long, and their seats, which are answered."""
    return [_seat(row) for row in await conn.fetch(SWEEP_HUBS, seconds)]


SEATS_OF_ROOMS = """
SELECT workflow_id, peer, owner, instance, person_id, name, color, joined_at FROM seats
 WHERE workflow_id = ANY($1::uuid[]) ORDER BY workflow_id, joined_at, peer
"""


async def of_rooms(conn: Connection, workflow_ids: Collection[UUID]) -> list[Seat]:
    return [_seat(row) for row in await conn.fetch(SEATS_OF_ROOMS, list(workflow_ids))]


PAGE_OF_SEATS = """
SELECT workflow_id, peer, owner, instance, person_id, name, color, joined_at FROM seats
 WHERE (workflow_id, peer) > ($1::uuid, $2::text) ORDER BY workflow_id, peer LIMIT $3
"""


async def page(conn: Connection, after: tuple[UUID, str], limit: int) -> list[Seat]:
    return [_seat(row) for row in await conn.fetch(PAGE_OF_SEATS, *after, limit)]


COUNT_SEATS = """
SELECT h.instance, count(s.peer) AS connections, count(DISTINCT s.workflow_id) AS rooms
  FROM hubs h LEFT JOIN seats s USING (instance) GROUP BY h.instance ORDER BY h.instance
"""


async def count(conn: Connection) -> list[tuple[str, int, int]]:
    """Each instance with the number of its seats and of the rooms that they are in."""
    return [(row[0], row[1], row[2]) for row in await conn.fetch(COUNT_SEATS)]


def _seat(row: asyncpg.Record) -> Seat:
    return Seat(**row)
