"""How runs ended, and what they answered to their callers before the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from melagent.domain.run import RunStatus
from melagent.domain.work import RunEnd
from melagent.store.payloads import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from melagent.store.pool import Connection

ENDS = """
SELECT r.id, r.status, r.output, r.output_hash, r.error, a.run_id IS NOT NULL AS answered, a.output AS answer,
       a.output_hash AS answer_hash
  FROM runs r
  LEFT JOIN LATERAL (
      SELECT run_id, output, output_hash FROM steps
       WHERE run_id = r.id AND node_type = ANY($2::text[]) AND status = 'completed'
       ORDER BY seq LIMIT 1
  ) a ON true
 WHERE r.id = ANY($1::uuid[]) AND r.id BETWEEN $1[1] AND $1[cardinality($1)]
   AND (a.run_id IS NOT NULL OR r.status IN ('completed', 'failed', 'cancelled'))
"""


async def ends(conn: Connection, run_ids: Sequence[UUID], answering: Sequence[str]) -> list[RunEnd]:
    """The ends of those runs that have ended, and the answers of those that have given one.

    `answering` names the node types whose output is an answer. End and answer of a run are read in one statement: a run
    that answers and ends while we look must not seem to have ended without its answer.
    """
    return [await _end(conn, row) for row in await conn.fetch(ENDS, sorted(run_ids), answering)]


async def _end(conn: Connection, row: asyncpg.Record) -> RunEnd:
    run_id, status = row["id"], RunStatus(row["status"])
    answer = await _value(conn, run_id, row["answer"], row["answer_hash"]) if row["answered"] else None
    if not status.final:
        return RunEnd(run_id, RunStatus.RUNNING, None, None, answer)
    output = await _value(conn, run_id, row["output"], row["output_hash"])
    return RunEnd(run_id, status, output, orjson.loads(row["error"]) if row["error"] else None, answer)


async def _value(conn: Connection, run_id: UUID, inline: bytes | None, digest: bytes | None) -> bytes | None:
    return inline if digest is None else (await load(conn, run_id, [digest]))[digest]
