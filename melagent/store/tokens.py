"""The keys of people, scripts and workers, by the SHA-256 of the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Token, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from melagent.store.pool import Connection

INSERT_KEY = """
INSERT INTO tokens (id, kind, role, name, hash, expires_at, labels, scopes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at
"""


async def insert(
    conn: Connection,
    token_id: UUID,
    *,
    kind: str,
    role: str | None,
    name: str,
    key_hash: bytes,
    expires_at: datetime | None = None,
    labels: Sequence[str] = (),
    scopes: Sequence[str] = (),
) -> Token:
    row = await conn.fetchrow(INSERT_KEY, token_id, kind, role, name, key_hash, expires_at, labels, scopes)
    return value_of(Token, row)


FIND_VALID_KEY = """
SELECT id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at FROM tokens
 WHERE hash = $1 AND kind = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


async def find_valid(conn: Connection, key_hash: bytes, kind: str) -> Token | None:
    """The token of this key, unless it has expired or was revoked."""
    row = await conn.fetchrow(FIND_VALID_KEY, key_hash, kind)
    return value_of(Token, row) if row else None


FIND_VALID_KEYS = """
SELECT hash, id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at FROM tokens
 WHERE hash = ANY($1::bytea[]) AND kind = 'api' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


async def find_all_valid(conn: Connection, hashes: Sequence[bytes]) -> dict[bytes, Token]:
    """The API keys with these hashes, but for those that have expired or were revoked."""
    return {row["hash"]: _without_hash(row) for row in await conn.fetch(FIND_VALID_KEYS, hashes)}


def _without_hash(row: Record) -> Token:
    return value_of(Token, {name: value for name, value in row.items() if name != "hash"})


FIND_KEY = """
SELECT id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at FROM tokens
 WHERE hash = $1
"""


async def find(conn: Connection, key_hash: bytes) -> Token | None:
    """The token of this key, of either kind, good or not."""
    row = await conn.fetchrow(FIND_KEY, key_hash)
    return value_of(Token, row) if row else None


NOTE_USE = """
UPDATE tokens SET last_used_at = now()
 WHERE id = ANY($1::uuid[]) AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => $2))
"""


async def note_use(conn: Connection, token_ids: Sequence[UUID], seconds: float) -> None:
    """Note that tokens were used lately; a row is written once in so many seconds, however many instances tell."""
    await conn.execute(NOTE_USE, token_ids, seconds)


LIST_KEYS = """
SELECT id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at FROM tokens
 WHERE $1::text IS NULL OR kind = $1
 ORDER BY created_at, id
"""


async def list_all(conn: Connection, kind: str | None = None) -> list[Token]:
    """Every token, of one kind or of all, revoked and expired ones included; the oldest first."""
    return [value_of(Token, row) for row in await conn.fetch(LIST_KEYS, kind)]


PAGE_OF_KEYS = """
SELECT id, kind, role, name, created_at, expires_at, revoked_at, labels, scopes, last_used_at FROM tokens
 WHERE ($1::text IS NULL OR kind = $1) AND id < $2
 ORDER BY id DESC LIMIT $3
"""


async def page(conn: Connection, kind: str | None, before: UUID, limit: int) -> list[Token]:
    """The newest tokens older than `before`, of one kind or of all."""
    return [value_of(Token, row) for row in await conn.fetch(PAGE_OF_KEYS, kind, before, limit)]


COUNT_KEYS = "SELECT count(*) FROM tokens WHERE $1::text IS NULL OR kind = $1"


async def count(conn: Connection, kind: str | None) -> int:
    return int(await conn.fetchval(COUNT_KEYS, kind))


REVOKE_KEY = "UPDATE tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL"


async def revoke(conn: Connection, token_id: UUID) -> bool:
    """Take a key back. False when there is no such key or it was revoked before."""
    return bool(await conn.execute(REVOKE_KEY, token_id) == "UPDATE 1")
