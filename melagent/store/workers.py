"""Remote workers: who has registered, when they were last heard of, and which runs they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A registration. `concurrency` is how many runs the worker holds at most."""

    id: str
    session: UUID
    token_id: str
    name: str
    version: str
    labels: list[str]
    node_types: list[str]
    concurrency: int
    instance: str


REGISTER = """
INSERT INTO workers AS known (id, session, token_id, name, version, labels, node_types, concurrency, instance)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO UPDATE
   SET session = excluded.session, token_id = excluded.token_id, name = excluded.name, version = excluded.version,
       labels = excluded.labels, node_types = excluded.node_types, concurrency = excluded.concurrency,
       instance = excluded.instance, draining = false, registered_at = now(), last_contact_at = now(),
       heartbeat_seq = 0, heartbeat_at = NULL
 WHERE known.session <> excluded.session
   AND (known.token_id = excluded.token_id OR known.last_contact_at < now() - interval '1 minute')
RETURNING clock_timestamp() AS begun_at
"""


async def register(conn: Connection, worker: WorkerRow) -> datetime | None:
    """Begin a session, which ends an earlier one of this worker; the moment, by the database's clock.

    Null when somebody with another token has the id, or when this very session has begun before. Whatever was granted
    before the moment was granted to an earlier session, and nothing of a later one was.
    """
    begun_at: datetime | None = await conn.fetchval(
        REGISTER,
        worker.id,
        worker.session,
        worker.token_id,
        worker.name,
        worker.version,
        worker.labels,
        worker.node_types,
        worker.concurrency,
        worker.instance,
    )
    return begun_at


FIND_WORKER = """
SELECT id, session, token_id, name, version, labels, node_types, concurrency, instance FROM workers WHERE id = $1
"""


async def find(conn: Connection, worker_id: str) -> WorkerRow | None:
    row = await conn.fetchrow(FIND_WORKER, worker_id)
    return value_of(WorkerRow, row) if row else None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`leases` are all that the worker holds, by run; `seq` grows with each heartbeat of a session."""

    worker_id: str
    session: UUID
    seq: int
    leases: Mapping[UUID, UUID]
    draining: bool


BEAT = """
WITH beat AS (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::boolean[]) AS t (id, session, seq, draining)
), locked AS (
    SELECT w.id, w.heartbeat_at FROM workers w JOIN beat b ON b.id = w.id AND b.session = w.session
     WHERE w.id = ANY($1::text[]) AND b.seq > w.heartbeat_seq
     ORDER BY w.id FOR UPDATE OF w
)
UPDATE workers w
   SET heartbeat_seq = b.seq, heartbeat_at = now(), draining = b.draining, last_contact_at = now(), instance = $5
  FROM beat b JOIN locked l ON l.id = b.id
 WHERE w.id = b.id AND w.id = ANY($1::text[])
RETURNING w.id, l.heartbeat_at AS previous
"""


async def beat(conn: Connection, beats: Sequence[Heartbeat], instance: str) -> dict[str, datetime | None]:
    """Take in one heartbeat each of several workers: when the one before came, by the database's clock.

    An older heartbeat than the last, or one of an older session, changes nothing and is not in the answer.
    """
    rows = await conn.fetch(
        BEAT,
        [beat.worker_id for beat in beats],
        [beat.session for beat in beats],
        [beat.seq for beat in beats],
        [beat.draining for beat in beats],
        instance,
    )
    return {row["id"]: row["previous"] for row in rows}


CONTACT = """
WITH seen AS (
    SELECT w.id FROM workers w JOIN unnest($1::text[], $2::uuid[]) AS s (id, session)
        ON s.id = w.id AND s.session = w.session
     WHERE w.id = ANY($1::text[])
     ORDER BY w.id FOR UPDATE OF w
)
UPDATE workers SET last_contact_at = now(), instance = $3 WHERE id = ANY(ARRAY(SELECT id FROM seen))
RETURNING id
"""


async def contact(conn: Connection, sessions: dict[str, UUID], instance: str) -> set[str]:
    """Note that these workers were heard of, each with its session; those of whom it is the current one."""
    rows = await conn.fetch(CONTACT, list(sessions.keys()), list(sessions.values()), instance)
    return {row["id"] for row in rows}


FORGET_WORKER = "DELETE FROM workers WHERE id = $1 AND session = $2 RETURNING clock_timestamp() AS ended_at"


async def forget(conn: Connection, worker_id: str, session: UUID) -> datetime | None:
    """End a session; the moment, by the database's clock. Null when it had ended before."""
    ended_at: datetime | None = await conn.fetchval(FORGET_WORKER, worker_id, session)
    return ended_at


FORGET_SILENT = "DELETE FROM workers WHERE last_contact_at < now() - make_interval(secs => $1)"


async def forget_silent(conn: Connection, seconds: float) -> int:
    """Forget workers that were not heard of for so long; a worker that comes back registers again."""
    return int((await conn.execute(FORGET_SILENT, seconds)).split()[-1])


@dataclass(frozen=True, slots=True)
class ListedWorker:
    """A worker as people see it. `busy` counts its live leases; `silent_seconds` is the time since it was heard of."""

    id: str
    name: str
    version: str
    labels: list[str]
    node_types: list[str]
    concurrency: int
    busy: int
    instance: str
    draining: bool
    registered_at: datetime
    last_contact_at: datetime
    silent_seconds: float


LIST_WORKERS = """
SELECT w.id, w.name, w.version, w.labels, w.node_types, w.concurrency, coalesce(held.count, 0) AS busy, w.instance,
       w.draining, w.registered_at, w.last_contact_at,
       extract(epoch FROM now() - w.last_contact_at)::float8 AS silent_seconds
  FROM workers w
  LEFT JOIN (SELECT worker_id, count(*) AS count FROM work_items WHERE lease IS NOT NULL GROUP BY worker_id) AS held
    ON held.worker_id = w.id
 WHERE w.id > $1
 ORDER BY w.id LIMIT $2
"""


async def page(conn: Connection, after: str, limit: int | None) -> list[ListedWorker]:
    """The workers with an id behind `after`, in the order of their ids; null for a limit means all of them."""
    return [value_of(ListedWorker, row) for row in await conn.fetch(LIST_WORKERS, after, limit)]


COUNT_WORKERS = "SELECT count(*) FROM workers"


async def count(conn: Connection) -> int:
    return int(await conn.fetchval(COUNT_WORKERS))


@dataclass(frozen=True, slots=True)
class ActiveWorker:
    """What a worker that takes work has to offer. `bound`: its token has labels, so it takes no run without any."""

    labels: list[str]
    node_types: list[str]
    bound: bool


ACTIVE_WORKERS = """
SELECT w.labels, w.node_types, coalesce(cardinality(t.labels) > 0, false) AS bound
  FROM workers w LEFT JOIN tokens t ON t.id::text = w.token_id
 WHERE NOT w.draining AND w.last_contact_at > now() - make_interval(secs => $1)
"""


async def active(conn: Connection, seconds: float) -> list[ActiveWorker]:
    """Workers that were heard of within so many seconds and are not draining."""
    return [value_of(ActiveWorker, row) for row in await conn.fetch(ACTIVE_WORKERS, seconds)]


HELD_RUNS = "SELECT run_id FROM work_items WHERE run_id = ANY($1::uuid[]) AND worker_id = $2 AND lease IS NOT NULL"


async def held(conn: Connection, worker_id: str, run_ids: Collection[UUID]) -> set[UUID]:
    """Those of the runs that a worker holds."""
    return {row["run_id"] for row in await conn.fetch(HELD_RUNS, list(run_ids), worker_id)}


HOLDS_PARENT = """
SELECT EXISTS (SELECT FROM runs c JOIN work_items w ON w.run_id = c.parent_run_id
                WHERE c.id = $2 AND c.attached AND w.worker_id = $1 AND w.lease IS NOT NULL)
"""


async def holds_parent(conn: Connection, worker_id: str, run_id: UUID) -> bool:
    """Whether a worker holds the run that waits for the end of this one."""
    return bool(await conn.fetchval(HOLDS_PARENT, worker_id, run_id))


HOLDS_VERSION = """
SELECT EXISTS (SELECT FROM work_items w JOIN runs r ON r.id = w.run_id
                WHERE w.lease IS NOT NULL AND w.worker_id = $1 AND r.version_id = $2)
"""


async def holds_version(conn: Connection, worker_id: str, version_id: UUID) -> bool:
    """Whether a worker holds a run of this version."""
    return bool(await conn.fetchval(HOLDS_VERSION, worker_id, version_id))
