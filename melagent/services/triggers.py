"""Triggers as people handle them: made by hand beside those of nodes, paused and resumed, fired at will."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.errors import Conflict, NotFound, Problem, Unprocessable
from melagent.services import connection_uses, webhook_tokens
from melagent.services.definitions import decode
from melagent.services.entries import entry_by_hand
from melagent.services.hooks import CALLED_TYPES
from melagent.services.schedules import settle
from melagent.services.starts import facts_of
from melagent.services.workflows import found
from melagent.store import connections, schedules, triggers, versions, workflows
from melagent.store.pool import transaction
from melagent.store.triggers import TriggerByHand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.engine.engine import Engine
    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import ListedTrigger
    from melagent.vault import Vault


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger to be made by hand. One that has this id already is left as it is."""

    id: UUID
    workflow_id: UUID
    type: str
    name: str
    config: Mapping[str, Any]
    enabled: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a trigger; null leaves it as it is."""

    name: str | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Triggers:
    """Whatever is changed here acts on every instance at once, or within a second when a hint gets lost."""

    pool: Pool
    engine: Engine
    registry: Registry
    vault: Vault

    async def get(self, trigger_id: UUID) -> ListedTrigger:
        async with self.pool.acquire() as conn:
            return found(await triggers.find(conn, trigger_id), "trigger")

    async def create(self, new: NewTrigger) -> tuple[ListedTrigger, str | None]:
        """Make a trigger that starts whichever version is deployed, where a start by hand enters.

        It waits while none is deployed. With a webhook that is new comes its token. NotFound; Unprocessable for a wrong
        config or connection, or when it is not clear where the deployed version is to be entered.
        """
        self._check(new.type, new.config)
        row = TriggerByHand(new.id, new.workflow_id, new.type, new.name, orjson.dumps(new.config), enabled=new.enabled)
        async with transaction(self.pool) as conn:
            before = await self._hold(conn, new.workflow_id)
            is_new = await triggers.insert(conn, row)
            if is_new:
                await self._connect(conn, new.id, new.type, new.config)
            is_called = is_new and new.type in CALLED_TYPES
            tokens = await webhook_tokens.give(conn, self.vault, [new.id] if is_called else [])
            await self._follow(conn, new.workflow_id, before)
            made = found(await triggers.find(conn, new.id), "trigger")
        self.engine.triggers_changed()
        return made, tokens.get(new.id)

    async def change(self, trigger_id: UUID, change: Change) -> ListedTrigger:
        """Change a trigger: one that belongs to a node can be paused and resumed only.

        A schedule that is paused fires nothing, and after it is resumed nothing that passed meanwhile.
        """
        known = await self.get(trigger_id)
        if known.node_id is not None and (change.name is not None or change.config is not None):
            raise Unprocessable("This trigger follows the deployed version.", _read_only(known.node_id, change))
        if change.config is not None:
            self._check(known.type, change.config)
        config = None if change.config is None else orjson.dumps(change.config)
        async with transaction(self.pool) as conn:
            before = await self._hold(conn, known.workflow_id)
            await triggers.change(conn, trigger_id, change.name, config, enabled=change.enabled)
            if change.config is not None:
                await self._connect(conn, trigger_id, known.type, change.config)
            await self._follow(conn, known.workflow_id, before)
            changed = found(await triggers.find(conn, trigger_id), "trigger")
        self.engine.triggers_changed()
        return changed

    async def delete(self, trigger_id: UUID) -> None:
        """Delete a trigger that was made by hand. Conflict for one that belongs to a node."""
        known = await self.get(trigger_id)
        if known.node_id is not None:
            raise Conflict(
                f"This trigger belongs to the node {known.node_id!r}: deploy a version without it, or pause it."
            )
        async with transaction(self.pool) as conn:
            await self._hold(conn, known.workflow_id)
            await triggers.delete(conn, trigger_id)
        self.engine.triggers_changed()

    async def fire(self, trigger_id: UUID, run_id: UUID, given: Any) -> None:
        """Start what the trigger starts, now and also when it is paused. The run stands for no planned moment.

        A run that has this id already is left as it is. Conflict while no version is deployed.
        """
        trigger = await self.get(trigger_id)
        entry = trigger.node_id or trigger.entry
        if trigger.version_id is None or entry is None:
            raise Conflict("No version of its workflow is deployed that this trigger could start.")
        async with self.pool.acquire() as conn:
            definition = decode(found(await versions.definition_of(conn, trigger.version_id), "version"))
        run = NewRun(
            id=run_id,
            workflow_id=trigger.workflow_id,
            version_id=trigger.version_id,
            entry=entry,
            input=orjson.dumps(given),
            trigger=Trigger(trigger.type, trigger.id, entry),
            **facts_of(definition, self.registry, trigger.workflow_id),
        )
        await self.engine.start(run)
        async with self.pool.acquire() as conn:
            await triggers.note_fired(conn, trigger_id)

    async def _hold(self, conn: Connection, workflow_id: UUID) -> Mapping[UUID, schedules.Held]:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        return await schedules.hold(conn, workflow_id)

    async def _follow(self, conn: Connection, workflow_id: UUID, before: Mapping[UUID, schedules.Held]) -> None:
        """Let the triggers made by hand start what is deployed, and bring all positions in line."""
        now = await schedules.hold(conn, workflow_id)
        needed = any(trigger.by_hand and trigger.enabled for trigger in now.values())
        version = await versions.find_current(conn, workflow_id)
        if version is not None:
            entry = entry_by_hand(decode(version.definition), self.registry, needed=needed)
            await triggers.follow(conn, workflow_id, version.id if entry else None, entry)
        await settle(conn, workflow_id, before)

    async def _connect(self, conn: Connection, trigger_id: UUID, type: str, config: Mapping[str, Any]) -> None:
        """Remember which connections a trigger names, so that nobody deletes them unawares.

        Unprocessable for one that is not there or does not fit.
        """
        named = connection_uses.named_by(found(self.registry.get(type), "type of trigger"), config)
        if wrong := await connection_uses.wrong_among(conn, named):
            raise Unprocessable("The trigger cannot work like this.", wrong)
        await connections.record_trigger_uses(conn, trigger_id, sorted({one.connection_id for one in named}))

    def _check(self, type: str, config: Mapping[str, Any]) -> None:
        """Raises Unprocessable with everything that is wrong with the config of a type of trigger."""
        node_type = found(self.registry.get(type), "type of trigger")
        if wrong := node_type.problems(config):
            problems = [Problem(f"config.{each.field}" if each.field else "config", each.problem) for each in wrong]
            raise Unprocessable("The trigger cannot work like this.", problems)


def _read_only(node_id: str, change: Change) -> list[Problem]:
    reason = f"It is that of the node {node_id!r}: change it there and deploy."
    return [Problem(field, reason) for field in ("name", "config") if getattr(change, field) is not None]
