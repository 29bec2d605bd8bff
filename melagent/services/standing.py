"""What the credentials stand for with which open sockets came, asked for many at once, and the tickets to open one.

A socket outlives by far the moment for which a caller was checked, so the hub asks again every few seconds. A ticket
stands for the credential that it was given for, and ends with it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from melagent.services.access import BOOTSTRAP, Principal, Role, hash_key, principal_of
from melagent.services.sessions import IDLE_SECONDS, NOTED_SECONDS, digest_of
from melagent.store import sessions, tickets, tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from melagent.services.access import Keys
    from melagent.services.sessions import Session
    from melagent.store.pool import Pool

TICKET_SECONDS = 30.0

Kind = Literal["session", "key"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A session or an API key, by the hash of its token."""

    kind: Kind
    digest: bytes


def of_session(session: Session) -> Credential:
    return Credential("session", digest_of(session.token))


def of_key(key: str) -> Credential:
    return Credential("key", hash_key(key))


class Standing:
    """Answers from the database of this moment, never from memory."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._keys = keys

    async def find(self, credentials: Collection[Credential]) -> dict[Credential, Principal]:
        """Whom those of the credentials stand for that are good still."""
        given = (
            [c.digest for c in credentials if c.kind == "session"],
            [c.digest for c in credentials if c.kind == "key"],
        )
        async with self._pool.acquire() as conn:
            people = await sessions.find_all(conn, given[0], IDLE_SECONDS) if given[0] else {}
            keys = await tokens.find_all_valid(conn, given[1]) if given[1] else {}
        found = {Credential("key", digest): principal_of(key) for digest, key in keys.items()}
        for digest, (user_id, name, role) in people.items():
            found[Credential("session", digest)] = Principal(str(user_id), name, Role[role.upper()], kind="user")
        return found | {c: BOOTSTRAP for c in credentials if c.kind == "key" and self._keys.is_bootstrap(c.digest)}

    async def note_use(self, credentials: Collection[Credential]) -> None:
        """Keep sessions from ending for want of use: work that goes through a socket is use as well."""
        used = [credential.digest for credential in credentials if credential.kind == "session"]
        if used:
            async with self._pool.acquire() as conn:
                await sessions.touch_all(conn, used, NOTED_SECONDS)

    async def ticket(self, credential: Credential) -> str:
        """A ticket that opens one socket within half a minute, on any instance."""
        ticket = secrets.token_urlsafe(32)
        async with self._pool.acquire() as conn:
            await tickets.insert(conn, _digest(ticket), credential.kind, credential.digest, TICKET_SECONDS)
        return ticket

    async def use_ticket(self, ticket: str) -> tuple[Credential, Principal] | None:
        """Whom a ticket lets in, once; null for one that is unknown, used, too old, or whose credential has ended."""
        async with self._pool.acquire() as conn:
            used = await tickets.use(conn, _digest(ticket))
        if used is None:
            return None
        credential = Credential(cast(Kind, used[0]), used[1])
        principal = (await self.find([credential])).get(credential)
        return (credential, principal) if principal else None


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()
