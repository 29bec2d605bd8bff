"""The one statement that records steps and ends leases, for many runs at once. Only `engine.lifecycle` calls this.

Arrays of run ids are sorted, so that a range of ids can tell PostgreSQL which partitions to skip (see `store.work`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from melagent.domain.run import StepRecord, StepStatus
from melagent.store.payloads import Payloads, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.work import Entry
    from melagent.store.pool import Connection

HOLD = """
WITH entry AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS t (run_id, lease, seq)
), locked AS (
    SELECT id FROM runs WHERE id = ANY($4::uuid[]) AND id BETWEEN $4[1] AND $4[cardinality($4)]
     ORDER BY id FOR NO KEY UPDATE
)
SELECT w.run_id, e.seq > w.lease_seq AS fresh
  FROM work_items w JOIN entry e ON e.run_id = w.run_id LEFT JOIN locked l ON l.id = w.run_id
 WHERE w.run_id = ANY($1::uuid[]) AND w.lease = e.lease
 ORDER BY w.run_id FOR UPDATE OF w
"""


async def hold(conn: Connection, entries: Sequence[Entry]) -> set[UUID]:
    """Lock what `write` will lock; the runs whose lease is still theirs and whose entry was not written before."""
    entries = sorted(entries, key=lambda entry: entry.run_id)
    runs, leases, seqs = [e.run_id for e in entries], [e.lease for e in entries], [e.seq for e in entries]
    rows = await conn.fetch(HOLD, runs, leases, seqs, [entry.run_id for entry in entries if entry.settle])
    return {row["run_id"] for row in rows if row["fresh"]}


WRITE = """
WITH entry AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::bytea[], $6::bytea[], $7::text[],
                         $8::float8[], $9::text[], $31::text[], $32::text[])
        AS t (run_id, lease, seq, status, output, output_hash, error, wake_in, waiting_for, waits, requires)
), locked AS (
    SELECT id FROM runs WHERE id = ANY($10::uuid[]) AND id BETWEEN $10[1] AND $10[cardinality($10)]
     ORDER BY id FOR NO KEY UPDATE
), held AS (
    SELECT w.run_id, w.lease_seq, w.priority, w.requires, w.attempt, w.started_at, w.deadline_at, w.pausing,
           w.limited_by, w.limit_to
      FROM work_items w JOIN entry e ON e.run_id = w.run_id LEFT JOIN locked l ON l.id = w.run_id
     WHERE w.run_id = ANY($1::uuid[]) AND w.lease = e.lease
     ORDER BY w.run_id FOR UPDATE OF w
), fresh AS MATERIALIZED (
    SELECT e.run_id, e.lease, e.seq, e.output, e.output_hash, e.error, e.wake_in, e.waiting_for, h.priority, h.attempt,
           h.started_at, h.deadline_at, h.limited_by, h.limit_to, coalesce(e.requires, h.requires) AS requires,
           string_to_array(e.waits, E'\\n') AS waits,
           CASE WHEN e.status = 'waiting' AND EXISTS (
                     SELECT FROM run_inbox i
                      WHERE i.run_id = e.run_id AND i.topic = ANY(string_to_array(e.waits, E'\\n')))
                THEN 'pending'
                WHEN h.pausing AND e.status IN ('sleeping', 'waiting') THEN 'paused'
                WHEN e.status = 'paused' AND NOT h.pausing THEN 'pending'
                ELSE e.status END AS status
      FROM entry e JOIN held h ON h.run_id = e.run_id WHERE e.seq > h.lease_seq
), stored AS (
    INSERT INTO payloads (run_id, hash, size, data)
    SELECT p.* FROM unnest($27::uuid[], $28::bytea[], $29::integer[], $30::bytea[]) AS p (run_id, hash, size, data)
      JOIN fresh f ON f.run_id = p.run_id
    ON CONFLICT DO NOTHING
), recorded AS (
    INSERT INTO steps (run_id, seq, step_key, node_id, node_type, status, attempt, handle, output, output_hash, error,
                       logs, started_at, finished_at, wake_at)
    SELECT s.run_id, s.seq, s.step_key, s.node_id, s.node_type, s.status, s.attempt, s.handle, s.output, s.output_hash,
           s.error::json, s.logs::json, s.started_at, s.finished_at, now() + make_interval(secs => s.due_in)
      FROM unnest($11::uuid[], $12::integer[], $13::text[], $14::text[], $15::text[], $16::text[], $17::integer[],
                  $18::text[], $19::bytea[], $20::bytea[], $21::text[], $22::text[], $23::timestamptz[],
                  $24::timestamptz[], $25::float8[])
        AS s (run_id, seq, step_key, node_id, node_type, status, attempt, handle, output, output_hash, error, logs,
              started_at, finished_at, due_in)
      JOIN fresh f ON f.run_id = s.run_id
    ON CONFLICT (run_id, step_key) DO UPDATE
       SET seq = excluded.seq, status = excluded.status, attempt = excluded.attempt, handle = excluded.handle,
           output = excluded.output, output_hash = excluded.output_hash, error = excluded.error, logs = excluded.logs,
           started_at = excluded.started_at, finished_at = excluded.finished_at, wake_at = excluded.wake_at
     WHERE steps.status IN ('pending', 'running', 'sleeping', 'waiting')
), kept AS (
    UPDATE work_items w
       SET lease_seq = f.seq, requires = f.requires,
           expiries = CASE WHEN f.run_id = ANY($11::uuid[]) THEN 0 ELSE w.expiries END,
           lease = CASE WHEN f.status IS NULL THEN w.lease END,
           worker_id = CASE WHEN f.status IS NULL THEN w.worker_id END,
           lease_expires_at = CASE WHEN f.status IS NULL THEN now() + make_interval(secs => $26) END
      FROM fresh f
     WHERE w.run_id = f.run_id AND w.run_id = ANY($1::uuid[]) AND coalesce(f.status, 'pending') = 'pending'
), left_queue AS (
    DELETE FROM work_items w USING fresh f
     WHERE w.run_id = f.run_id AND w.run_id = ANY($1::uuid[]) AND f.status <> 'pending'
), put_aside AS (
    INSERT INTO parked (run_id, priority, requires, wake_at, reason, waits, waiting_for, attempt, started_at,
                        deadline_at, limited_by, limit_to)
    SELECT run_id, priority, requires,
           least(CASE WHEN status <> 'paused' THEN now() + make_interval(secs => wake_in) END, deadline_at), status,
           coalesce(CASE status WHEN 'waiting' THEN waits END, '{}'),
           CASE WHEN status <> 'paused' THEN waiting_for::json END, attempt, started_at, deadline_at, limited_by,
           limit_to
      FROM fresh WHERE status IN ('sleeping', 'waiting', 'paused')
), settled AS (
    UPDATE runs r
       SET status = f.status, output = f.output, output_hash = f.output_hash, error = f.error::json,
           attempt = f.attempt, started_at = f.started_at, settled_lease = f.lease, settled_seq = f.seq,
           finished_at = CASE WHEN f.status IN ('completed', 'failed', 'cancelled') THEN now() END
      FROM fresh f
     WHERE r.id = f.run_id AND r.id = ANY($10::uuid[]) AND r.id BETWEEN $10[1] AND $10[cardinality($10)]
       AND f.status IS NOT NULL
    RETURNING r.id, r.status,
              r.status = 'failed' AND (r.on_failure IS NOT NULL OR (
                  r.workflow_id IS NOT NULL AND r.scope IS NULL
                  AND EXISTS (SELECT FROM triggers WHERE active AND enabled AND type = 'error'))) AS failed,
              CASE WHEN r.attached AND r.finished_at IS NOT NULL THEN r.parent_run_id END AS parent
), told AS (
    INSERT INTO run_inbox (run_id, topic, child_id)
    SELECT parent, 'child', id FROM settled WHERE parent IS NOT NULL
    UNION ALL
    SELECT id, 'failed', NULL FROM settled WHERE failed
)
SELECT h.run_id, f.run_id IS NOT NULL AS fresh, s.parent, s.id IS NOT NULL AND s.status <> 'pending' AS left,
       h.limited_by, s.failed IS TRUE AS failed
  FROM held h LEFT JOIN fresh f ON f.run_id = h.run_id LEFT JOIN settled s ON s.id = h.run_id
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did with one entry whose lease is still held.

    It is not `fresh` when it was written before. `parent` is a run that has a message now, `limited_by` a workflow
    that has a place free, and `failed` says that something may have to be started for this failure.
    """

    fresh: bool
    parent: UUID | None
    limited_by: UUID | None
    failed: bool


async def write(conn: Connection, entries: Sequence[Entry], lease_seconds: float) -> dict[UUID, Written]:
    """Record the entries whose lease is still theirs, each as a whole; by the ids of their runs.

    There is at most one entry for each run. A final step record is never overwritten. An entry that was recorded before
    changes nothing and counts as held.
    """
    entries = sorted(entries, key=lambda entry: entry.run_id)
    payloads = Payloads()
    steps = [(entry.run_id, step) for entry in entries for step in entry.steps]
    outputs = [await payloads.put(run_id, step.output) for run_id, step in steps]
    settles = [entry.settle for entry in entries]
    results = [await payloads.put(e.run_id, e.settle.output if e.settle else None) for e in entries]
    rows = await conn.fetch(
        WRITE,
        [entry.run_id for entry in entries],
        [entry.lease for entry in entries],
        [entry.seq for entry in entries],
        [settle and settle.status for settle in settles],
        [inline for inline, _ in results],
        [digest for _, digest in results],
        [_json(settle and settle.error) for settle in settles],
        [settle and settle.wake_in for settle in settles],
        [_json(settle and settle.waiting_for) for settle in settles],
        [entry.run_id for entry in entries if entry.settle],
        [run_id for run_id, _ in steps],
        [step.seq for _, step in steps],
        [step.step_key for _, step in steps],
        [step.node_id for _, step in steps],
        [step.node_type for _, step in steps],
        [step.status for _, step in steps],
        [step.attempt for _, step in steps],
        [step.handle for _, step in steps],
        [inline for inline, _ in outputs],
        [digest for _, digest in outputs],
        [_json(step.error) for _, step in steps],
        [_json(step.logs) for _, step in steps],
        [step.started_at for _, step in steps],
        [step.finished_at for _, step in steps],
        [step.due_in for _, step in steps],
        lease_seconds,
        payloads.run_ids,
        payloads.hashes,
        payloads.sizes,
        payloads.data,
        ["\n".join(settle.waits) if settle and settle.waits else None for settle in settles],
        [settle and settle.requires for settle in settles],
    )
    return {row["run_id"]: _written(row) for row in rows}


def _written(row: asyncpg.Record) -> Written:
    return Written(row["fresh"], row["parent"], row["limited_by"] if row["left"] else None, row["failed"])


def _json(value: Any) -> str | None:
    """JSON text for a json column. NUL stays an escape in it, which json (unlike text and jsonb) can hold.

    What JSON cannot hold (half a character, an object) is refused as the database would refuse it.
    """
    try:
        return orjson.dumps(value).decode() if value else None
    except TypeError as error:
        raise asyncpg.DataError(str(error)) from error


SETTLED_BY = """
SELECT r.id FROM runs r JOIN unnest($1::uuid[], $2::uuid[], $3::integer[]) AS e (run_id, lease, seq)
    ON e.run_id = r.id AND e.lease = r.settled_lease AND e.seq = r.settled_seq
 WHERE r.id = ANY($1::uuid[]) AND r.id BETWEEN $1[1] AND $1[cardinality($1)]
"""


async def settled_by(conn: Connection, entries: Sequence[Entry]) -> set[UUID]:
    """The runs whose last settlement was exactly the entry given: it had been written before."""
    entries = sorted(entries, key=lambda entry: entry.run_id)
    runs, leases, seqs = [e.run_id for e in entries], [e.lease for e in entries], [e.seq for e in entries]
    return {row["id"] for row in await conn.fetch(SETTLED_BY, runs, leases, seqs)}


JOURNAL = """
SELECT step_key, node_id, node_type, status, attempt, started_at, finished_at, handle, output, output_hash, error, seq,
       extract(epoch FROM wake_at - now())::float8 AS due_in
  FROM steps WHERE run_id = $1 ORDER BY seq
"""


async def journal(conn: Connection, run_id: UUID) -> tuple[StepRecord, ...]:
    """All recorded steps of a run in the order of their recording, large values loaded."""
    rows = await conn.fetch(JOURNAL, run_id)
    values = await load(conn, run_id, {row["output_hash"] for row in rows if row["output_hash"]})
    return tuple(_step(row, values[row["output_hash"]] if row["output_hash"] else row["output"]) for row in rows)


JOURNAL_PAGE = """
SELECT step_key, node_id, node_type, status, attempt, started_at, finished_at, handle, output, output_hash, error, seq,
       extract(epoch FROM wake_at - now())::float8 AS due_in
  FROM steps WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""


async def page(conn: Connection, run_id: UUID, after: int, limit: int) -> list[tuple[StepRecord, bytes | None]]:
    """Recorded steps after a `seq`, each with the hash of its output where that is a large value, left out here."""
    rows = await conn.fetch(JOURNAL_PAGE, run_id, after, limit)
    return [(_step(row, row["output"]), row["output_hash"]) for row in rows]


def _step(row: asyncpg.Record, output: bytes | None) -> StepRecord:
    return StepRecord(
        step_key=row["step_key"],
        node_id=row["node_id"],
        node_type=row["node_type"],
        status=StepStatus(row["status"]),
        attempt=row["attempt"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        handle=row["handle"],
        output=output,
        error=orjson.loads(row["error"]) if row["error"] else None,
        due_in=row["due_in"],
        seq=row["seq"],
    )
