"""The people who may use the editor: made, listed, changed and removed.

An email is compared and stored in lower case. Another role or password, or to be disabled, ends all sessions of a user.
The last administrator who may sign in stays one: else nobody could make another.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.errors import BadRequest, Conflict, NotFound, Problem
from melagent.services.workflows import found
from melagent.store import users
from melagent.store.ids import new_id
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from melagent.services.access import Role
    from melagent.services.passwords import PasswordHash
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import User

_EMAIL = re.compile(r"[^\s@\x00-\x1f\ud800-\udfff]{1,64}@[^\s@\x00-\x1f\ud800-\udfff]{1,189}")  # RFC 5321, 4.5.3.1
_NAME = re.compile(r"[^\x00-\x1f\ud800-\udfff]{1,200}")


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed of a user; null leaves it as it is."""

    name: str | None = None
    role: Role | None = None
    password_hash: PasswordHash | None = None
    disabled: bool | None = None


async def add(  # noqa: PLR0917  # the columns of a user
    conn: Connection,
    email: str,
    name: str,
    role: Role,
    password_hash: PasswordHash | None,
    identity: tuple[str, str] | None = None,
    user_id: UUID | None = None,
) -> User:
    """Make a user; without a name the email is shown. Raises Conflict when the email is taken, BadRequest for what is
    no email or no name. `identity` is an OpenID issuer and its subject.
    """
    address = address_of(email)
    _check_name(name or address)
    made = await users.insert(
        conn,
        user_id or new_id(),
        email=address,
        name=name or address,
        role=role.name.lower(),
        password_hash=password_hash,
        identity=identity,
    )
    if made is None:
        raise Conflict(f"There is a user {address} already.")
    return made


async def change(pool: Pool, user_id: UUID, wanted: Change) -> User:
    """Change a user. Raises NotFound, Conflict for the last administrator, BadRequest for what is no name."""
    if wanted.name is not None:
        _check_name(wanted.name)
    role = wanted.role.name.lower() if wanted.role else None
    async with _keeping_an_administrator(pool) as conn:
        changed = await users.change(
            conn,
            user_id,
            name=wanted.name,
            role=role,
            password_hash=wanted.password_hash,
            disabled=wanted.disabled,
        )
    return found(changed, "user")


async def remove(pool: Pool, user_id: UUID) -> None:
    """Delete a user for good. Raises NotFound, or Conflict for the last administrator."""
    async with _keeping_an_administrator(pool) as conn:
        if not await users.delete_by_id(conn, user_id):
            raise NotFound("There is no such user.")


async def set_password(conn: Connection, email: str, password_hash: PasswordHash) -> None:
    """Replace a password. Raises NotFound, or BadRequest as above."""
    address = address_of(email)
    if not await users.replace_password(conn, address, password_hash):
        raise _unknown(address)


async def remove_anybody(conn: Connection, email: str) -> None:
    """Delete a user for good, also the last administrator: for whoever can make one in the database."""
    address = address_of(email)
    if not await users.delete(conn, address):
        raise _unknown(address)


def address_of(email: str) -> str:
    """An email as it is stored. Raises BadRequest for what is none."""
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise _unusable("email", "expected an address such as ada@example.com")
    return address


@asynccontextmanager
async def _keeping_an_administrator(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction that fails when it takes away the last administrator; of two at once, the second one sees it."""
    async with transaction(pool) as conn:
        await users.lock_administrators(conn)
        before = await users.count_administrators(conn)
        yield conn
        if before and not await users.count_administrators(conn):
            raise Conflict("This is the last administrator; make another one first.")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _unusable("name", "expected one line of at most 200 characters")


def _unusable(field: str, problem: str) -> BadRequest:
    return BadRequest(f"This {field} cannot be used.", [Problem(field, problem)])


def _unknown(address: str) -> NotFound:
    return NotFound(f"There is no user {address}; `server user list` shows them.")
