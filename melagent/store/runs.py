"""Reading runs. Their state is written by `engine.lifecycle` alone.

`status` is the shown one: a pending run with a live lease is running. The id of a run holds the time of its making, so
every look-up by time is a range of ids and touches only the partitions of that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.domain.work import Caller
from melagent.store.rows import StoredRun, run_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

_SHOWN_STATUS = "CASE WHEN w.lease_expires_at > now() THEN 'running' ELSE r.status END"
_LIMITED = """json_build_object('type', 'limit', 'runs', p.limit_to,
                         'message', 'so many runs of the workflow may be due at once')"""
_SLEEPING = """json_build_object('type', 'time',
                          'until', to_char(p.wake_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""

_FROM = """
  FROM runs r
  LEFT JOIN work_items w ON w.run_id = r.id
  LEFT JOIN parked p ON p.run_id = r.id
  LEFT JOIN versions v ON v.id = r.version_id
"""

_COLUMNS = f"""
       r.id, r.workflow_id, r.version_id, v.version_number AS version, r.entry, {_SHOWN_STATUS} AS status,
       r.trigger_type, r.trigger_id, r.trigger_node, r.scheduled_for, r.error, r.created_at, r.finished_at,
       coalesce(r.started_at, w.started_at, p.started_at) AS started_at,
       coalesce(w.attempt, p.attempt, r.attempt) AS attempt,
       CASE WHEN w.lease_expires_at > now() THEN w.worker_id END AS worker_id, r.parent_run_id, r.retry_of, r.scope,
       coalesce((SELECT f.name FROM workflows f WHERE f.id = r.workflow_id), v.name) AS workflow_name,
       CASE p.reason WHEN 'limited' THEN {_LIMITED} WHEN 'sleeping' THEN {_SLEEPING} ELSE p.waiting_for END
           AS waiting_for
"""  # noqa: S608  # constants of this module

_PAGE = f"""
 WHERE r.id >= $1 AND r.id < $2 AND ($3::uuid IS NULL OR r.trigger_id = $3)
   AND ($4::text IS NULL OR $4 = {_SHOWN_STATUS})
"""

FIND_RUN = f"SELECT {_COLUMNS}, r.input, r.input_hash, r.output, r.output_hash {_FROM} WHERE r.id = $1"


async def find(conn: Connection, run_id: UUID) -> StoredRun | None:
    row = await conn.fetchrow(FIND_RUN, run_id)
    return run_of(row) if row else None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list: `since` is included, `until` is not; both are ids (see `ids.first_id_at`)."""

    since: UUID
    until: UUID
    workflow_id: UUID | None = None
    trigger_id: UUID | None = None
    status: str | None = None


_NO_VALUES = "NULL::bytea AS input, NULL::bytea AS input_hash, NULL::bytea AS output, NULL::bytea AS output_hash"

LIST_RUNS = f"SELECT {_COLUMNS}, {_NO_VALUES} {_FROM} {_PAGE} ORDER BY r.id DESC LIMIT $5"

# A statement of its own: plans are generic here, and one with an optional workflow could not use the index.
LIST_RUNS_OF_WORKFLOW = (
    f"SELECT {_COLUMNS}, {_NO_VALUES} {_FROM} {_PAGE} AND r.workflow_id = $6 ORDER BY r.id DESC LIMIT $5"
)


async def page(conn: Connection, wanted: RunFilter, limit: int) -> list[StoredRun]:
    """The newest runs that fit, newest first, without their input and output."""
    values = [wanted.since, wanted.until, wanted.trigger_id, wanted.status, limit]
    if wanted.workflow_id is None:
        rows = await conn.fetch(LIST_RUNS, *values)
    else:
        rows = await conn.fetch(LIST_RUNS_OF_WORKFLOW, *values, wanted.workflow_id)
    return [run_of(row) for row in rows]


CALLER = "SELECT workflow_id, version_id, requires, depth FROM runs WHERE id = $1"


async def caller(conn: Connection, run_id: UUID) -> tuple[Caller, int] | None:
    """What is known of a run that starts others, and how deep below its topmost parent it is."""
    row = await conn.fetchrow(CALLER, run_id)
    return (Caller(row["workflow_id"], row["version_id"], row["requires"]), row["depth"]) if row else None


ASKED_OF_WORKERS = "SELECT priority, requires FROM runs WHERE id = $1"


async def asked_of_workers(conn: Connection, run_id: UUID) -> tuple[int, str] | None:
    """The priority of a run, and what it required at its start."""
    row = await conn.fetchrow(ASKED_OF_WORKERS, run_id)
    return (row["priority"], row["requires"]) if row else None


LIVE_RUNS_OF_WORKFLOW = """
SELECT r.id
  FROM (SELECT run_id FROM work_items UNION ALL SELECT run_id FROM parked) AS live
  JOIN runs r ON r.id = live.run_id
 WHERE r.workflow_id = $1
"""


async def live_of_workflow(conn: Connection, workflow_id: UUID) -> list[UUID]:
    """The runs of a workflow that have not ended."""
    return [row["id"] for row in await conn.fetch(LIVE_RUNS_OF_WORKFLOW, workflow_id)]


STARTED_FOR_FAILURE = """
WITH RECURSIVE up AS (
    SELECT parent_run_id, trigger_type FROM runs WHERE id = $1
    UNION ALL
    SELECT r.parent_run_id, r.trigger_type FROM up JOIN runs r ON r.id = up.parent_run_id
)
SELECT EXISTS (SELECT FROM up WHERE trigger_type = 'error')
"""


async def started_for_failure(conn: Connection, run_id: UUID) -> bool:
    """Whether a run was started for the failure of another, or called by one that was, however many calls ago."""
    return bool(await conn.fetchval(STARTED_FOR_FAILURE, run_id))


FREE_REQUIREMENT = "SELECT requires FROM work_items WHERE run_id = $1 AND lease IS NULL"


async def free_requirement(conn: Connection, run_id: UUID) -> str | None:
    """What a free run requires of its worker; null when the run is not free."""
    return await conn.fetchval(FREE_REQUIREMENT, run_id)  # type: ignore[no-any-return]  # the driver has no types


WAITING_RUNS = """
SELECT requires, count(*) AS depth, (array_agg(run_id ORDER BY run_id))[1] AS oldest
  FROM work_items WHERE lease IS NULL GROUP BY requires ORDER BY requires
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many free runs require this, and the oldest of them."""

    requires: str
    depth: int
    oldest: UUID


async def waiting(conn: Connection) -> list[Waiting]:
    """What waits for a worker, by what it requires. Reads the whole queue."""
    return [Waiting(row["requires"], row["depth"], row["oldest"]) for row in await conn.fetch(WAITING_RUNS)]


COUNT_LIVE_RUNS = """
SELECT CASE WHEN lease IS NULL THEN 'pending' ELSE 'running' END AS status, count(*) FROM work_items GROUP BY 1
UNION ALL
SELECT reason, count(*) FROM parked GROUP BY 1
"""


async def count_live(conn: Connection) -> dict[str, int]:
    """How many runs have not ended, by shown status; states without runs are left out."""
    return {row["status"]: row["count"] for row in await conn.fetch(COUNT_LIVE_RUNS)}
