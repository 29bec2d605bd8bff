"""Copying recorded steps from one run to a new one. Only `engine.lifecycle` calls this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.store.payloads import Payloads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from melagent.store.pool import Connection

AT_ONCE = 10_000
"""Steps in one statement: a transaction may last as long as it needs, a statement may not."""

LOCK_ID = "SELECT pg_advisory_xact_lock(hashtextextended('melagent.copy ' || $1::uuid::text, 0))"
IS_THERE = "SELECT EXISTS (SELECT FROM runs WHERE id = $1)"


async def is_there(conn: Connection, run_id: UUID) -> bool:
    """Whether the run was made before. Of several callers one is told no, and makes it in this very transaction."""
    await conn.execute(LOCK_ID, run_id)
    return bool(await conn.fetchval(IS_THERE, run_id))


COPY_STEPS = """
INSERT INTO steps (run_id, step_key, seq, node_id, node_type, status, attempt, handle, output, output_hash, error, logs,
                   started_at, finished_at)
SELECT $1, s.step_key, $7::integer + row_number() OVER (ORDER BY s.seq), s.node_id, s.node_type, s.status, s.attempt,
       s.handle,
       CASE WHEN g.step_key IS NULL THEN s.output ELSE g.output END,
       CASE WHEN g.step_key IS NULL THEN s.output_hash ELSE g.output_hash END,
       s.error, s.logs, s.started_at, s.finished_at
  FROM steps s
  LEFT JOIN unnest($4::text[], $5::bytea[], $6::bytea[]) AS g (step_key, output, output_hash) ON g.step_key = s.step_key
 WHERE s.run_id = $2 AND s.step_key = ANY($3::text[]) AND s.finished_at IS NOT NULL
"""
COPY_PAYLOADS = """
INSERT INTO payloads (run_id, hash, size, data)
SELECT $1, hash, size, data FROM payloads
 WHERE run_id = $2 AND hash = ANY(ARRAY(SELECT output_hash FROM steps WHERE run_id = $1 AND output_hash IS NOT NULL))
ON CONFLICT DO NOTHING
"""
PUT_PAYLOADS = """
INSERT INTO payloads (run_id, hash, size, data)
SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::integer[], $4::bytea[]) ON CONFLICT DO NOTHING
"""


async def copy(
    conn: Connection, run_id: UUID, source: UUID, step_keys: Sequence[str], outputs: Mapping[str, bytes]
) -> int:
    """Copy final steps with their values, given and numbered anew in their order; how many were there.

    `outputs` has what some of them are to have given instead.
    """
    payloads = Payloads()
    given = [await payloads.put(run_id, output) for output in outputs.values()]
    columns = list(outputs), [inline for inline, _ in given], [digest for _, digest in given]
    copied = 0
    for start in range(0, len(step_keys), AT_ONCE):
        part = step_keys[start : start + AT_ONCE]
        copied += int((await conn.execute(COPY_STEPS, run_id, source, part, *columns, start)).split()[-1])
    await conn.execute(COPY_PAYLOADS, run_id, source)
    if payloads.hashes:
        await conn.execute(PUT_PAYLOADS, payloads.run_ids, payloads.hashes, payloads.sizes, payloads.data)
    return copied
