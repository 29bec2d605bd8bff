"""Secrets for those who work with them: runs that hold a lease and whose definition names the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.errors import BadRequest, Forbidden, NotFound, Unavailable
from melagent.services import oauth2
from melagent.services.connection_uses import named_in
from melagent.services.connections import Connections, checked, opened, type_named
from melagent.services.definitions import decode
from melagent.services.memory import BriefMemory
from melagent.services.workflows import found
from melagent.store import connections, versions

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.secrets import Secret
    from melagent.registry import Registry
    from melagent.services.oauth2 import OAuth
    from melagent.store.pool import Pool
    from melagent.vault import Vault

REMEMBERED_SECONDS = 600.0
"""How long it is remembered what a version names, which never changes."""

FIELD_OF_CALLERS = {"webhook_secret": "secret", "slack": "signing_secret"}
"""What is known to those who call a webhook, by the type of the connection."""


class Secrets:
    """Opens connections. What was opened is never kept: a change, and a rotation of keys, count at once."""

    def __init__(self, pool: Pool, vault: Vault, registry: Registry, oauth: OAuth) -> None:
        self._pool = pool
        self._connections = Connections(pool, vault)
        self._oauth = oauth
        self._registry = registry
        self._named = BriefMemory(self._read_named, REMEMBERED_SECONDS, limit=1_000)

    async def of_lease(self, worker_id: str, run_id: UUID, lease: UUID, connection_id: UUID) -> Secret:
        """The connection, for a worker that holds the run by this lease right now and whose definition names it.

        Raises Forbidden otherwise, NotFound for a connection that was deleted, UnknownKey and Tampered, and what
        `OAuth.opened` raises.
        """
        async with self._pool.acquire() as conn:
            version_id = await connections.leased_version(conn, run_id, lease, worker_id)
        if version_id is None:
            raise Forbidden("A worker gets secrets only for runs that it holds.")
        if connection_id not in await self._named.get(version_id):
            raise Forbidden("The definition of this run does not name this connection.")
        return await self.open(connection_id)

    async def open(self, connection_id: UUID) -> Secret:
        """The connection, for those who have seen to it that it may be opened."""
        stored = await self._connections.get(connection_id)
        if stored.credential_type == oauth2.TYPE:
            return await self._oauth.opened(stored)
        kind = type_named(stored.credential_type)
        return opened(stored, kind, checked(kind, self._connections.fields_of(stored)))

    async def secret(self, connection_id: UUID) -> str:
        """What callers of a webhook have to know. Raises Unavailable when there is no such connection or secret."""
        try:
            opened = await self.open(connection_id)
        except (NotFound, BadRequest):
            raise Unavailable(f"There is no connection {connection_id} that could be used.") from None
        secret = opened.fields.get(FIELD_OF_CALLERS.get(opened.type, ""))
        if not secret:
            raise Unavailable(f"The connection {opened.name!r} holds no secret that callers could prove to know.")
        return str(secret)

    async def _read_named(self, version_id: UUID) -> frozenset[UUID]:
        async with self._pool.acquire() as conn:
            text = found(await versions.definition_of(conn, version_id), "version")
        return frozenset(named.connection_id for named in named_in(decode(text), self._registry))
