"""The drafts: one for each workflow, as a snapshot of its definition and the number that its edits have reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Snapshot, value_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection

FIND_DRAFTS = """
SELECT d.workflow_id, d.definition::text, d.snapshot_seq, d.seq, d.updated_at
  FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = ANY($1::uuid[]) AND w.deleted_at IS NULL
"""


async def find(conn: Connection, workflow_ids: Collection[UUID]) -> list[Snapshot]:
    """The drafts of these workflows, without those of deleted ones."""
    return [value_of(Snapshot, row) for row in await conn.fetch(FIND_DRAFTS, list(workflow_ids))]


LOCK_DRAFT = """
SELECT d.workflow_id, d.definition::text, d.snapshot_seq, d.seq, d.updated_at
  FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = $1 AND w.deleted_at IS NULL
   FOR UPDATE OF d
"""


async def lock(conn: Connection, workflow_id: UUID) -> Snapshot | None:
    """Hold a draft until the transaction ends: nobody else can add an edit or write a snapshot meanwhile."""
    row = await conn.fetchrow(LOCK_DRAFT, workflow_id)
    return value_of(Snapshot, row) if row else None


WRITE_SNAPSHOT = """
UPDATE drafts SET definition = $2::text::json, snapshot_seq = $3
 WHERE workflow_id = $1 AND snapshot_seq < $3 AND seq >= $3
"""


async def write_snapshot(conn: Connection, workflow_id: UUID, definition: bytes, seq: int) -> None:
    """Keep the definition of a draft as it was after the edit `seq`: readers need the edits up to there no longer."""
    await conn.execute(WRITE_SNAPSHOT, workflow_id, definition.decode(), seq)


DRAFTS_TO_COMPACT = """
SELECT d.workflow_id FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.seq > d.snapshot_seq AND w.deleted_at IS NULL
   AND (d.updated_at < now() - make_interval(secs => $1) OR d.seq - d.snapshot_seq > $2
        OR (SELECT sum(octet_length(e.ops::text)) FROM edits e
             WHERE e.workflow_id = d.workflow_id AND e.seq > d.snapshot_seq) > $3)
 LIMIT $4
"""


async def to_compact(conn: Connection, rest_seconds: float, edits: int, size: int, limit: int) -> list[UUID]:
    """Drafts whose snapshot is behind and that rest since so many seconds, or behind by more than these."""
    return [row["workflow_id"] for row in await conn.fetch(DRAFTS_TO_COMPACT, rest_seconds, edits, size, limit)]
