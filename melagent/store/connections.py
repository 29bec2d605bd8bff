"""Connections, with their secrets as blobs that only a vault opens, and what names them: nodes of current versions,
and triggers that were made by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from melagent.store.rows import value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """`config` is what may be seen, as JSON text; `secret` and `tokens` are sealed."""

    id: UUID
    name: str
    credential_type: str
    config: bytes
    secret: bytes
    secret_fields: list[str]
    tokens: bytes | None
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Use:
    """What names a connection: a node of the current version of a workflow, or a trigger of it made by hand.

    One of `node_id` and `trigger_id` is null.
    """

    workflow_id: UUID
    workflow_name: str
    node_id: str | None
    trigger_id: UUID | None


INSERT_CONNECTION = """
INSERT INTO connections (id, name, credential_type, config, secret, secret_fields, created_by)
VALUES ($1, $2, $3, $4::text::json, $5, $6, $7) ON CONFLICT (id) DO NOTHING
"""


async def insert(
    conn: Connection,
    connection_id: UUID,
    *,
    name: str,
    credential_type: str,
    config: Mapping[str, Any],
    secret: bytes,
    secret_fields: Collection[str],
    created_by: str,
) -> None:
    """Make a connection, unless there is one with this id."""
    text, names = orjson.dumps(config).decode(), sorted(secret_fields)
    await conn.execute(INSERT_CONNECTION, connection_id, name, credential_type, text, secret, names, created_by)


FIND_CONNECTION = """
SELECT id, name, credential_type, config::text, secret, secret_fields, tokens, created_by, created_at, updated_at
  FROM connections WHERE id = $1
"""


async def find(conn: Connection, connection_id: UUID) -> StoredConnection | None:
    row = await conn.fetchrow(FIND_CONNECTION, connection_id)
    return value_of(StoredConnection, row) if row else None


LOCK_CONNECTION = """
SELECT id, name, credential_type, config::text, secret, secret_fields, tokens, created_by, created_at, updated_at
  FROM connections WHERE id = $1 FOR NO KEY UPDATE
"""


async def lock(conn: Connection, connection_id: UUID) -> StoredConnection | None:
    """The connection, which nobody else changes until the transaction ends."""
    row = await conn.fetchrow(LOCK_CONNECTION, connection_id)
    return value_of(StoredConnection, row) if row else None


PATIENCE = """
SET LOCAL lock_timeout = '30s';
SET LOCAL statement_timeout = '30s';
SET LOCAL idle_in_transaction_session_timeout = '30s'
"""


async def lock_for_call(conn: Connection, connection_id: UUID) -> StoredConnection | None:
    """As `lock`, for a transaction that calls a third party before it ends, and waits for others who do."""
    await conn.execute(PATIENCE)
    return await lock(conn, connection_id)


PAGE_OF_CONNECTIONS = """
SELECT id, name, credential_type, config::text, secret, secret_fields, tokens, created_by, created_at, updated_at
  FROM connections WHERE ($1::text IS NULL OR credential_type = $1) AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def page(conn: Connection, credential_type: str | None, before: UUID, limit: int) -> list[StoredConnection]:
    """The newest connections older than `before`, of one type or of all."""
    return [
        value_of(StoredConnection, row) for row in await conn.fetch(PAGE_OF_CONNECTIONS, credential_type, before, limit)
    ]


COUNT_CONNECTIONS = "SELECT count(*) FROM connections WHERE $1::text IS NULL OR credential_type = $1"


async def count(conn: Connection, credential_type: str | None) -> int:
    return int(await conn.fetchval(COUNT_CONNECTIONS, credential_type))


UPDATE_CONNECTION = """
UPDATE connections SET name = $2, config = $3::text::json, secret = $4, secret_fields = $5, tokens = $6,
       updated_at = now()
 WHERE id = $1
"""


async def update(
    conn: Connection,
    connection_id: UUID,
    *,
    name: str,
    config: Mapping[str, Any],
    secret: bytes,
    secret_fields: Collection[str],
    tokens: bytes | None,
) -> None:
    text, names = orjson.dumps(config).decode(), sorted(secret_fields)
    await conn.execute(UPDATE_CONNECTION, connection_id, name, text, secret, names, tokens)


SET_TOKENS = "UPDATE connections SET tokens = $2 WHERE id = $1"


async def set_tokens(conn: Connection, connection_id: UUID, tokens: bytes | None) -> None:
    """Keep what OAuth 2 has given; nobody has edited the connection."""
    await conn.execute(SET_TOKENS, connection_id, tokens)


DELETE_CONNECTION = "DELETE FROM connections WHERE id = $1"


async def delete(conn: Connection, connection_id: UUID) -> bool:
    """Delete a connection that nothing names. False when there is none."""
    return bool(await conn.execute(DELETE_CONNECTION, connection_id) == "DELETE 1")


TYPES_OF_CONNECTIONS = "SELECT id, credential_type FROM connections WHERE id = ANY($1::uuid[])"


async def types_of(conn: Connection, connection_ids: Iterable[UUID]) -> dict[UUID, str]:
    """The types of those that are there."""
    rows = await conn.fetch(TYPES_OF_CONNECTIONS, list(connection_ids))
    return {row["id"]: row["credential_type"] for row in rows}


USES_OF_CONNECTION = """
SELECT u.workflow_id, w.name AS workflow_name, u.node_id, u.trigger_id
  FROM (SELECT workflow_id, node_id, NULL::uuid AS trigger_id FROM connection_uses WHERE connection_id = $1
         UNION ALL
        SELECT t.workflow_id, NULL, t.id FROM trigger_uses JOIN triggers t ON t.id = trigger_id
         WHERE connection_id = $1) u
  JOIN workflows w ON w.id = u.workflow_id
 ORDER BY w.name, u.workflow_id, u.node_id, u.trigger_id LIMIT 100
"""


async def uses(conn: Connection, connection_id: UUID) -> list[Use]:
    """Where a connection is named; the first hundred."""
    return [value_of(Use, row) for row in await conn.fetch(USES_OF_CONNECTION, connection_id)]


FORGET_USES = "DELETE FROM connection_uses WHERE workflow_id = $1"

RECORD_USES = """
INSERT INTO connection_uses (workflow_id, node_id, connection_id)
SELECT $1, node_id, connection_id FROM unnest($2::text[], $3::uuid[]) AS named (node_id, connection_id)
ON CONFLICT DO NOTHING
"""


async def record_uses(conn: Connection, workflow_id: UUID, named: Collection[tuple[str, UUID]]) -> None:
    """Replace what the current version of a workflow names, given as node and connection."""
    await conn.execute(FORGET_USES, workflow_id)
    if named:
        nodes, connection_ids = zip(*named, strict=True)
        await conn.execute(RECORD_USES, workflow_id, list(nodes), list(connection_ids))


FORGET_TRIGGER_USES = "DELETE FROM trigger_uses WHERE trigger_id = $1"

RECORD_TRIGGER_USES = """
INSERT INTO trigger_uses (trigger_id, connection_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING
"""


async def record_trigger_uses(conn: Connection, trigger_id: UUID, connection_ids: Collection[UUID]) -> None:
    """Replace what a trigger of a locked workflow names that was made by hand."""
    await conn.execute(FORGET_TRIGGER_USES, trigger_id)
    if connection_ids:
        await conn.execute(RECORD_TRIGGER_USES, trigger_id, list(connection_ids))


FORGET_USES_IN = """
WITH by_hand AS (
    DELETE FROM trigger_uses USING triggers WHERE triggers.id = trigger_id AND triggers.workflow_id = $1)
DELETE FROM connection_uses WHERE workflow_id = $1
"""


async def forget_uses_in(conn: Connection, workflow_id: UUID) -> None:
    """Forget what a locked workflow names, in its current version and in triggers made by hand."""
    await conn.execute(FORGET_USES_IN, workflow_id)


FORGET_USES_OF = """
WITH by_hand AS (DELETE FROM trigger_uses WHERE connection_id = $1)
DELETE FROM connection_uses WHERE connection_id = $1
"""


async def forget_uses_of(conn: Connection, connection_id: UUID) -> None:
    await conn.execute(FORGET_USES_OF, connection_id)


LEASED_VERSION = """
SELECT r.version_id FROM work_items w JOIN runs r ON r.id = w.run_id
 WHERE w.run_id = $1 AND w.lease = $2 AND w.worker_id = $3 AND w.lease_expires_at > now()
"""


async def leased_version(conn: Connection, run_id: UUID, lease: UUID, worker_id: str) -> UUID | None:
    """The version of a run that a worker holds by this lease right now."""
    return await conn.fetchval(LEASED_VERSION, run_id, lease, worker_id)  # type: ignore[no-any-return]  # no types
