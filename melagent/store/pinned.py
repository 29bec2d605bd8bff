"""Test data that is pinned to nodes of drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import Pinned

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection

FIND_PINNED = "SELECT value::text, updated_at FROM pinned WHERE workflow_id = $1 AND node_id = $2"


async def find(conn: Connection, workflow_id: UUID, node_id: str) -> Pinned | None:
    row = await conn.fetchrow(FIND_PINNED, workflow_id, node_id)
    return Pinned(node_id, row["value"].encode(), row["updated_at"]) if row else None


PUT_PINNED = """
INSERT INTO pinned AS p (workflow_id, node_id, value) VALUES ($1, $2, $3::text::json)
ON CONFLICT (workflow_id, node_id) DO UPDATE SET value = excluded.value, updated_at = now()
RETURNING p.updated_at
"""


async def put(conn: Connection, workflow_id: UUID, node_id: str, value: bytes) -> Pinned:
    """Pin a value, JSON text, to a node, in place of the one before."""
    return Pinned(node_id, value, await conn.fetchval(PUT_PINNED, workflow_id, node_id, value.decode()))


KEEP_PINNED = "DELETE FROM pinned WHERE workflow_id = $1 AND NOT node_id = ANY ($2::text[])"


async def keep(conn: Connection, workflow_id: UUID, node_ids: Collection[str]) -> None:
    """Drop what is pinned to any other node of the workflow."""
    await conn.execute(KEEP_PINNED, workflow_id, list(node_ids))


DROP_PINNED = "DELETE FROM pinned WHERE workflow_id = $1 AND node_id = $2"


async def drop(conn: Connection, workflow_id: UUID, node_id: str) -> None:
    await conn.execute(DROP_PINNED, workflow_id, node_id)
