"""The table of workflows. A deleted workflow is kept for the history of its runs and found by no function here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import StoredWorkflow, Workflow, value_of, workflow_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_WORKFLOW = """
WITH made AS (
    INSERT INTO workflows (id, name, description) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING
    RETURNING id, name, description, current_version, created_at, updated_at
), draft AS (
    INSERT INTO drafts (workflow_id, definition) SELECT id, $4::text::json FROM made
    RETURNING definition
)
SELECT made.id, name, description, definition::text, current_version, true AS has_changes, created_at, updated_at
  FROM made, draft
"""


async def insert(
    conn: Connection, workflow_id: UUID, name: str, description: str, definition: bytes
) -> Workflow | None:
    """Make a workflow and its draft at revision 1. Null when the id is taken."""
    row = await conn.fetchrow(INSERT_WORKFLOW, workflow_id, name, description, definition.decode())
    return value_of(Workflow, row) if row else None


FIND_WORKFLOW = """
SELECT w.id, w.name, w.description, d.definition::text, w.current_version,
       d.definition::text IS DISTINCT FROM v.definition::text AS has_changes, w.created_at, w.updated_at,
       d.seq > d.snapshot_seq AS is_behind
  FROM workflows w
  JOIN drafts d ON d.workflow_id = w.id
  LEFT JOIN versions v ON v.workflow_id = w.id AND v.version_number = w.current_version
 WHERE w.id = $1 AND w.deleted_at IS NULL
"""


async def find(conn: Connection, workflow_id: UUID) -> StoredWorkflow | None:
    row = await conn.fetchrow(FIND_WORKFLOW, workflow_id)
    return workflow_of(row) if row else None


NAMED_WORKFLOWS = "SELECT id FROM workflows WHERE name = $1 AND deleted_at IS NULL ORDER BY id LIMIT 10"


async def named(conn: Connection, name: str) -> list[UUID]:
    """The workflows with this name; at most ten."""
    return [row["id"] for row in await conn.fetch(NAMED_WORKFLOWS, name)]


LIST_WORKFLOWS = """
SELECT w.id, w.name, w.description, d.definition::text, w.current_version,
       d.definition::text IS DISTINCT FROM v.definition::text AS has_changes, w.created_at, w.updated_at,
       d.seq > d.snapshot_seq AS is_behind
  FROM workflows w
  JOIN drafts d ON d.workflow_id = w.id
  LEFT JOIN versions v ON v.workflow_id = w.id AND v.version_number = w.current_version
 WHERE w.deleted_at IS NULL AND w.id < $1 AND strpos(lower(w.name || ' ' || w.description), lower($3)) > 0
 ORDER BY w.id DESC LIMIT $2
"""


async def page(conn: Connection, before: UUID, limit: int, search: str = "") -> list[StoredWorkflow]:
    """The newest workflows older than `before` that have `search` in what is written about them, newest first."""
    return [workflow_of(row) for row in await conn.fetch(LIST_WORKFLOWS, before, limit, search)]


COUNT_WORKFLOWS = """
SELECT count(*) FROM workflows
 WHERE deleted_at IS NULL AND strpos(lower(name || ' ' || description), lower($1)) > 0
"""


async def count(conn: Connection, search: str = "") -> int:
    return int(await conn.fetchval(COUNT_WORKFLOWS, search))


LOCK_WORKFLOW = "SELECT current_version FROM workflows WHERE id = $1 AND deleted_at IS NULL FOR UPDATE"


async def lock(conn: Connection, workflow_id: UUID) -> bool:
    """Hold the workflow until the transaction ends: versions, deploys and deletion go one after the other."""
    return await conn.fetchrow(LOCK_WORKFLOW, workflow_id) is not None


UPDATE_WORKFLOW = """
UPDATE workflows SET name = $2, description = coalesce($3, description), updated_at = now() WHERE id = $1
"""


async def update(conn: Connection, workflow_id: UUID, name: str, description: str | None) -> None:
    """Change a locked workflow; a null description is left as it is."""
    await conn.execute(UPDATE_WORKFLOW, workflow_id, name, description)


SET_CURRENT_VERSION = """
UPDATE workflows w SET current_version = v.version_number, updated_at = now()
  FROM versions v
 WHERE w.id = $1 AND v.id = $2 AND v.workflow_id = w.id
"""


async def set_current_version(conn: Connection, workflow_id: UUID, version_id: UUID) -> None:
    """Make a version of a locked workflow the current one."""
    await conn.execute(SET_CURRENT_VERSION, workflow_id, version_id)


MARK_WORKFLOW_DELETED = "UPDATE workflows SET deleted_at = now(), updated_at = now() WHERE id = $1"


async def mark_deleted(conn: Connection, workflow_id: UUID) -> None:
    await conn.execute(MARK_WORKFLOW_DELETED, workflow_id)
