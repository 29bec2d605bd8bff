"""People who are signed in: sessions of browsers, each named by a random token in a cookie.

A token is 256 random bits; only its SHA-256 is stored. A session that was looked up is trusted for two seconds, so that
one that ended is refused everywhere soon. It ends twelve hours after its last use, a week after its begin, and with
whatever raises the epoch of its user.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.services.access import Principal, Role
from melagent.services.memory import BriefMemory
from melagent.store import sessions
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from datetime import datetime

    from melagent.store.pool import Pool
    from melagent.store.rows import Account

TRUSTED_SECONDS = 2.0
IDLE_SECONDS = 12 * 3600.0
LIFETIME_SECONDS = 7 * 24 * 3600.0

NOTED_SECONDS = 60.0
"""So often a session is noted to be in use, so that a busy one costs a write a minute."""

MOST_OF_A_USER = 50


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. `token` is what the cookie holds."""

    principal: Principal
    email: str
    expires_at: datetime
    token: str

    @property
    def csrf_token(self) -> str:
        """What the pages of this session send along to show that they can read its answers.

        It follows from the token of the session, so it is good for this session only and is stored nowhere.
        """
        return _text(hashlib.sha256(b"csrf " + self.token.encode()).digest())

    def is_csrf_token(self, sent: str) -> bool:
        return hmac.compare_digest(self.csrf_token.encode(), sent.encode("utf-8", "surrogateescape"))


class Sessions:
    """The sessions of all instances, as this one sees them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known = BriefMemory(self._find, TRUSTED_SECONDS)

    async def begin(self, account: Account) -> str | None:
        """The token of a new session; null when the account can no longer sign in as it was when it was read."""
        token = _text(secrets.token_bytes(32))
        async with transaction(self._pool) as conn:
            if not await sessions.insert(conn, digest_of(token), account.id, account.epoch, LIFETIME_SECONDS):
                return None
            await sessions.keep_newest(conn, account.id, MOST_OF_A_USER)
        return token

    async def find(self, token: str) -> Session | None:
        """The session with this token; null when there is none, or it has ended."""
        return await self._known.get(token)

    async def end(self, token: str) -> None:
        """End a session: here at once, elsewhere within two seconds."""
        async with self._pool.acquire() as conn:
            await sessions.delete(conn, digest_of(token))
        self._known.forget(token)

    async def _find(self, token: str) -> Session | None:
        async with self._pool.acquire() as conn:
            row = await sessions.find(conn, digest_of(token), IDLE_SECONDS, NOTED_SECONDS)
            if row is None:
                return None
            if row.unseen:
                await sessions.touch(conn, digest_of(token))
        principal = Principal(str(row.user_id), row.name, Role[row.role.upper()], kind="user")
        return Session(principal, row.email, row.expires_at, token)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
