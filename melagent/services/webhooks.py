"""Webhooks: from the token in an address to what a call of it starts.

What a token means is asked of the database at most once a second, so a deploy is seen everywhere within that time, and
at once on the instance that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.services.definitions import decode
from melagent.services.memory import BriefMemory
from melagent.services.starts import facts_of
from melagent.store import triggers, versions
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import WorkflowTrigger

REMEMBERED_SECONDS = 1.0
MAX_KNOWN_VERSIONS = 10_000
ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Hook:
    """An armed webhook: how it may be called, how it answers, and the run that a call starts."""

    workflow_id: UUID
    version_id: UUID
    trigger: Trigger
    node_id: str
    methods: tuple[str, ...]
    path: str
    sync: bool
    answered_by_node: bool
    status_code: int
    headers: Mapping[str, str]
    facts: Mapping[str, Any]

    def run(self, data: bytes) -> NewRun:
        return NewRun(
            id=new_id(),
            workflow_id=self.workflow_id,
            version_id=self.version_id,
            entry=self.node_id,
            input=data,
            trigger=self.trigger,
            **self.facts,
        )


class Webhooks:
    """Finds what a token stands for."""

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry
        self._hooks = BriefMemory(self._load, REMEMBERED_SECONDS)
        self._known: dict[UUID, dict[str, Any]] = {}

    async def find(self, token: str) -> Hook | None:
        """The armed and enabled webhook with this token."""
        return await self._hooks.get(token)

    def forget(self) -> None:
        """A version was deployed or a trigger changed on this instance: ask the database again."""
        self._hooks.forget()

    async def _load(self, token: str) -> Hook | None:
        async with self._pool.acquire() as conn:
            trigger = await triggers.find_by_token(conn, token)
            if trigger is None:
                return None
            if trigger.version_id not in self._known:
                await self._learn(conn, trigger.version_id, trigger.workflow_id)
        return self._hook(trigger, self._known[trigger.version_id])

    async def _learn(self, conn: Connection, version_id: UUID, workflow_id: UUID) -> None:
        """Versions never change, so what they say about their runs is read once."""
        text = await versions.definition_of(conn, version_id)
        if len(self._known) >= MAX_KNOWN_VERSIONS:
            self._known.clear()
        self._known[version_id] = facts_of(decode(text or b"{}"), self._registry, workflow_id)

    def _hook(self, trigger: WorkflowTrigger, facts: dict[str, Any]) -> Hook | None:
        node_type = self._registry.get(trigger.type)
        if node_type is None:
            return None
        params = node_type.params.model_validate(orjson.loads(trigger.config)).model_dump()
        return Hook(
            workflow_id=trigger.workflow_id,
            version_id=trigger.version_id,
            trigger=Trigger(trigger.type, trigger.id, trigger.node_id),
            node_id=trigger.node_id,
            methods=ANY_METHOD if params["method"] == "ANY" else (params["method"],),
            path=params["path"].strip("/"),
            sync=params["mode"] == "sync" and params["respond"] != "at_once",
            answered_by_node=params["respond"] == "http_response",
            status_code=params["status_code"],
            headers=params["headers"],
            facts=facts,
        )
