"""People, by their email in lower case or by id. Whatever ends all sessions of a user raises the user's `epoch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Account, User, value_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

INSERT_USER = """
INSERT INTO users (id, email, name, role, password_hash, oidc_issuer, oidc_subject) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING
RETURNING id, email, name, role, created_at, updated_at, disabled_at
"""


async def insert(
    conn: Connection,
    user_id: UUID,
    *,
    email: str,
    name: str,
    role: str,
    password_hash: str | None = None,
    identity: tuple[str, str] | None = None,
) -> User | None:
    """The new user; null when there is one with this email or `identity`, an OpenID issuer and its subject."""
    issuer, subject = identity or (None, None)
    row = await conn.fetchrow(INSERT_USER, user_id, email, name, role, password_hash, issuer, subject)
    return value_of(User, row) if row else None


LIST_USERS = "SELECT id, email, name, role, created_at, updated_at, disabled_at FROM users ORDER BY email"


async def list_all(conn: Connection) -> list[User]:
    """Everybody, disabled ones included, by email."""
    return [value_of(User, row) for row in await conn.fetch(LIST_USERS)]


PAGE_OF_USERS = """
SELECT id, email, name, role, created_at, updated_at, disabled_at FROM users WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def page(conn: Connection, before: UUID, limit: int) -> list[User]:
    """The newest users older than `before`, disabled ones included."""
    return [value_of(User, row) for row in await conn.fetch(PAGE_OF_USERS, before, limit)]


COUNT_USERS = "SELECT count(*) FROM users"


async def count(conn: Connection) -> int:
    return int(await conn.fetchval(COUNT_USERS))


FIND_USER = "SELECT id, email, name, role, created_at, updated_at, disabled_at FROM users WHERE id = $1"


async def find(conn: Connection, user_id: UUID) -> User | None:
    row = await conn.fetchrow(FIND_USER, user_id)
    return value_of(User, row) if row else None


ACCOUNT_BY_EMAIL = "SELECT id, email, name, role, epoch, disabled_at, password_hash FROM users WHERE email = $1"
ACCOUNT_BY_ID = "SELECT id, email, name, role, epoch, disabled_at, password_hash FROM users WHERE id = $1"
ACCOUNT_BY_SUBJECT = """
SELECT id, email, name, role, epoch, disabled_at, password_hash FROM users WHERE oidc_issuer = $1 AND oidc_subject = $2
"""


async def account(conn: Connection, email: str) -> Account | None:
    """Whoever signs in with this email, disabled or not."""
    row = await conn.fetchrow(ACCOUNT_BY_EMAIL, email)
    return value_of(Account, row) if row else None


async def account_of(conn: Connection, user_id: UUID) -> Account | None:
    row = await conn.fetchrow(ACCOUNT_BY_ID, user_id)
    return value_of(Account, row) if row else None


async def account_of_subject(conn: Connection, issuer: str, subject: str) -> Account | None:
    """Whoever is known to an OpenID issuer by this subject."""
    row = await conn.fetchrow(ACCOUNT_BY_SUBJECT, issuer, subject)
    return value_of(Account, row) if row else None


BIND_SUBJECT = "UPDATE users SET oidc_issuer = $2, oidc_subject = $3 WHERE email = $1 AND oidc_subject IS NULL"


async def bind_subject(conn: Connection, email: str, issuer: str, subject: str) -> bool:
    """Make an account that of an OpenID subject. False when there is none with this email, or it is another's."""
    return bool(await conn.execute(BIND_SUBJECT, email, issuer, subject) == "UPDATE 1")


REPLACE_HASH = """
UPDATE users SET password_hash = $2, updated_at = now(), epoch = epoch + 1 WHERE email = $1
"""


async def replace_password(conn: Connection, email: str, password_hash: str) -> bool:
    """Set a password and end all sessions of the user. False when there is no such user."""
    return bool(await conn.execute(REPLACE_HASH, email, password_hash) == "UPDATE 1")


CHANGE_USER = """
UPDATE users
   SET name = coalesce($2, name), role = coalesce($3, role), password_hash = coalesce($4, password_hash),
       disabled_at = CASE WHEN $5 THEN coalesce(disabled_at, now()) WHEN NOT $5 THEN NULL ELSE disabled_at END,
       epoch = epoch + (coalesce($3 <> role, false) OR $4::text IS NOT NULL OR coalesce($5, false))::int,
       updated_at = now()
 WHERE id = $1
RETURNING id, email, name, role, created_at, updated_at, disabled_at
"""


async def change(
    conn: Connection,
    user_id: UUID,
    *,
    name: str | None = None,
    role: str | None = None,
    password_hash: str | None = None,
    disabled: bool | None = None,
) -> User | None:
    """Change what is given. Another role, a password, or to be disabled ends all sessions of the user."""
    row = await conn.fetchrow(CHANGE_USER, user_id, name, role, password_hash, disabled)
    return value_of(User, row) if row else None


REPLACE_OWN_HASH = """
UPDATE users SET password_hash = $3, updated_at = now(), epoch = epoch + 1 WHERE id = $1 AND epoch = $2
RETURNING epoch
"""


async def replace_own_password(conn: Connection, account: Account, password_hash: str) -> int | None:
    """Set a password, unless the sessions of the account have ended since it was read; the new epoch."""
    epoch = await conn.fetchval(REPLACE_OWN_HASH, account.id, account.epoch, password_hash)
    return None if epoch is None else int(epoch)


DELETE_USER = "DELETE FROM users WHERE email = $1"
DELETE_USER_BY_ID = "DELETE FROM users WHERE id = $1"


async def delete(conn: Connection, email: str) -> bool:
    """False when there is no such user. Sessions go with their user."""
    return bool(await conn.execute(DELETE_USER, email) == "DELETE 1")


async def delete_by_id(conn: Connection, user_id: UUID) -> bool:
    """As `delete`."""
    return bool(await conn.execute(DELETE_USER_BY_ID, user_id) == "DELETE 1")


LOCK_ADMINISTRATORS = "SELECT pg_advisory_xact_lock(hashtextextended('melagent.administrators', 0))"
COUNT_ADMINISTRATORS = "SELECT count(*) FROM users WHERE role = 'admin' AND (disabled_at IS NULL OR $1)"


async def lock_administrators(conn: Connection) -> None:
    """Be the only one who makes the first administrator or takes one away, until the transaction ends."""
    await conn.execute(LOCK_ADMINISTRATORS)


async def count_administrators(conn: Connection, *, disabled: bool = False) -> int:
    """How many may sign in; with `disabled` how many there are."""
    return int(await conn.fetchval(COUNT_ADMINISTRATORS, disabled))
