"""The triggers of deployed versions. Identity is (workflow, node): id and token survive deploy and rollback.

A node that becomes another type of trigger keeps its token too, for a rollback, but is not called by it meanwhile.
Triggers that were made by hand have no node, and start whichever version is deployed. When they fire is in `schedules`,
their tokens are in `trigger_tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import ListedTrigger, WorkflowTrigger, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class TriggerNode:
    """A trigger node of the version being deployed. `id` is used only if the node has no trigger yet."""

    id: UUID
    node_id: str
    type: str
    name: str
    config: bytes


RETIRE_TRIGGERS = """
UPDATE triggers SET active = false, updated_at = now()
 WHERE workflow_id = $1 AND active AND node_id IS NOT NULL AND node_id <> ALL ($2::text[])
"""


async def retire(conn: Connection, workflow_id: UUID, keep: Sequence[str] = ()) -> None:
    """Switch off the triggers of a locked workflow whose nodes are not in `keep`."""
    await conn.execute(RETIRE_TRIGGERS, workflow_id, list(keep))


RETIRE_ALL_TRIGGERS = """
UPDATE triggers SET active = false, planned_at = NULL, next_fire_at = NULL, updated_at = now()
 WHERE workflow_id = $1 AND active
"""


async def retire_all(conn: Connection, workflow_id: UUID) -> None:
    """Switch off all triggers of a workflow, those made by hand as well. None starts a run after this."""
    await conn.execute(RETIRE_ALL_TRIGGERS, workflow_id)


ARM_TRIGGERS = """
INSERT INTO triggers (id, workflow_id, version_id, node_id, type, name, config)
SELECT new.id, $1, $2, new.node_id, new.type, new.name, new.config::json
  FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[]) AS new (id, node_id, type, name, config)
ON CONFLICT ON CONSTRAINT triggers_node DO UPDATE
   SET version_id = excluded.version_id, type = excluded.type, name = excluded.name, config = excluded.config,
       active = true, updated_at = now()
RETURNING id, node_id, token_hash IS NULL AND token IS NULL AS tokenless
"""


@dataclass(frozen=True, slots=True)
class Armed:
    """The trigger of a node; `tokenless` when it never had a token."""

    id: UUID
    node_id: str
    tokenless: bool


async def arm(conn: Connection, workflow_id: UUID, version_id: UUID, nodes: Sequence[TriggerNode]) -> list[Armed]:
    """Bring the triggers of a locked workflow in line with a version: new nodes get one, known ones keep theirs."""
    rows = await conn.fetch(
        ARM_TRIGGERS,
        workflow_id,
        version_id,
        [node.id for node in nodes],
        [node.node_id for node in nodes],
        [node.type for node in nodes],
        [node.name for node in nodes],
        [node.config.decode() for node in nodes],
    )
    return [Armed(**row) for row in rows]


FOLLOW_VERSION = """
UPDATE triggers SET version_id = $2, entry = $3, updated_at = now()
 WHERE workflow_id = $1 AND active AND node_id IS NULL AND (version_id, entry) IS DISTINCT FROM ($2::uuid, $3::text)
"""


async def follow(conn: Connection, workflow_id: UUID, version_id: UUID | None, entry: str | None) -> None:
    """Let the triggers of a locked workflow that were made by hand start this version at this node, or nothing."""
    await conn.execute(FOLLOW_VERSION, workflow_id, version_id, entry)


FIND_ARMED_TRIGGER = """
SELECT t.id, t.workflow_id, coalesce(t.node_id, t.entry) AS node_id, t.type, t.name, t.config::text, t.version_id,
       t.enabled, t.created_at, t.updated_at
  FROM triggers t
 WHERE t.id = $1 AND t.active AND t.version_id IS NOT NULL
"""


async def find_armed(conn: Connection, trigger_id: UUID) -> WorkflowTrigger | None:
    """A trigger that has something to start, enabled or not."""
    row = await conn.fetchrow(FIND_ARMED_TRIGGER, trigger_id)
    return value_of(WorkflowTrigger, row) if row else None


_LISTED = """
       t.id, t.workflow_id, t.node_id, t.entry, t.version_id, t.type, t.name, t.config::text, t.token, t.token_sealed,
       t.enabled, t.next_fire_at, t.last_fired_at, t.created_at, t.updated_at,
       (SELECT w.name FROM workflows w WHERE w.id = t.workflow_id) AS workflow_name
"""

LIST_TRIGGERS = f"""
SELECT {_LISTED} FROM triggers t
 WHERE t.active AND ($1::uuid IS NULL OR t.workflow_id = $1) AND t.id < $2
 ORDER BY t.id DESC LIMIT $3
"""  # noqa: S608  # the columns above


async def page(conn: Connection, workflow_id: UUID | None, before: UUID, limit: int) -> list[ListedTrigger]:
    """The triggers that are not retired, newest first."""
    rows = await conn.fetch(LIST_TRIGGERS, workflow_id, before, limit)
    return [value_of(ListedTrigger, row) for row in rows]


FIND_TRIGGER = f"SELECT {_LISTED} FROM triggers t WHERE t.id = $1 AND t.active"  # noqa: S608  # the columns above


async def find(conn: Connection, trigger_id: UUID) -> ListedTrigger | None:
    """A trigger that is not retired."""
    row = await conn.fetchrow(FIND_TRIGGER, trigger_id)
    return value_of(ListedTrigger, row) if row else None


COUNT_TRIGGERS = "SELECT count(*) FROM triggers WHERE active AND ($1::uuid IS NULL OR workflow_id = $1)"


async def count(conn: Connection, workflow_id: UUID | None) -> int:
    return int(await conn.fetchval(COUNT_TRIGGERS, workflow_id))


INSERT_TRIGGER = """
INSERT INTO triggers (id, workflow_id, type, name, config, enabled)
VALUES ($1, $2, $3, $4, $5::text::json, $6)
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class TriggerByHand:
    """A trigger that belongs to no node. It starts nothing until it is told what: see `follow`."""

    id: UUID
    workflow_id: UUID
    type: str
    name: str
    config: bytes
    enabled: bool


async def insert(conn: Connection, trigger: TriggerByHand) -> bool:
    """Make a trigger of a locked workflow by hand; false when there is one with this id."""
    values = (trigger.type, trigger.name, trigger.config.decode(), trigger.enabled)
    return bool(await conn.execute(INSERT_TRIGGER, trigger.id, trigger.workflow_id, *values) == "INSERT 0 1")


CHANGE_TRIGGER = """
UPDATE triggers
   SET name = coalesce($2, name), config = coalesce($3::text::json, config), enabled = coalesce($4, enabled),
       updated_at = now()
 WHERE id = $1 AND active
"""


async def change(
    conn: Connection, trigger_id: UUID, name: str | None, config: bytes | None, *, enabled: bool | None
) -> None:
    """Change a trigger of a locked workflow; what is null stays as it is."""
    await conn.execute(CHANGE_TRIGGER, trigger_id, name, config and config.decode(), enabled)


DELETE_TRIGGER = "DELETE FROM triggers WHERE id = $1 AND node_id IS NULL"


async def delete(conn: Connection, trigger_id: UUID) -> None:
    """Delete a trigger that was made by hand. Its runs stay."""
    await conn.execute(DELETE_TRIGGER, trigger_id)


NOTE_FIRED = """
UPDATE triggers SET last_fired_at = greatest(last_fired_at, now())
 WHERE id = $1 AND type = ANY ('{schedule,timer,error}')
"""


async def note_fired(conn: Connection, trigger_id: UUID) -> None:
    """A trigger has started a run just now. Webhooks are called too often for a note of each time."""
    await conn.execute(NOTE_FIRED, trigger_id)


WORKFLOW_OF_TRIGGER = "SELECT workflow_id FROM triggers WHERE id = $1"


async def workflow_of(conn: Connection, trigger_id: UUID) -> UUID | None:
    """The workflow of a trigger, retired or not."""
    return await conn.fetchval(WORKFLOW_OF_TRIGGER, trigger_id)  # type: ignore[no-any-return]  # the driver has no types


WATCHERS = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.version_id, t.enabled, t.created_at,
       t.updated_at
  FROM triggers t WHERE t.active AND t.enabled AND t.type = 'error' ORDER BY t.id
"""


async def watchers(conn: Connection) -> list[WorkflowTrigger]:
    """The triggers that start runs when others fail."""
    return [value_of(WorkflowTrigger, row) for row in await conn.fetch(WATCHERS)]
