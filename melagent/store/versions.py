"""The versions: numbered ones of workflows, and unlisted ones that belong to runs of a file or of a draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Version, value_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_VERSION = """
INSERT INTO versions (id, workflow_id, version_number, name, description, definition, definition_hash, created_by)
SELECT $1, $2::uuid, coalesce(max(version_number), 0) + 1, $3, $4, $5::text::json, $6, $7
  FROM versions WHERE workflow_id = $2
ON CONFLICT (id) DO NOTHING
RETURNING id, workflow_id, version_number, name, description, definition::text, created_by, created_at,
          false AS is_current
"""


async def insert(
    conn: Connection,
    version_id: UUID,
    workflow_id: UUID,
    *,
    name: str,
    description: str,
    definition: bytes,
    definition_hash: bytes,
    created_by: str,
) -> Version | None:
    """Make the next version of a locked workflow. Null when the id is taken."""
    values = (name, description, definition.decode(), definition_hash, created_by)
    row = await conn.fetchrow(INSERT_VERSION, version_id, workflow_id, *values)
    return value_of(Version, row) if row else None


FIND_MADE_VERSION = """
SELECT v.id, v.workflow_id, v.version_number, v.name, v.description, v.definition::text, v.created_by, v.created_at,
       v.version_number = w.current_version IS TRUE AS is_current
  FROM versions v JOIN workflows w ON w.id = v.workflow_id
 WHERE v.id = $1 AND v.workflow_id = $2
"""


async def find_made(conn: Connection, version_id: UUID, workflow_id: UUID) -> Version | None:
    row = await conn.fetchrow(FIND_MADE_VERSION, version_id, workflow_id)
    return value_of(Version, row) if row else None


INSERT_UNLISTED_VERSION = """
INSERT INTO versions (id, name, definition, definition_hash, created_by) VALUES ($1, $2, $3::text::json, $4, $5)
ON CONFLICT (definition_hash) WHERE workflow_id IS NULL DO NOTHING
"""
FIND_UNLISTED_VERSION = "SELECT id FROM versions WHERE definition_hash = $1 AND workflow_id IS NULL"


async def keep_unlisted(
    conn: Connection, version_id: UUID, *, name: str, definition: bytes, definition_hash: bytes, created_by: str
) -> UUID:
    """The id of the unlisted version with this definition: an earlier one, else the one made now."""
    known = await conn.fetchval(FIND_UNLISTED_VERSION, definition_hash)
    if known is None:
        values = (name, definition.decode(), definition_hash, created_by)
        await conn.execute(INSERT_UNLISTED_VERSION, version_id, *values)
        known = await conn.fetchval(FIND_UNLISTED_VERSION, definition_hash)
    return known  # type: ignore[no-any-return]  # the driver has no types


FIND_VERSION = """
SELECT v.id, v.workflow_id, v.version_number, v.name, v.description, v.definition::text, v.created_by, v.created_at,
       v.version_number = w.current_version IS TRUE AS is_current
  FROM versions v JOIN workflows w ON w.id = v.workflow_id
 WHERE v.workflow_id = $1 AND v.version_number = $2 AND w.deleted_at IS NULL
"""


async def find(conn: Connection, workflow_id: UUID, version_number: int) -> Version | None:
    row = await conn.fetchrow(FIND_VERSION, workflow_id, version_number)
    return value_of(Version, row) if row else None


FIND_VERSION_BY_ID = """
SELECT v.id, v.workflow_id, v.version_number, v.name, v.description, v.definition::text, v.created_by, v.created_at,
       v.version_number = w.current_version AS is_current
  FROM workflows w JOIN versions v ON v.workflow_id = w.id
 WHERE w.id = $1 AND v.id = $2 AND w.deleted_at IS NULL
"""


async def find_by_id(conn: Connection, workflow_id: UUID, version_id: UUID) -> Version | None:
    row = await conn.fetchrow(FIND_VERSION_BY_ID, workflow_id, version_id)
    return value_of(Version, row) if row else None


FIND_CURRENT_VERSION = """
SELECT v.id, v.workflow_id, v.version_number, v.name, v.description, v.definition::text, v.created_by, v.created_at,
       true AS is_current
  FROM workflows w JOIN versions v ON v.workflow_id = w.id AND v.version_number = w.current_version
 WHERE w.id = $1 AND w.deleted_at IS NULL
"""


async def find_current(conn: Connection, workflow_id: UUID) -> Version | None:
    row = await conn.fetchrow(FIND_CURRENT_VERSION, workflow_id)
    return value_of(Version, row) if row else None


CURRENT_DEFINITIONS = """
SELECT w.id, v.definition::text FROM workflows w
  JOIN versions v ON v.workflow_id = w.id AND v.version_number = w.current_version
 WHERE w.id = ANY($1::uuid[])
"""


async def current_definitions(conn: Connection, workflow_ids: Collection[UUID]) -> dict[UUID, bytes]:
    """What is deployed of these workflows."""
    rows = await conn.fetch(CURRENT_DEFINITIONS, list(workflow_ids))
    return {row["id"]: row["definition"].encode() for row in rows}


LIST_VERSIONS = """
SELECT v.id, v.workflow_id, v.version_number, v.name, v.description, v.definition::text, v.created_by, v.created_at,
       v.version_number = w.current_version IS TRUE AS is_current
  FROM versions v JOIN workflows w ON w.id = v.workflow_id
 WHERE v.workflow_id = $1 AND w.deleted_at IS NULL AND v.version_number < $2
 ORDER BY v.version_number DESC LIMIT $3
"""


async def page(conn: Connection, workflow_id: UUID, before: int, limit: int) -> list[Version]:
    """The versions of a workflow with a number below `before`, newest first."""
    return [value_of(Version, row) for row in await conn.fetch(LIST_VERSIONS, workflow_id, before, limit)]


COUNT_VERSIONS = "SELECT count(*) FROM versions WHERE workflow_id = $1"


async def count(conn: Connection, workflow_id: UUID) -> int:
    return int(await conn.fetchval(COUNT_VERSIONS, workflow_id))


FIND_DEFINITION = "SELECT definition::text FROM versions WHERE id = $1"


async def definition_of(conn: Connection, version_id: UUID) -> bytes | None:
    """The definition of any version, listed or not, also of a deleted workflow."""
    text = await conn.fetchval(FIND_DEFINITION, version_id)
    return text.encode() if text is not None else None
