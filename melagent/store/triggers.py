"""The triggers of deployed versions. Identity is (workflow, node): id and token survive deploy and rollback.

A node that becomes another type of trigger keeps its token too, for a rollback, but is not called by it meanwhile. Of a
token there is only its SHA-256, and a sealed copy where there is a key.
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
    """A trigger node of the version being deployed. `id` is used only if the node has no trigger yet."""

    id: UUID
    node_id: str
    type: str
    name: str
    config: bytes


RETIRE_TRIGGERS = """
UPDATE triggers SET active = false, updated_at = now()
 WHERE workflow_id = $1 AND active AND node_id <> ALL ($2::text[])
"""


async def retire(conn: Connection, workflow_id: UUID, keep: Sequence[str] = ()) -> None:
    """Switch off the triggers of a locked workflow whose nodes are not in `keep`."""
    await conn.execute(RETIRE_TRIGGERS, workflow_id, list(keep))


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


SET_TOKENS = """
UPDATE triggers t SET token_hash = new.hash, token_sealed = new.sealed, token = NULL, updated_at = now()
  FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS new (id, hash, sealed)
 WHERE t.id = new.id
"""


async def set_tokens(conn: Connection, tokens: Sequence[tuple[UUID, bytes, bytes | None]]) -> None:
    """Give triggers, by their ids, tokens: the hash, and the sealed copy if there is one."""
    await conn.execute(SET_TOKENS, *([row[column] for row in tokens] for column in range(3)))


LOCK_CALLED = "SELECT FROM triggers WHERE id = $1 AND active AND type = ANY($2::text[]) FOR UPDATE"


async def lock_called(conn: Connection, trigger_id: UUID, types: Sequence[str]) -> bool:
    """Hold an armed trigger of one of these types to the end of the transaction; whether there is one."""
    return await conn.fetchrow(LOCK_CALLED, trigger_id, list(types)) is not None


PLAIN_TOKENS = "SELECT id, token FROM triggers WHERE token IS NOT NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"


async def plain_tokens(conn: Connection, limit: int) -> dict[UUID, str]:
    """Up to `limit` tokens that an earlier version left in plain text, locked; by the ids of their triggers."""
    return {row["id"]: row["token"] for row in await conn.fetch(PLAIN_TOKENS, limit)}


HASH_PLAIN_TOKENS = """
UPDATE triggers SET token_hash = sha256(convert_to(token, 'UTF8')) WHERE token IS NOT NULL AND token_hash IS NULL
"""


async def hash_plain_tokens(conn: Connection) -> None:
    """Let triggers be found whose token an earlier version stored in plain text."""
    await conn.execute(HASH_PLAIN_TOKENS)


FIND_CALLED_TRIGGER = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.version_id, t.enabled, t.created_at,
       t.updated_at
  FROM triggers t
 WHERE t.token_hash = $1 AND t.type = ANY($2::text[]) AND t.active AND t.enabled
"""


async def find_by_token(conn: Connection, token_hash: bytes, types: Sequence[str]) -> WorkflowTrigger | None:
    """The armed and enabled trigger of one of these types that an address names."""
    row = await conn.fetchrow(FIND_CALLED_TRIGGER, token_hash, list(types))
    return value_of(WorkflowTrigger, row) if row else None


FIND_TRIGGER = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.version_id, t.enabled, t.created_at,
       t.updated_at, t.token, t.token_sealed
  FROM triggers t
 WHERE t.id = $1 AND t.active
"""


async def find(conn: Connection, trigger_id: UUID) -> WorkflowTrigger | None:
    """An armed trigger, enabled or not."""
    row = await conn.fetchrow(FIND_TRIGGER, trigger_id)
    return value_of(WorkflowTrigger, row) if row else None


LIST_TRIGGERS = """
SELECT t.id, t.workflow_id, t.node_id, t.type, t.name, t.config::text, t.version_id, t.enabled,
       t.token, t.token_sealed, t.created_at, t.updated_at
  FROM triggers t
 WHERE t.active AND ($1::uuid IS NULL OR t.workflow_id = $1) AND t.id < $2
 ORDER BY t.id DESC LIMIT $3
"""


async def page(conn: Connection, workflow_id: UUID | None, before: UUID, limit: int) -> list[WorkflowTrigger]:
    """The triggers of the deployed versions, newest first."""
    rows = await conn.fetch(LIST_TRIGGERS, workflow_id, before, limit)
    return [value_of(WorkflowTrigger, row) for row in rows]


COUNT_TRIGGERS = "SELECT count(*) FROM triggers WHERE active AND ($1::uuid IS NULL OR workflow_id = $1)"


async def count(conn: Connection, workflow_id: UUID | None) -> int:
    return int(await conn.fetchval(COUNT_TRIGGERS, workflow_id))
