"""Tokens of triggers that are called: of each only its SHA-256, and a sealed copy where there is an encryption key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import WorkflowTrigger, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

SET_TOKENS = """
UPDATE triggers t SET token_hash = new.hash, token_sealed = new.sealed, token = NULL, updated_at = now()
  FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS new (id, hash, sealed)
 WHERE t.id = new.id
"""


async def set_tokens(conn: Connection, tokens: Sequence[tuple[UUID, bytes, bytes | None]]) -> None:
    """Give triggers, by their ids, tokens: the hash, and the sealed copy if there is one."""
    await conn.execute(SET_TOKENS, *([row[column] for row in tokens] for column in range(3)))


LOCK_CALLED = "SELECT FROM triggers WHERE id = $1 AND active AND type = ANY($2::text[]) FOR UPDATE"


async def lock_called(conn: Connection, trigger_id: UUID, types: Sequence[str]) -> bool:
    """Hold an armed trigger of one of these types to the end of the transaction; whether there is one."""
    return await conn.fetchrow(LOCK_CALLED, trigger_id, list(types)) is not None


PLAIN_TOKENS = "SELECT id, token FROM triggers WHERE token IS NOT NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"


async def plain_tokens(conn: Connection, limit: int) -> dict[UUID, str]:
    """Up to `limit` tokens that an earlier version left in plain text, locked; by the ids of their triggers."""
    return {row["id"]: row["token"] for row in await conn.fetch(PLAIN_TOKENS, limit)}


HASH_PLAIN_TOKENS = """
UPDATE triggers SET token_hash = sha256(convert_to(token, 'UTF8')) WHERE token IS NOT NULL AND token_hash IS NULL
"""


async def hash_plain_tokens(conn: Connection) -> None:
    """Let triggers be found whose token an earlier version stored in plain text."""
    await conn.execute(HASH_PLAIN_TOKENS)


FIND_CALLED_TRIGGER = """
SELECT t.id, t.workflow_id, coalesce(t.node_id, t.entry) AS node_id, t.type, t.name, t.config::text, t.version_id,
       t.enabled, t.created_at, t.updated_at
  FROM triggers t
 WHERE t.token_hash = $1 AND t.type = ANY($2::text[]) AND t.active AND t.enabled AND t.version_id IS NOT NULL
"""


async def find_by_token(conn: Connection, token_hash: bytes, types: Sequence[str]) -> WorkflowTrigger | None:
    """The armed and enabled trigger of one of these types that an address names."""
    row = await conn.fetchrow(FIND_CALLED_TRIGGER, token_hash, list(types))
    return value_of(WorkflowTrigger, row) if row else None
