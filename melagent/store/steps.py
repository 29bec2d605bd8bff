"""Reading the journal of a run: its steps in the order of their recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.rows import StoredStep, step_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.store.pool import Connection

LIST_STEPS = """
SELECT step_key, seq, node_id, node_type, status, attempt, handle, output, output_hash, error, logs,
       started_at, finished_at
  FROM steps
 WHERE run_id = $1 AND seq > $2
 ORDER BY seq LIMIT $3
"""


async def page(conn: Connection, run_id: UUID, after: int, limit: int) -> list[StoredStep]:
    """The steps recorded after `after`, oldest first. A step that is recorded again moves to its new place."""
    return [step_of(row) for row in await conn.fetch(LIST_STEPS, run_id, after, limit)]


OUTLINE = """
SELECT step_key, seq, node_id, node_type, status, attempt, handle, started_at, finished_at,
       NULL::bytea AS output, NULL::bytea AS output_hash, NULL::json AS error, NULL::json AS logs
  FROM steps
 WHERE run_id = $1
 ORDER BY seq
"""


async def outline(conn: Connection, run_id: UUID) -> list[StepRecord]:
    """All steps of a run without their values: enough to plan by."""
    return [step_of(row).record for row in await conn.fetch(OUTLINE, run_id)]


FIND_STEPS = """
SELECT step_key, seq, node_id, node_type, status, attempt, handle, output, output_hash, error, logs,
       started_at, finished_at
  FROM steps
 WHERE run_id = $1 AND step_key = ANY ($2::text[])
"""


async def find(conn: Connection, run_id: UUID, step_keys: Collection[str]) -> dict[str, StoredStep]:
    """The steps with these keys that have been recorded, by key."""
    found = [step_of(row) for row in await conn.fetch(FIND_STEPS, run_id, list(step_keys))]
    return {step.record.step_key: step for step in found}


WAITING_STEPS = """
SELECT step_key, seq, node_id, node_type, status, attempt, handle, output, output_hash, error, logs,
       started_at, finished_at
  FROM steps
 WHERE run_id = $1 AND status = 'waiting'
 ORDER BY seq LIMIT $2
"""


async def waiting(conn: Connection, run_id: UUID, limit: int) -> list[StoredStep]:
    """The steps of a run that wait, in the order in which they began to."""
    return [step_of(row) for row in await conn.fetch(WAITING_STEPS, run_id, limit)]


VALUE_SIZES = "SELECT hash, size FROM payloads WHERE run_id = $1 AND hash = ANY ($2::bytea[])"


async def value_sizes(conn: Connection, run_id: UUID, hashes: Collection[bytes]) -> dict[bytes, int]:
    """The size in bytes of each large value, before it is loaded."""
    return {row["hash"]: row["size"] for row in await conn.fetch(VALUE_SIZES, run_id, list(hashes))}
