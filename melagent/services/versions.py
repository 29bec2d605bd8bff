"""Versions: made from a draft or a file, deployed by making one current and bringing its triggers in line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from melagent.errors import NotFound, Unprocessable
from melagent.services import connection_uses, drafts, webhook_tokens
from melagent.services.definitions import decode, encode, fingerprint
from melagent.services.entries import MANUAL, entry_by_hand
from melagent.services.hooks import CALLED_TYPES
from melagent.services.problems import problems
from melagent.services.schedules import settle
from melagent.services.workflows import found, not_behind
from melagent.store import schedules, triggers, versions, workflows
from melagent.store.ids import new_id
from melagent.store.pool import transaction
from melagent.store.triggers import TriggerNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Version
    from melagent.vault import Vault

ERROR_TRIGGER, ERROR = "error_trigger", "error"
"""A trigger is called as the runs that it starts; only this one is not called like its node."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version that was made current, and the tokens of webhooks that it brought, by trigger, with their nodes."""

    version: Version
    new_tokens: Mapping[UUID, tuple[str, str]]


async def create(
    pool: Pool,
    workflow_id: UUID,
    *,
    name: str,
    description: str,
    definition: Definition | None,
    created_by: str,
    min_revision: int | None = None,
    version_id: UUID | None = None,
) -> Version:
    """Make the next version, from the draft when no definition is given.

    A version that has this id already is answered as it is. Raises DraftBehind when the draft has not reached
    `min_revision`.
    """
    version_id = version_id or new_id()
    async with transaction(pool) as conn:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        if definition is None:
            draft = await drafts.read(conn, workflow_id)
            not_behind(draft.revision, min_revision)
            text = draft.definition
        else:
            text = encode(definition)
        made = await versions.insert(
            conn,
            version_id,
            workflow_id,
            name=name,
            description=description,
            definition=text,
            definition_hash=fingerprint(text),
            created_by=created_by,
        )
        return made or found(await versions.find_made(conn, version_id, workflow_id), "version")


async def get(pool: Pool, workflow_id: UUID, version_number: int) -> Version:
    async with pool.acquire() as conn:
        return found(await versions.find(conn, workflow_id, version_number), "version")


async def current(pool: Pool, workflow_id: UUID) -> Version:
    async with pool.acquire() as conn:
        found(await workflows.find(conn, workflow_id), "workflow")
        return found(await versions.find_current(conn, workflow_id), "version: none is deployed")


async def latest(pool: Pool, workflow_id: UUID) -> Version:
    newest, _ = await page(pool, workflow_id, before=2**31 - 1, limit=1)
    return found(newest[0] if newest else None, "version: none was made yet")


async def page(pool: Pool, workflow_id: UUID, before: int, limit: int) -> tuple[list[Version], int]:
    """The versions with a number below `before`, newest first, and how many there are in all."""
    async with pool.acquire() as conn:
        found(await workflows.find(conn, workflow_id), "workflow")
        return await versions.page(conn, workflow_id, before, limit), await versions.count(conn, workflow_id)


async def deploy(pool: Pool, registry: Registry, vault: Vault, workflow_id: UUID, version: Version) -> Deployment:
    """Make a version current and bring the triggers in line, in one transaction.

    Raises Unprocessable with every problem of the definition, or when a trigger that was made by hand would not know
    where to start it. Rolling back is deploying an older version.
    """
    definition = checked(decode(version.definition), registry)
    nodes = list(_trigger_nodes(definition, registry))
    async with transaction(pool) as conn:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        await refuse_wrong_connections(conn, definition, registry)
        await connection_uses.record(conn, workflow_id, definition, registry)
        before = await schedules.hold(conn, workflow_id)
        by_hand = [trigger for trigger in before.values() if trigger.by_hand and trigger.enabled]
        entry = entry_by_hand(definition, registry, needed=bool(by_hand))
        await workflows.set_current_version(conn, workflow_id, version.id)
        await triggers.retire(conn, workflow_id, keep=[node.node_id for node in nodes])
        armed = await triggers.arm(conn, workflow_id, version.id, nodes)
        await triggers.follow(conn, workflow_id, version.id if entry else None, entry)
        await settle(conn, workflow_id, before)
        called = {node.node_id for node in nodes if node.type in CALLED_TYPES}
        nodes_of = {trigger.id: trigger.node_id for trigger in armed if trigger.tokenless and trigger.node_id in called}
        tokens = await webhook_tokens.give(conn, vault, nodes_of)
        current = found(await versions.find_current(conn, workflow_id), "version")
    return Deployment(current, {found_id: (nodes_of[found_id], token) for found_id, token in tokens.items()})


def checked(definition: Definition, registry: Registry) -> Definition:
    """The definition if it can be run; Unprocessable with every problem otherwise."""
    wrong = problems(definition, registry)
    if wrong:
        raise Unprocessable("The definition cannot be run as it is.", wrong)
    return definition


async def refuse_wrong_connections(conn: Connection, definition: Definition, registry: Registry) -> None:
    """Unprocessable when a connection that is named is not there, or does not fit."""
    if wrong := await connection_uses.wrong_connections(conn, definition, registry):
        raise Unprocessable("The definition cannot be run as it is.", wrong)


def _trigger_nodes(definition: Definition, registry: Registry) -> Iterator[TriggerNode]:
    """The nodes that start runs by themselves. A start by hand needs no trigger."""
    for node in definition.nodes:
        node_type = registry.get(node.type)
        if node_type is None or not node_type.entry_point or node.type == MANUAL or node.disabled:
            continue
        yield TriggerNode(
            id=new_id(),
            node_id=node.id,
            type=ERROR if node.type == ERROR_TRIGGER else node.type,
            name=node.name or node.id,
            config=orjson.dumps(node.config),
        )


async def keep_unlisted(pool: Pool, name: str, definition: Definition, created_by: str) -> UUID:
    """The id of an unlisted version with this definition; the same definition is stored once."""
    text = encode(definition)
    async with pool.acquire() as conn:
        return await versions.keep_unlisted(
            conn,
            new_id(),
            name=name,
            definition=text,
            definition_hash=fingerprint(text),
            created_by=created_by,
        )
