"""Calls of webhooks that are kept to be looked at, and to be tried again. An id holds the time of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from melagent.store.ids import first_id_at

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection

Outcome = Literal["accepted", "duplicate", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A call and what became of it. `request` is JSON text `{method, path, query, headers}`, secrets masked.

    `body` is null when it was too large to be kept, or was not read. `reason` says why it was refused.
    """

    id: UUID
    trigger_id: UUID
    request: bytes
    body: bytes | None
    body_size: int
    outcome: Outcome
    status: int
    reason: str | None = None
    run_id: UUID | None = None


INSERT_DELIVERIES = """
INSERT INTO deliveries (id, trigger_id, request, body, body_size, outcome, status, reason, run_id)
SELECT new.* FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::integer[], $6::text[], $7::smallint[],
                         $8::text[], $9::uuid[])
    AS new (id, trigger_id, request, body, body_size, outcome, status, reason, run_id)
 WHERE EXISTS (SELECT FROM triggers WHERE triggers.id = new.trigger_id)
ON CONFLICT (id) DO NOTHING
"""


async def insert(conn: Connection, deliveries: Sequence[Delivery]) -> None:
    """Keep deliveries; those of triggers that are gone are left out. May be repeated."""
    await conn.execute(
        INSERT_DELIVERIES,
        [delivery.id for delivery in deliveries],
        [delivery.trigger_id for delivery in deliveries],
        [delivery.request for delivery in deliveries],
        [delivery.body for delivery in deliveries],
        [delivery.body_size for delivery in deliveries],
        [delivery.outcome for delivery in deliveries],
        [delivery.status for delivery in deliveries],
        [delivery.reason for delivery in deliveries],
        [delivery.run_id for delivery in deliveries],
    )


TRIM_DELIVERIES = """
DELETE FROM deliveries d USING unnest($1::uuid[]) AS t (id)
 WHERE d.trigger_id = t.id
   AND d.id <= (SELECT k.id FROM deliveries k WHERE k.trigger_id = t.id ORDER BY k.id DESC OFFSET $2 LIMIT 1)
"""


async def trim(conn: Connection, trigger_ids: Collection[UUID], keep: int) -> None:
    """Leave of each of these triggers the newest `keep` deliveries."""
    await conn.execute(TRIM_DELIVERIES, list(trigger_ids), keep)


SWEEP_DELIVERIES = """
DELETE FROM deliveries WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM deliveries WHERE id < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


async def sweep(conn: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` deliveries that arrived before a moment; how many there were."""
    return int((await conn.execute(SWEEP_DELIVERIES, first_id_at(before), limit)).split()[-1])


PAGE_OF_DELIVERIES = """
SELECT id, trigger_id, request, body, body_size, outcome, status, reason, run_id
  FROM deliveries WHERE trigger_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def page(conn: Connection, trigger_id: UUID, before: UUID, limit: int) -> list[Delivery]:
    """The deliveries of a trigger, newest first."""
    rows = await conn.fetch(PAGE_OF_DELIVERIES, trigger_id, before, limit)
    return [Delivery(**row) for row in rows]


FIND_DELIVERY = """
SELECT id, trigger_id, request, body, body_size, outcome, status, reason, run_id
  FROM deliveries WHERE id = $1 AND trigger_id = $2
"""


async def find(conn: Connection, trigger_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = await conn.fetchrow(FIND_DELIVERY, delivery_id, trigger_id)
    return Delivery(**row) if row else None
