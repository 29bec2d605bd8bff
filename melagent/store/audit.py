"""The audit log: who did what from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from melagent.store.ids import first_id_at
from melagent.store.rows import AuditRow, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

ActorKind = Literal["user", "key", "worker", "settings", "anybody"]

INSERT_AUDIT = """
INSERT INTO audit (id, at, actor_kind, actor_id, actor_name, action, ids, status, address, request_id, times)
SELECT id, at, actor_kind, actor_id, actor_name, action, ids::jsonb, status, address, request_id, times
  FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[],
              $9::text[], $10::text[], $11::int[])
    AS row (id, at, actor_kind, actor_id, actor_name, action, ids, status, address, request_id, times)
    ON CONFLICT (id) DO NOTHING
"""


async def insert(conn: Connection, rows: Sequence[AuditRow]) -> None:
    """Write rows, in one statement that may be repeated."""
    columns = (
        [row.id for row in rows],
        [row.at for row in rows],
        [row.actor_kind for row in rows],
        [row.actor_id for row in rows],
        [row.actor_name for row in rows],
        [row.action for row in rows],
        [row.ids.decode() for row in rows],
        [row.status for row in rows],
        [row.address for row in rows],
        [row.request_id for row in rows],
        [row.times for row in rows],
    )
    await conn.execute(INSERT_AUDIT, *columns)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to list; what is null does not matter. `subject` is any of a row's ids."""

    actor_id: str | None = None
    action: str | None = None
    subject: str | None = None
    address: str | None = None
    failed: bool | None = None


PAGE_OF_AUDIT = """
SELECT id, at, actor_kind, actor_id, actor_name, action, ids::text AS ids, status, address, request_id, times FROM audit
 WHERE id < $1 AND id >= $2 AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR action = $5)
   AND ($6::text IS NULL OR EXISTS (SELECT FROM jsonb_each_text(ids) WHERE value = $6))
   AND ($7::text IS NULL OR address = $7) AND ($8::bool IS NULL OR (status >= 400) = $8)
 ORDER BY id DESC LIMIT $3
"""


async def page(conn: Connection, wanted: Wanted, before: UUID, first: UUID, limit: int) -> list[AuditRow]:
    """The newest rows that are wanted, from `first` on and before `before`."""
    values = (wanted.actor_id, wanted.action, wanted.subject, wanted.address, wanted.failed)
    return [value_of(AuditRow, row) for row in await conn.fetch(PAGE_OF_AUDIT, before, first, limit, *values)]


AUDIT_HORIZON = "SELECT now() - make_interval(days => $1)"
SWEEP_AUDIT = "DELETE FROM audit WHERE id = ANY(ARRAY(SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2))"


async def sweep(conn: Connection, days: int, limit: int) -> int:
    """Delete up to `limit` rows that are older than so many days; how many there were."""
    horizon = first_id_at(await conn.fetchval(AUDIT_HORIZON, days))
    return int((await conn.execute(SWEEP_AUDIT, horizon, limit)).split()[-1])
