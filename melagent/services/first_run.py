"""The first administrator: by a set-up link that works once, or from the settings.

Both look for an administrator and make one under the same lock, so of all instances and links one makes the first.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from melagent.errors import Conflict, Forbidden, Gone
from melagent.services.access import Role
from melagent.services.users import add
from melagent.services.workflows import found
from melagent.store import setup_tokens, users
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from melagent.services.passwords import Hashing
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Account

LINK_SECONDS = 7 * 24 * 3600.0


async def link_token(pool: Pool) -> str | None:
    """A token for a set-up link, good on any instance for a week; null when there is an administrator.

    Tokens that were given out before stay good: after a restart the link on the screen still works.
    """
    token = secrets.token_urlsafe(32)
    async with pool.acquire() as conn:
        if await users.count_administrators(conn, disabled=True):
            return None
        await setup_tokens.insert(conn, _digest(token), LINK_SECONDS)
    return token


async def is_done(pool: Pool) -> bool:
    """Whether there is an administrator."""
    async with pool.acquire() as conn:
        return bool(await users.count_administrators(conn, disabled=True))


async def set_up(  # noqa: PLR0917  # what the form has
    pool: Pool, hashing: Hashing, token: str, email: str, name: str, password: str
) -> Account:
    """Make the first administrator. Forbidden for an unknown or expired token, Gone once there is an administrator."""
    async with pool.acquire() as conn:
        await _check(conn, token)
    password_hash = await hashing.hashed(password)
    async with transaction(pool) as conn:
        await users.lock_administrators(conn)
        await _check(conn, token)
        made = await add(conn, email, name, Role.ADMIN, password_hash)
        await setup_tokens.delete_all(conn)
        return found(await users.account_of(conn, made.id), "user")


async def from_settings(pool: Pool, hashing: Hashing, email: str, password: str) -> bool:
    """Make the first administrator as the settings say; false when there is one already."""
    async with pool.acquire() as conn:
        if await users.count_administrators(conn, disabled=True):
            return False
    password_hash = await hashing.hashed(password)
    async with transaction(pool) as conn:
        await users.lock_administrators(conn)
        if await users.count_administrators(conn, disabled=True):
            return False
        try:
            await add(conn, email, "", Role.ADMIN, password_hash)
        except Conflict as error:
            raise Conflict(f"{error.message} Make another one the administrator, or choose another email.") from None
        await setup_tokens.delete_all(conn)
    return True


async def _check(conn: Connection, token: str) -> None:
    if await users.count_administrators(conn, disabled=True):
        raise Gone("There is an administrator already.")
    if not await setup_tokens.is_good(conn, _digest(token)):
        raise Forbidden("This set-up link is unknown or has expired; start `server server` again for a new one.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
