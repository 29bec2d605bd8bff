"""People, by their email in lower case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import User, value_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_USER = """
INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT users_email DO NOTHING
RETURNING id, email, name, role, created_at, updated_at, disabled_at
"""


async def insert(
    conn: Connection, user_id: UUID, *, email: str, name: str, role: str, password_hash: str
) -> User | None:
    """The new user; null when somebody has this email already."""
    row = await conn.fetchrow(INSERT_USER, user_id, email, name, role, password_hash)
    return value_of(User, row) if row else None


LIST_USERS = "SELECT id, email, name, role, created_at, updated_at, disabled_at FROM users ORDER BY email"


async def list_all(conn: Connection) -> list[User]:
    """Everybody, disabled ones included, by email."""
    return [value_of(User, row) for row in await conn.fetch(LIST_USERS)]


REPLACE_HASH = "UPDATE users SET password_hash = $2, updated_at = now() WHERE email = $1"


async def replace_password(conn: Connection, email: str, password_hash: str) -> bool:
    """False when there is no such user."""
    return bool(await conn.execute(REPLACE_HASH, email, password_hash) == "UPDATE 1")


DELETE_USER = "DELETE FROM users WHERE email = $1"


async def delete(conn: Connection, email: str) -> bool:
    """False when there is no such user."""
    return bool(await conn.execute(DELETE_USER, email) == "DELETE 1")
