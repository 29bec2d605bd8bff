"""Small factories for tests of the engine, and what the database says about the runs they make."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from melagent.domain.definition import Definition
from melagent.domain.ids import uuid7
from melagent.domain.requirement import ANY_WORKER
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Entry, NewRun, Settle, WorkItem
from melagent.engine.lifecycle.claim import claim, load
from melagent.engine.lifecycle.hold import Holder
from melagent.services.definitions import encode, fingerprint
from melagent.store import parked, versions, work
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

VERSION = UUID("00000000-0000-7000-8000-000000000001")
"""A version that nobody looks up."""

COMPLETED = Settle(RunStatus.COMPLETED, output=b'"done"')
RELEASED = Settle(RunStatus.PENDING)


def new_run(version_id: UUID = VERSION, **changes: Any) -> NewRun:
    """A run that enters at the node `start`."""
    return NewRun(**{"id": new_id(), "workflow_id": None, "version_id": version_id, "entry": "start", "input": b"null"}
                  | changes)  # fmt: skip


def waiting_id() -> UUID:
    """The id of a run that has waited for a second: nobody may overtake it."""
    return uuid7(time.time_ns() // 1_000_000 - 1_000, os.urandom(10))


def step(key: str = "a", seq: int = 1, **changes: Any) -> StepRecord:
    """A completed step of a node that is named like its key."""
    now = datetime.now(UTC)
    fields = {"step_key": key, "node_id": key, "node_type": "noop", "status": StepStatus.COMPLETED, "attempt": 1,
              "started_at": now, "finished_at": now, "handle": "out", "output": b"1", "seq": seq}  # fmt: skip
    return StepRecord(**fields | changes)


def entry(grant: Any, seq: int = 1, *steps: StepRecord, settle: Settle | None = None) -> Entry:
    """A write under a grant or work item."""
    return Entry(grant.run_id, grant.lease, seq, steps, settle)


def chain(*nodes: tuple[str, str] | dict[str, Any], **settings: Any) -> Definition:
    """A definition whose nodes follow one another: each `(id, type)`, or all the fields of a node."""
    full = [{"id": node[0], "type": node[1]} if isinstance(node, tuple) else node for node in nodes]
    pairs = itertools.pairwise(full)
    edges = [{"source": source["id"], "target": target["id"]} for source, target in pairs]
    return Definition.model_validate({"nodes": full, "edges": edges, "settings": settings})


async def stored(pool: Any, definition: Definition) -> UUID:
    """The id of a version with this definition."""
    text = encode(definition)
    async with pool.acquire() as conn:
        return await versions.keep_unlisted(
            conn, new_id(), name="test", definition=text, definition_hash=fingerprint(text), created_by="tests"
        )


async def free_run(conn: Any, **changes: Any) -> NewRun:
    """A run that waits for a worker."""
    run = new_run(**{"id": waiting_id()} | changes)
    await work.start(conn, [run], [None], 15.0)
    return run


async def leased_run(conn: Any, worker_id: str = "worker", **changes: Any) -> work.Grant:
    """A run that a worker has leased."""
    run = await free_run(conn, **changes)
    lease = uuid4()
    await conn.execute(
        "UPDATE work_items SET lease = $2, worker_id = $3, lease_expires_at = now() + interval '15 s',"
        " attempt = attempt + 1, started_at = now() WHERE run_id = $1",
        run.id, lease, worker_id,
    )  # fmt: skip
    return work.Grant(run.id, lease, 1, None)


async def claimed(pool: Any, worker_id: str, limit: int, lease_seconds: float = 15.0) -> list[WorkItem]:
    """Up to `limit` free runs without requirements, leased to a worker, loaded."""
    items = await claim(pool, [worker_id] * limit, [ANY_WORKER], lease_seconds)
    return [await load(pool, item) for _, item in items]


async def extended(pool: Any, leases: Mapping[UUID, UUID], lease_seconds: float = 15.0) -> frozenset[UUID]:
    """Keep leases, given by run; those that are lost."""
    return (await Holder(pool, lease_seconds=lease_seconds).extend(leases)).lost


async def expire(conn: Any, *run_ids: UUID) -> None:
    """Let the leases of these runs, or of all, have run out."""
    await conn.execute(
        "UPDATE work_items SET lease_expires_at = now() - interval '1 ms'"
        " WHERE lease IS NOT NULL AND (run_id = ANY($1::uuid[]) OR cardinality($1::uuid[]) = 0)",
        list(run_ids),
    )


async def unpark(conn, limit):
    """Make due what is due; the ids, in no order."""
    woken, _ = await parked.unpark(conn, await parked.due(conn, limit))
    return woken


async def place(conn: Any, run_id: UUID) -> tuple[str | None, str]:
    """The stored status of a run, and where it is: `free`, `leased`, `parked`, or `nowhere`."""
    row = await conn.fetchrow(
        "SELECT (SELECT status FROM runs WHERE id = $1),"
        " coalesce((SELECT CASE WHEN lease IS NULL THEN 'free' ELSE 'leased' END FROM work_items WHERE run_id = $1),"
        "          (SELECT 'parked' FROM parked WHERE run_id = $1), 'nowhere')",
        run_id,
    )
    return row[0], row[1]


MISPLACED = """
SELECT run_id, r.status, count(place) AS places
  FROM (SELECT run_id, 'item' AS place FROM work_items UNION ALL SELECT run_id, 'parked' FROM parked
        UNION ALL SELECT id, NULL FROM runs) AS every
  LEFT JOIN runs r ON r.id = run_id
 GROUP BY run_id, r.status
HAVING count(place) <> CASE WHEN r.status IN ('completed', 'failed', 'cancelled') THEN 0 ELSE 1 END
"""


async def misplaced(conn: Any) -> Sequence[Any]:
    """Runs that break the rule: one row in work_items or parked until the end, none after it."""
    return await conn.fetch(MISPLACED)


async def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of a condition, which may be a coroutine function; fails when it stays false."""
    give_up_at = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < give_up_at, f"not within {seconds} s: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(0.01)


async def waits_for_a_lock(pool: Any) -> None:
    """Return when some session of this test's database waits for a lock."""

    async def waits() -> Any:
        return await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

    await eventually(waits)
