"""The people who may use the editor: made, listed, given passwords and removed. Sign-in is not here yet.

An email is compared and stored in lower case. A password is kept as its argon2id hash with the parameters that RFC 9106
recommends second (64 MiB, three passes), about 50 ms of work.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from argon2 import PasswordHasher

from melagent.errors import BadRequest, Conflict, NotFound, Problem
from melagent.store import users
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from melagent.services.access import Role
    from melagent.store.pool import Connection
    from melagent.store.rows import User

PASSWORD_CHARACTERS = (12, 1000)
"""At least and at most: the length is what keeps guessing hopeless, and a limit keeps hashing cheap."""

_EMAIL = re.compile(r"[^\s@\x00-\x1f\ud800-\udfff]{1,64}@[^\s@\x00-\x1f\ud800-\udfff]{1,189}")  # RFC 5321, 4.5.3.1
_NAME = re.compile(r"[^\x00-\x1f\ud800-\udfff]{1,200}")
_HASHER = PasswordHasher()


async def add(conn: Connection, email: str, name: str, role: Role, password: str) -> User:
    """Make a user; without a name the email is shown. Raises Conflict when the email is taken, BadRequest for what is
    no email, no name, or no password that may be used.
    """
    address = _address(email)
    if not _NAME.fullmatch(name or address):
        raise _unusable("name", "expected one line of at most 200 characters")
    hashed = _hashed(password)
    made = await users.insert(
        conn, new_id(), email=address, name=name or address, role=role.name.lower(), password_hash=hashed
    )
    if made is None:
        raise Conflict(f"There is a user {address} already.")
    return made


async def set_password(conn: Connection, email: str, password: str) -> None:
    """Replace a password. Raises NotFound, or BadRequest as above."""
    address = _address(email)
    if not await users.replace_password(conn, address, _hashed(password)):
        raise _unknown(address)


async def remove(conn: Connection, email: str) -> None:
    """Delete a user for good. Raises NotFound."""
    address = _address(email)
    if not await users.delete(conn, address):
        raise _unknown(address)


def new_password() -> str:
    """144 random bits as 24 characters."""
    return secrets.token_urlsafe(18)


def _hashed(password: str) -> str:
    least, most = PASSWORD_CHARACTERS
    if not least <= len(password) <= most:
        raise _unusable("password", f"expected {least} to {most:,} characters")
    try:
        return _HASHER.hash(password)
    except UnicodeEncodeError:
        raise _unusable("password", "expected text in UTF-8") from None


def _address(email: str) -> str:
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise _unusable("email", "expected an address such as ada@example.com")
    return address


def _unusable(field: str, problem: str) -> BadRequest:
    return BadRequest(f"This {field} cannot be used.", [Problem(field, problem)])


def _unknown(address: str) -> NotFound:
    return NotFound(f"There is no user {address}; `server user list` shows them.")
