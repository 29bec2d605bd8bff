"""What rooms ask about their drafts: how far they have come, and what a client committed last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.store.pool import Connection

HEADS = """
SELECT d.workflow_id, d.seq FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = ANY($1::uuid[]) AND w.deleted_at IS NULL
"""


async def heads(conn: Connection, workflow_ids: Collection[UUID]) -> dict[UUID, int]:
    """The `seq` of each of these drafts; those of deleted workflows are left out."""
    return {row["workflow_id"]: row["seq"] for row in await conn.fetch(HEADS, list(workflow_ids))}


LOCK_HEADS = """
SELECT d.workflow_id, d.seq FROM drafts d JOIN workflows w ON w.id = d.workflow_id
 WHERE d.workflow_id = ANY($1::uuid[]) AND w.deleted_at IS NULL
 ORDER BY d.workflow_id FOR UPDATE OF d
"""


async def lock(conn: Connection, workflow_ids: Collection[UUID]) -> dict[UUID, int]:
    """Hold these drafts until the transaction ends; where they are, as `heads`."""
    return {row["workflow_id"]: row["seq"] for row in await conn.fetch(LOCK_HEADS, list(workflow_ids))}


IS_OF_ANOTHER = """
SELECT EXISTS (SELECT FROM edits WHERE workflow_id = $1 AND client = $2 AND by_id IS DISTINCT FROM $3)
"""


async def is_of_another(conn: Connection, workflow_id: UUID, client: str, by_id: str | None) -> bool:
    """Whether somebody else has made edits as this client."""
    return bool(await conn.fetchval(IS_OF_ANOTHER, workflow_id, client, by_id))
