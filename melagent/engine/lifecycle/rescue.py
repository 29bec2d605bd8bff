"""Rescue: work of dead workers becomes free again; what cannot go on, or not any longer, fails with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.domain.run import RunStatus
from melagent.domain.work import TIMED_OUT
from melagent.engine.lifecycle.persist import persistently
from melagent.store import finals, work
from melagent.store.pool import MAY_PASS, transaction

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.work import Final
    from melagent.store.pool import Pool

BATCH = 500
GIVE_UP_SECONDS = 5.0
MAX_EXPIRIES = 5
"""So many leases of a run may expire, with no step recorded in between, before it is taken to kill its workers."""

log = structlog.get_logger()

WORKER_LOST = {
    "code": "worker_lost",
    "message": f"{MAX_EXPIRIES} workers in a row were lost while they had this run, and none recorded a step.",
}


async def take_back_expired(pool: Pool) -> tuple[list[UUID], dict[UUID, Final]]:
    """Free the runs whose lease has expired; the ids of the freed ones, and those that failed instead."""
    expired = await persistently(pool, lambda conn: work.take_back(conn, BATCH), seconds=GIVE_UP_SECONDS)
    freed = [run_id for run_id, expiries in expired if expiries < MAX_EXPIRIES]
    failed = [run_id for run_id, expiries in expired if expiries >= MAX_EXPIRIES]
    return freed, await _fail(pool, failed, WORKER_LOST)


async def fail_overdue(pool: Pool) -> dict[UUID, Final]:
    """Fail the runs that are due, or wait for a place, and whose deadline has passed, whoever holds them."""
    run_ids = await persistently(pool, lambda conn: work.overdue(conn, BATCH), seconds=GIVE_UP_SECONDS)
    return await _fail(pool, run_ids, TIMED_OUT)


async def _fail(pool: Pool, run_ids: list[UUID], error: dict[str, str]) -> dict[UUID, Final]:
    """Fail those of the runs that have not ended meanwhile. A stuck one does not hold up the others."""
    failed: dict[UUID, Final] = {}
    for run_id in run_ids:
        try:
            async with transaction(pool) as conn:
                final = await finals.end(conn, run_id, RunStatus.FAILED, error)
        except MAY_PASS as failure:
            log.warning("run cannot be failed yet", run_id=str(run_id), error=f"{type(failure).__name__}: {failure}")
            continue
        if final is not None and not final.before.final:
            failed[run_id] = final
    return failed
