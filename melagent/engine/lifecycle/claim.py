"""Claim: free runs are leased to workers, and what a worker needs to go on from their last recorded step is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from melagent.domain.work import WorkItem
from melagent.engine import metrics
from melagent.engine.lifecycle.persist import persistently
from melagent.engine.lifecycle.signal import MAX_MESSAGES
from melagent.errors import NotFound
from melagent.store import inbox, journal, payloads, variables, work

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.domain.variables import Wanted
    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0


async def claim(
    pool: Pool, places: Sequence[str], requirements: Collection[str], lease_seconds: float
) -> list[tuple[int, WorkItem]]:
    """Lease free runs to places, each given as its worker's id; the place of each item. Unavailable after 5 s.

    When the answer is lost after the commit the rescuer frees what was leased and not run. Journals and large inputs
    are left out (see `load`): they must not hold up the leases of others.
    """
    with metrics.CLAIM_SECONDS.time():
        grants = await persistently(
            pool, lambda conn: work.claim(conn, places, requirements, lease_seconds), seconds=GIVE_UP_SECONDS
        )
        if not grants:
            return []
        run_ids = [grant.run_id for grant in grants]
        heads = await persistently(pool, lambda conn: work.heads(conn, run_ids), seconds=GIVE_UP_SECONDS)
    return [(grant.place, _item(grant, heads[grant.run_id])) for grant in grants]


async def free_requirements(pool: Pool) -> set[str]:
    """What free runs require."""
    return await persistently(pool, work.free_requirements, seconds=GIVE_UP_SECONDS)


async def load(pool: Pool, item: WorkItem) -> WorkItem:
    """The item with its journal, its messages and its input. Unavailable when the database stays away for 5 s."""

    async def operation(conn: Connection) -> WorkItem:
        run_input, steps = item.input, item.journal
        if run_input is None and item.input_hash is not None:
            run_input = (await payloads.load(conn, item.run_id, [item.input_hash]))[item.input_hash]
        messages = item.inbox
        if steps is None:
            messages = await inbox.unread(conn, item.run_id, MAX_MESSAGES)
            steps = await journal.journal(conn, item.run_id)
        return replace(item, input=run_input or b"null", input_hash=None, journal=steps, inbox=messages)

    return item if item.loaded else await persistently(pool, operation, seconds=GIVE_UP_SECONDS)


async def steps_after(pool: Pool, run_id: UUID, seq: int, limit: int) -> list[tuple[StepRecord, bytes | None]]:
    """Recorded steps after a `seq`; where an output is a large value, its hash stands for it."""
    return await persistently(pool, lambda conn: journal.page(conn, run_id, seq, limit), seconds=GIVE_UP_SECONDS)


async def recorded(pool: Pool, run_id: UUID, seq: int) -> StepRecord:
    """The step that was recorded under a `seq`, with its output however large. NotFound when there is none."""

    async def operation(conn: Connection) -> StepRecord | None:
        for step, digest in await journal.page(conn, run_id, seq - 1, 1):
            if step.seq == seq:
                return replace(step, output=(await payloads.load(conn, run_id, [digest]))[digest]) if digest else step
        return None

    step = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    if step is None:
        raise NotFound(f"The run {run_id} has no step {seq}.")
    return step


async def read_variables(pool: Pool, workflow_id: UUID | None, wanted: Wanted) -> dict[str, bytes]:
    """The JSON text of variables that a run of a workflow sees, by key. TooLarge above 16 MiB in all."""
    return await persistently(pool, lambda conn: variables.of_run(conn, workflow_id, wanted), seconds=GIVE_UP_SECONDS)


def _item(grant: work.Grant, head: work.Head) -> WorkItem:
    return WorkItem(
        run_id=grant.run_id,
        lease=grant.lease,
        workflow_id=head.workflow_id,
        version_id=head.version_id,
        entry=head.entry,
        input=head.input if head.input_hash else head.input or b"null",
        input_hash=head.input_hash,
        trigger=head.trigger,
        attempt=grant.attempt,
        deadline_in=grant.deadline_in,
        journal=() if grant.attempt == 1 and not head.is_copy else None,
        pausing=grant.pausing,
        depth=head.depth,
        scope=head.scope,
        required=head.required,
    )
