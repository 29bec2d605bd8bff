"""The drafts: one editable definition for each workflow, numbered by its revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Draft, value_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

FIND_DRAFT = """
SELECT d.workflow_id, d.definition::text, d.seq AS revision, d.updated_at
  FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = $1 AND w.deleted_at IS NULL
"""


async def find(conn: Connection, workflow_id: UUID) -> Draft | None:
    row = await conn.fetchrow(FIND_DRAFT, workflow_id)
    return value_of(Draft, row) if row else None


LOCK_DRAFT = """
SELECT d.workflow_id, d.definition::text, d.seq AS revision, d.updated_at
  FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = $1 AND w.deleted_at IS NULL
   FOR UPDATE OF d
"""


async def lock(conn: Connection, workflow_id: UUID) -> Draft | None:
    """Hold a draft until the transaction ends: edits go one after the other, each on what the one before left."""
    row = await conn.fetchrow(LOCK_DRAFT, workflow_id)
    return value_of(Draft, row) if row else None


REPLACE_DRAFT = """
UPDATE drafts d SET definition = $2::text::json, seq = d.seq + 1, updated_at = now()
  FROM workflows w
 WHERE d.workflow_id = $1 AND w.id = d.workflow_id AND w.deleted_at IS NULL AND ($3::bigint IS NULL OR d.seq = $3)
RETURNING d.workflow_id, d.definition::text, d.seq AS revision, d.updated_at
"""


async def replace(conn: Connection, workflow_id: UUID, definition: bytes, revision: int | None) -> Draft | None:
    """Store a new definition if the draft still is at `revision` (null: whatever it is at). Null when it is not."""
    row = await conn.fetchrow(REPLACE_DRAFT, workflow_id, definition.decode(), revision)
    return value_of(Draft, row) if row else None
