"""Claim: free runs are leased to a worker, with all it needs to go on from their last recorded step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.domain.work import WorkItem
from melagent.engine.lifecycle.persist import persistently
from melagent.store import journal, payloads, work

if TYPE_CHECKING:
    from melagent.domain.run import StepRecord
    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0

log = structlog.get_logger()


async def claim(pool: Pool, worker_id: str, limit: int, lease_seconds: float) -> list[WorkItem]:
    """Lease up to `limit` runs. Unavailable when the database cannot do it for 5 s.

    When the answer is lost after the commit, or a run cannot be loaded, the rescuer frees what was leased and not run.
    """
    grants = await persistently(
        pool, lambda conn: work.claim(conn, worker_id, limit, lease_seconds), seconds=GIVE_UP_SECONDS
    )
    if not grants:
        return []
    run_ids = [grant.run_id for grant in grants]
    heads = await persistently(pool, lambda conn: work.heads(conn, run_ids), seconds=GIVE_UP_SECONDS)
    items = [await _loaded(pool, grant, heads[grant.run_id]) for grant in grants]
    return [item for item in items if item is not None]


async def _loaded(pool: Pool, grant: work.Grant, head: work.Head) -> WorkItem | None:
    """The work item of a grant; null when the run cannot be loaded, which must not harm the others."""
    if grant.attempt == 1 and head.input_hash is None:
        return _item(grant, head, head.input or b"null", ())
    try:
        return await persistently(pool, lambda conn: _load(conn, grant, head), seconds=GIVE_UP_SECONDS)
    except Exception:
        log.exception("run cannot be loaded", run_id=str(grant.run_id))
        return None


async def _load(conn: Connection, grant: work.Grant, head: work.Head) -> WorkItem:
    steps = await journal.journal(conn, grant.run_id) if grant.attempt > 1 else ()
    return _item(grant, head, await _input(conn, head), steps)


def _item(grant: work.Grant, head: work.Head, run_input: bytes, steps: tuple[StepRecord, ...]) -> WorkItem:
    return WorkItem(
        run_id=grant.run_id,
        lease=grant.lease,
        workflow_id=head.workflow_id,
        version_id=head.version_id,
        entry=head.entry,
        input=run_input,
        trigger=head.trigger,
        attempt=grant.attempt,
        next_seq=steps[-1].seq + 1 if steps else 1,
        deadline_in=grant.deadline_in,
        journal=steps,
    )


async def _input(conn: Connection, head: work.Head) -> bytes:
    if head.input_hash is None:
        return head.input or b"null"
    return (await payloads.load(conn, head.run_id, [head.input_hash]))[head.input_hash]
