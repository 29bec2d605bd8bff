"""The triggers of deployed versions. Identity is (workflow, node): id and token survive deploy and rollback.

A node that becomes another type of trigger keeps its token too, for a rollback, but is not called by it meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import WorkflowTrigger, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class TriggerNode:
    """A trigger node of the version being deployed. `id` and `token` are used only if the node has no trigger yet."""

    id: UUID
    node_id: str
    type: str
    name: str
    config: bytes
    token: str | None


RETIRE_TRIGGERS = """
UPDATE triggers SET active = false, updated_at = now()
 WHERE workflow_id = $1 AND active AND node_id <> ALL ($2::text[])
"""


async def retire(conn: Connection, workflow_id: UUID, keep: Sequence[str] = ()) -> None:
    """Switch off the triggers of a locked workflow whose nodes are not in `keep`."""
    await conn.execute(RETIRE_TRIGGERS, workflow_id, list(keep))


ARM_TRIGGERS = """
INSERT INTO triggers (id, workflow_id, version_id, node_id, type, name, config, token)
SELECT new.id, $1, $2, new.node_id, new.type, new.name, new.config::json, new.token
  FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
       AS new (id, node_id, type, name, config, token)
ON CONFLICT ON CONSTRAINT triggers_node DO UPDATE
   SET version_id = excluded.version_id, type = excluded.type, name = excluded.name, config = excluded.config,
       token = coalesce(triggers.token, excluded.token), active = true, updated_at = now()
"""


async def arm(conn: Connection, workflow_id: UUID, version_id: UUID, nodes: Sequence[TriggerNode]) -> None:
    """Bring the triggers of a locked workflow in line with a version: new nodes get one, known ones keep theirs."""
    await conn.execute(
        ARM_TRIGGERS,
        workflow_id,
        version_id,
        [node.id for node in nodes],
        [node.node_id for node in nodes],
        [node.type for node in nodes],
        [node.name for node in nodes],
        [node.config.decode() for node in nodes],
        [node.token for node in nodes],
    )


FIND_CALLED_TRIGGER = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.token, t.version_id, t.enabled,
       t.created_at, t.updated_at
  FROM triggers t
 WHERE t.token = $1 AND t.type = 'webhook' AND t.active AND t.enabled
"""


async def find_by_token(conn: Connection, token: str) -> WorkflowTrigger | None:
    """The armed and enabled webhook that an address names."""
    row = await conn.fetchrow(FIND_CALLED_TRIGGER, token)
    return value_of(WorkflowTrigger, row) if row else None


LIST_TRIGGERS = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.version_id, t.enabled,
       CASE WHEN t.type = 'webhook' THEN t.token END AS token, t.created_at, t.updated_at
  FROM triggers t
 WHERE t.active AND ($1::uuid IS NULL OR t.workflow_id = $1) AND t.id < $2
 ORDER BY t.id DESC LIMIT $3
"""


async def page(conn: Connection, workflow_id: UUID | None, before: UUID, limit: int) -> list[WorkflowTrigger]:
    """The triggers of the deployed versions, newest first. Only webhooks show their token."""
    rows = await conn.fetch(LIST_TRIGGERS, workflow_id, before, limit)
    return [value_of(WorkflowTrigger, row) for row in rows]


COUNT_TRIGGERS = "SELECT count(*) FROM triggers WHERE active AND ($1::uuid IS NULL OR workflow_id = $1)"


async def count(conn: Connection, workflow_id: UUID | None) -> int:
    return int(await conn.fetchval(COUNT_TRIGGERS, workflow_id))
