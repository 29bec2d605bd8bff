"""Copy: a run starts with recorded steps of another. Run, work item, steps and values come to be together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.engine import metrics
from melagent.engine.lifecycle.persist import persistently, with_partitions
from melagent.errors import NotFound
from melagent.store import copies, work
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from melagent.domain.work import Copy
    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 30.0


async def copy(pool: Pool, wanted: Copy) -> None:
    """Start the run, unless it was made before, by an earlier try whose answer was lost; durable when this returns.

    NotFound when steps that were to be copied are gone: the run they belong to has been deleted meanwhile.
    """

    async def operation(conn: Connection) -> None:
        await with_partitions(conn, [wanted.run.id], lambda: _write(conn, wanted))

    with metrics.START_SECONDS.time():
        await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    metrics.RUNS_STARTED.inc()


async def _write(conn: Connection, wanted: Copy) -> None:
    run = wanted.run
    async with guarded(conn):
        if await copies.is_there(conn, run.id):
            return
        await work.start(conn, [run], [None], lease_seconds=0.0)
        copied = await copies.copy(conn, run.id, wanted.source, wanted.step_keys, wanted.outputs)
        if copied != len(wanted.step_keys):
            raise NotFound(f"Run {wanted.source} has been deleted.")
