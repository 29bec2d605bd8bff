"""Test data that is pinned to a node of a draft: kept beside the draft, never in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.errors import NotFound, TooLarge
from melagent.services import drafts
from melagent.services.definitions import decode
from melagent.services.workflows import found
from melagent.store import pinned, workflows
from melagent.store.pool import transaction
from melagent.store.rows import Pinned

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.store.pool import Connection, Pool

MAX_BYTES = 1024 * 1024
NOTHING = b"null"


async def get(pool: Pool, workflow_id: UUID, node_id: str) -> Pinned:
    """What is pinned to a node of the draft; null, without a time, when nothing is."""
    async with pool.acquire() as conn:
        await _draft_with(conn, workflow_id, node_id)
        return await pinned.find(conn, workflow_id, node_id) or Pinned(node_id, NOTHING, None)


async def put(pool: Pool, workflow_id: UUID, node_id: str, value: bytes) -> Pinned:
    """Pin a value, JSON text of at most 1 MiB, to a node of the draft. Null takes away what is pinned."""
    if len(value) > MAX_BYTES:
        raise TooLarge(f"The value has {len(value):,} bytes; a pinned one may have {MAX_BYTES:,}.")
    async with transaction(pool) as conn:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        definition = await _draft_with(conn, workflow_id, node_id)
        await pinned.keep(conn, workflow_id, {node.id for node in definition.nodes})
        if value != NOTHING:
            return await pinned.put(conn, workflow_id, node_id, value)
        await pinned.drop(conn, workflow_id, node_id)
    return Pinned(node_id, NOTHING, None)


async def _draft_with(conn: Connection, workflow_id: UUID, node_id: str) -> Definition:
    """The draft; NotFound when it has no such node."""
    definition = decode((await drafts.read(conn, workflow_id)).definition)
    found(definition.node(node_id), "node")
    return definition
