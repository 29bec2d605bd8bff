"""Webhooks: from the token in an address to what a call of it starts.

What a token means is asked of the database at most once a second, so a deploy is seen everywhere within that time, and
at once on the instance that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from melagent.services.definitions import decode
from melagent.services.hooks import CALLED_TYPES, Hook, hook_of
from melagent.services.memory import BriefMemory
from melagent.services.starts import facts_of
from melagent.services.webhook_tokens import TEST_PREFIX, hash_token
from melagent.store import trigger_tokens, triggers, versions, webhook_tests

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import WorkflowTrigger

REMEMBERED_SECONDS = 1.0
MAX_KNOWN_VERSIONS = 10_000


class Webhooks:
    """Finds what a token stands for. No webhook lets more than `per_second` calls pass, if that is given."""

    def __init__(self, pool: Pool, registry: Registry, per_second: float | None = None) -> None:
        self._pool = pool
        self._registry = registry
        self._per_second = per_second
        self._hooks = BriefMemory(self._load, REMEMBERED_SECONDS)
        self._known: dict[UUID, dict[str, Any]] = {}

    async def find(self, token: str) -> Hook | None:
        """The armed and enabled webhook with this token, or one that captures a call to a test address."""
        return await self._hooks.get(token)

    async def of(self, conn: Connection, trigger: WorkflowTrigger, *, captures: bool = False) -> Hook | None:
        """The webhook of a trigger; null when its type is not known here."""
        if trigger.version_id not in self._known:
            await self._learn(conn, trigger.version_id, trigger.workflow_id)
        node_type = self._registry.get(trigger.type)
        if node_type is None:
            return None
        return hook_of(trigger, node_type, self._known[trigger.version_id], self._per_second, captures=captures)

    def forget(self) -> None:
        """A version was deployed or a trigger changed on this instance: ask the database again."""
        self._hooks.forget()

    async def _load(self, token: str) -> Hook | None:
        testing = token.startswith(TEST_PREFIX)
        async with self._pool.acquire() as conn:
            trigger = await (_tested if testing else _called)(conn, hash_token(token))
            return await self.of(conn, trigger, captures=testing) if trigger is not None else None

    async def _learn(self, conn: Connection, version_id: UUID, workflow_id: UUID) -> None:
        """Versions never change, so what they say about their runs is read once."""
        text = await versions.definition_of(conn, version_id)
        if len(self._known) >= MAX_KNOWN_VERSIONS:
            self._known.clear()
        self._known[version_id] = facts_of(decode(text or b"{}"), self._registry, workflow_id)


async def _called(conn: Connection, token_hash: bytes) -> WorkflowTrigger | None:
    return await trigger_tokens.find_by_token(conn, token_hash, CALLED_TYPES)


async def _tested(conn: Connection, token_hash: bytes) -> WorkflowTrigger | None:
    """The trigger that a test address was made for; it need not be enabled."""
    trigger_id = await webhook_tests.listening(conn, token_hash)
    return await triggers.find_armed(conn, trigger_id) if trigger_id is not None else None
