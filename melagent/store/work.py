"""Where each live run is: `work_items` (due: free or leased) or `parked` (not due). Only `engine.lifecycle` calls this.

A run that has not ended has exactly one row in one of the two; a run that has ended has none. A lease is a random token
on the work item: it is granted to one worker at a time, and every write names it. Lock order: `runs` by id, then
`work_items` or `parked` by id; a statement that locks several rows does so in that order in a step of its own.

Arrays of run ids are sorted, because PostgreSQL skips partitions at run time by a range of ids (`BETWEEN $1[1] AND
$1[cardinality($1)]`) but not by `= ANY($1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING

from melagent.domain.run import Trigger
from melagent.store.ids import first_id_at
from melagent.store.payloads import Payloads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from melagent.domain.work import NewRun
    from melagent.store.pool import Connection

START = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::uuid[],
                         $8::text[], $9::bytea[], $10::bytea[], $11::float8[], $12::text[], $13::uuid[], $14::text[],
                         $20::uuid[], $21::text[], $22::boolean[], $23::smallint[], $24::text[], $25::uuid[],
                         $26::uuid[], $27::uuid[], $28::integer[], $30::timestamptz[])
        AS t (id, workflow_id, version_id, priority, entry, trigger_type, trigger_id, trigger_node, input, input_hash,
              deadline_in, requires, lease, worker_id, parent_run_id, parent_step, attached, depth, scope, retry_of,
              on_failure, limited_by, limit_to, scheduled_for)
), inserted AS (
    INSERT INTO runs (id, workflow_id, version_id, priority, entry, trigger_type, trigger_id, trigger_node, input,
                      input_hash, requires, parent_run_id, parent_step, attached, depth, scope, retry_of, on_failure,
                      scheduled_for, deadline_at)
    SELECT id, workflow_id, version_id, priority, entry, trigger_type, trigger_id, trigger_node, input, input_hash,
           requires, parent_run_id, parent_step, attached, depth, scope, retry_of, on_failure, scheduled_for,
           now() + make_interval(secs => deadline_in)
      FROM new ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, deadline_at
), stored AS (
    INSERT INTO payloads (run_id, hash, size, data)
    SELECT * FROM unnest($16::uuid[], $17::bytea[], $18::integer[], $19::bytea[])
    ON CONFLICT DO NOTHING
), granted AS MATERIALIZED (
    SELECT n.id, n.priority, n.requires, n.worker_id, i.deadline_at,
           CASE WHEN NOT EXISTS (SELECT FROM work_items w
                                  WHERE w.lease IS NULL AND w.requires = n.requires AND w.run_id < $29)
                THEN n.lease END AS lease
      FROM new n JOIN inserted i ON i.id = n.id WHERE n.limited_by IS NULL
), held_back AS (
    INSERT INTO parked (run_id, priority, requires, wake_at, reason, attempt, deadline_at, limited_by, limit_to)
    SELECT n.id, n.priority, n.requires, i.deadline_at, 'limited', 0, i.deadline_at, n.limited_by, n.limit_to
      FROM new n JOIN inserted i ON i.id = n.id WHERE n.limited_by IS NOT NULL
)
INSERT INTO work_items (run_id, priority, requires, lease, worker_id, lease_expires_at, granted_at, attempt, started_at,
                        deadline_at)
SELECT id, priority, requires, lease,
       CASE WHEN lease IS NOT NULL THEN worker_id END,
       CASE WHEN lease IS NOT NULL THEN now() + make_interval(secs => $15) END,
       CASE WHEN lease IS NOT NULL THEN now() END,
       CASE WHEN lease IS NOT NULL THEN 1 ELSE 0 END,
       CASE WHEN lease IS NOT NULL THEN now() END,
       deadline_at
  FROM granted
RETURNING run_id, lease IS NOT NULL AS leased
"""


BEFORE_WAITING = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Offer:
    """A place for a run that is about to start: the lease that it gets there, and whose place it is."""

    lease: UUID
    worker_id: str


async def start(
    conn: Connection, runs: Sequence[NewRun], offers: Sequence[Offer | None], lease_seconds: float
) -> set[UUID]:
    """Insert runs and their work items in one statement; the ids of those that were leased at once.

    A lease is granted only where one is offered and while no free item with the same requirement has waited for 50 ms:
    whoever waits for less is about to be claimed, and if new runs stood behind him each of them would need a claim as
    well. A run that is there already is left as it is, so the call may be repeated when its outcome is unknown. A
    limited run is parked until `limits.admit` finds a place for it. Runs are inserted in the order of their ids:
    callers who start the same ones at the same moment wait for one another, and not in a circle.
    """
    payloads = Payloads()
    inputs = [await payloads.put(run.id, run.input) for run in runs]
    rows = await conn.fetch(
        START,
        [run.id for run in runs],
        [run.workflow_id for run in runs],
        [run.version_id for run in runs],
        [run.priority for run in runs],
        [run.entry for run in runs],
        [run.trigger.type for run in runs],
        [run.trigger.id for run in runs],
        [run.trigger.node_id for run in runs],
        [inline for inline, _ in inputs],
        [digest for _, digest in inputs],
        [run.deadline_in for run in runs],
        [run.requires for run in runs],
        [offer and offer.lease for offer in offers],
        [offer and offer.worker_id for offer in offers],
        lease_seconds,
        payloads.run_ids,
        payloads.hashes,
        payloads.sizes,
        payloads.data,
        [run.parent and run.parent.run_id for run in runs],
        [run.parent and run.parent.step_key for run in runs],
        [run.parent is not None and run.parent.attached for run in runs],
        [run.parent.depth if run.parent else 0 for run in runs],
        [run.scope for run in runs],
        [run.retry_of for run in runs],
        [run.on_failure for run in runs],
        [run.limit and run.limit.workflow_id for run in runs],
        [run.limit and run.limit.runs for run in runs],
        first_id_at(datetime.now(UTC) - BEFORE_WAITING),
        [run.trigger.scheduled_for for run in runs],
    )
    return {row["run_id"] for row in rows if row["leased"]}


LEASED = "SELECT run_id FROM work_items WHERE run_id = ANY($1::uuid[]) AND lease = ANY($2::uuid[])"


async def leased(conn: Connection, runs: Sequence[NewRun], offers: Sequence[Offer | None]) -> set[UUID]:
    """Those of the runs that hold one of these leases: what an earlier `start` did whose answer was lost."""
    rows = await conn.fetch(LEASED, [run.id for run in runs], [offer.lease for offer in offers if offer])
    return {row["run_id"] for row in rows}


FREE_REQUIREMENTS = """
WITH RECURSIVE found AS (
    (SELECT requires FROM work_items WHERE lease IS NULL ORDER BY requires LIMIT 1)
    UNION ALL
    SELECT (SELECT w.requires FROM work_items w WHERE w.lease IS NULL AND w.requires > found.requires
             ORDER BY w.requires LIMIT 1)
      FROM found WHERE found.requires IS NOT NULL
)
SELECT requires FROM found WHERE requires IS NOT NULL
"""


async def free_requirements(conn: Connection) -> set[str]:
    """The requirements that free runs have, one index probe for each."""
    return {row["requires"] for row in await conn.fetch(FREE_REQUIREMENTS)}


CLAIM = """
WITH free AS MATERIALIZED (
    SELECT chosen.run_id, row_number() OVER (ORDER BY chosen.priority, chosen.run_id) AS place
      FROM (SELECT waiting.run_id, waiting.priority
              FROM unnest($2::text[]) AS wanted (requires) CROSS JOIN LATERAL (
                   SELECT run_id, priority FROM work_items WHERE lease IS NULL AND requires = wanted.requires
                    ORDER BY priority, run_id LIMIT cardinality($1::text[]) FOR UPDATE SKIP LOCKED) AS waiting
             ORDER BY waiting.priority, waiting.run_id LIMIT cardinality($1::text[])) AS chosen
)
UPDATE work_items w
   SET lease = gen_random_uuid(), worker_id = ($1::text[])[free.place], granted_at = now(),
       lease_expires_at = now() + make_interval(secs => $3), lease_seq = 0, attempt = attempt + 1,
       started_at = coalesce(started_at, now())
  FROM free
 WHERE w.run_id = free.run_id AND w.run_id = ANY(ARRAY(SELECT run_id FROM free))
RETURNING w.run_id, w.lease, w.attempt, extract(epoch FROM w.deadline_at - now())::float8 AS deadline_in, w.pausing,
          free.place
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that was granted: the run, its token, how many leases it has had with this one, and in which place."""

    run_id: UUID
    lease: UUID
    attempt: int
    deadline_in: float | None
    pausing: bool = False
    place: int = 0


async def claim(
    conn: Connection, places: Sequence[str], requirements: Collection[str], lease_seconds: float
) -> list[Grant]:
    """Lease free runs with these requirements to free places, each given as the id of the worker that has it.

    The lowest priority number comes first, then the oldest run; runs fill the places in their order. Never waits for a
    lock.
    """
    rows = await conn.fetch(CLAIM, places, list(requirements), lease_seconds)
    return [
        Grant(row["run_id"], row["lease"], row["attempt"], row["deadline_in"], row["pausing"], row["place"] - 1)
        for row in sorted(rows, key=itemgetter("place"))
    ]


HEADS = """
SELECT id, workflow_id, version_id, entry, input, input_hash, trigger_type, trigger_id, trigger_node, depth, scope,
       requires, retry_of IS NOT NULL AS is_copy
  FROM runs WHERE id = ANY($1::uuid[]) AND id BETWEEN $1[1] AND $1[cardinality($1)]
"""


@dataclass(frozen=True, slots=True)
class Head:
    """What a worker must know of a run besides its journal; `input` is null when `input_hash` names a payload.

    A run that `is_copy` has a journal before its first lease.
    """

    run_id: UUID
    workflow_id: UUID | None
    version_id: UUID
    entry: str
    input: bytes | None
    input_hash: bytes | None
    trigger: Trigger
    depth: int
    scope: str | None
    required: str
    is_copy: bool


async def heads(conn: Connection, run_ids: Sequence[UUID]) -> dict[UUID, Head]:
    return {row["id"]: _head(row) for row in await conn.fetch(HEADS, sorted(run_ids))}


def _head(row: asyncpg.Record) -> Head:
    return Head(
        run_id=row["id"],
        workflow_id=row["workflow_id"],
        version_id=row["version_id"],
        entry=row["entry"],
        input=row["input"],
        input_hash=row["input_hash"],
        trigger=Trigger(row["trigger_type"], row["trigger_id"], row["trigger_node"]),
        depth=row["depth"],
        scope=row["scope"],
        required=row["requires"],
        is_copy=row["is_copy"],
    )


EXTEND = """
WITH held AS (
    SELECT w.run_id FROM work_items w JOIN unnest($1::uuid[], $2::uuid[]) AS h (run_id, lease) ON h.run_id = w.run_id
     WHERE w.run_id = ANY($1::uuid[]) AND w.lease = h.lease
     ORDER BY w.run_id FOR UPDATE OF w
)
UPDATE work_items SET lease_expires_at = now() + make_interval(secs => $3)
 WHERE run_id = ANY(ARRAY(SELECT run_id FROM held))
RETURNING lease
"""


async def extend(conn: Connection, run_ids: Sequence[UUID], leases: Sequence[UUID], lease_seconds: float) -> set[UUID]:
    """Extend leases; the tokens that are still good. An expired lease that nobody has taken back is good again."""
    return {row["lease"] for row in await conn.fetch(EXTEND, run_ids, leases, lease_seconds)}


NUDGED = """
SELECT lease, pausing, EXISTS (SELECT FROM run_inbox i WHERE i.run_id = w.run_id) AS mail
  FROM work_items w
 WHERE run_id = ANY($1::uuid[]) AND lease = ANY($2::uuid[])
   AND (pausing OR EXISTS (SELECT FROM run_inbox i WHERE i.run_id = w.run_id))
"""


async def nudged(conn: Connection, run_ids: Sequence[UUID], leases: Sequence[UUID]) -> tuple[set[UUID], set[UUID]]:
    """Those of the leases whose run is to be paused, and those whose run has messages that it has not taken in."""
    rows = await conn.fetch(NUDGED, run_ids, leases)
    return {row["lease"] for row in rows if row["pausing"]}, {row["lease"] for row in rows if row["mail"]}


CANCELLED = """
SELECT id FROM runs WHERE id = ANY($1::uuid[]) AND id BETWEEN $1[1] AND $1[cardinality($1)] AND status = 'cancelled'
"""


async def cancelled(conn: Connection, run_ids: Sequence[UUID]) -> set[UUID]:
    return {row["id"] for row in await conn.fetch(CANCELLED, sorted(run_ids))}


GIVE_BACK = """
WITH held AS (
    SELECT w.run_id FROM work_items w JOIN unnest($1::uuid[], $2::uuid[]) AS h (run_id, lease) ON h.run_id = w.run_id
     WHERE w.run_id = ANY($1::uuid[]) AND w.lease = h.lease
     ORDER BY w.run_id FOR UPDATE OF w
)
UPDATE work_items SET lease = NULL, worker_id = NULL, lease_expires_at = NULL
 WHERE run_id = ANY(ARRAY(SELECT run_id FROM held))
RETURNING run_id
"""


async def give_back(conn: Connection, run_ids: Sequence[UUID], leases: Sequence[UUID]) -> int:
    """Free runs that nobody has begun to work on under these leases; how many there were."""
    return len(await conn.fetch(GIVE_BACK, run_ids, leases))


RELEASE_WORKERS = """
WITH held AS (
    SELECT w.run_id
      FROM work_items w JOIN unnest($1::text[], $2::timestamptz[]) AS gone (worker_id, before)
        ON gone.worker_id = w.worker_id
     WHERE w.lease IS NOT NULL AND w.lease <> ALL($3::uuid[]) AND (gone.before IS NULL OR w.granted_at < gone.before)
     ORDER BY w.run_id FOR UPDATE OF w
)
UPDATE work_items SET lease = NULL, worker_id = NULL, lease_expires_at = NULL
 WHERE run_id = ANY(ARRAY(SELECT run_id FROM held))
RETURNING run_id
"""


async def release_workers(
    conn: Connection, granted_before: Mapping[str, datetime | None], kept: Collection[UUID]
) -> int:
    """Free all runs of these workers but those under the leases `kept`, or granted since the worker's moment."""
    workers, moments = list(granted_before.keys()), list(granted_before.values())
    return len(await conn.fetch(RELEASE_WORKERS, workers, moments, list(kept)))


TAKE_BACK = """
UPDATE work_items
   SET lease = NULL, worker_id = NULL, lease_expires_at = NULL, expiries = expiries + 1
 WHERE run_id = ANY(ARRAY(
        SELECT run_id FROM work_items WHERE lease IS NOT NULL AND lease_expires_at < now()
         ORDER BY run_id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING run_id, expiries
"""


async def take_back(conn: Connection, limit: int) -> list[tuple[UUID, int]]:
    """End expired leases, by the database's clock. Each run with its expiries since a step was last recorded."""
    return [(row["run_id"], row["expiries"]) for row in await conn.fetch(TAKE_BACK, limit)]


OVERDUE = """
(SELECT run_id FROM work_items WHERE deadline_at < now() ORDER BY deadline_at LIMIT $1)
UNION ALL
(SELECT run_id FROM parked WHERE wake_at <= now() AND reason = 'limited' ORDER BY wake_at LIMIT $1)
"""


async def overdue(conn: Connection, limit: int) -> list[UUID]:
    """Runs that are due, or wait for a place, and whose deadline has passed."""
    return [row["run_id"] for row in await conn.fetch(OVERDUE, limit)]
