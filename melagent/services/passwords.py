"""Passwords: argon2id in threads, a few at a time.

One check takes about 50 ms of a core and 64 MiB. So many attempts at once cost waiting, and neither the event loop nor
the memory of the instance; when too many wait, further ones are refused.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NewType

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from melagent.errors import BadRequest, Problem, RateLimited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PasswordHash = NewType("PasswordHash", str)

PASSWORD_CHARACTERS = (12, 1000)
"""At least and at most: the length is what keeps guessing hopeless, and a limit keeps hashing cheap."""

AT_ONCE = 2
WAITING = 32
WAIT_SECONDS = 2.0

NOBODYS_HASH = "$argon2id$v=19$m=65536,t=3,p=4$zFWNHBhAmNJZI5B2Gepldw$Jsql1xmkvza5KdMrOaqd1qopKOstQXW1IC4WgpTBEWc"
"""Of a random password that nobody knows: who is unknown is checked against it, and takes as long as anybody."""

_HASHER = PasswordHasher()


class Hashing:
    """Makes and checks argon2id hashes with the parameters that RFC 9106 recommends second (64 MiB, three passes)."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def hashed(self, password: str, field: str = "password") -> PasswordHash:
        """The hash to store. BadRequest, which names the field, for what is no password that may be used."""
        least, most = PASSWORD_CHARACTERS
        if not least <= len(password) <= most:
            raise _unusable(field, f"expected {least} to {most:,} characters")
        if not is_text(password):
            raise _unusable(field, "expected text in UTF-8, without NUL")
        async with self._place():
            return PasswordHash(await asyncio.to_thread(_HASHER.hash, password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether this is the password. Takes as long without a hash as with one. RateLimited when too many wait."""
        async with self._place():
            return await asyncio.to_thread(_matches, password, password_hash)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING:
            raise RateLimited(WAIT_SECONDS, "Too many passwords are being checked; try again.")
        self._waiting += 1
        try:
            async with self._places:
                yield
        finally:
            self._waiting -= 1


def new_password() -> str:
    """144 random bits as 24 characters."""
    return secrets.token_urlsafe(18)


def _matches(password: str, password_hash: str | None) -> bool:
    if len(password) > PASSWORD_CHARACTERS[1] or not is_text(password):
        password, password_hash = "", None
    try:
        _HASHER.verify(password_hash or NOBODYS_HASH, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def is_text(sent: str) -> bool:
    """Whether this can be written in UTF-8, and stored."""
    try:
        sent.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in sent


def _unusable(field: str, problem: str) -> BadRequest:
    return BadRequest("This password cannot be used.", [Problem(field, problem)])
