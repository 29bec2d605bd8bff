"""Purge: runs that have ended are deleted, in small transactions, for whoever does not want to wait for their week."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from melagent.engine.lifecycle.persist import persistently
from melagent.store import purge as store
from melagent.store.pool import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from melagent.domain.run import Purge
    from melagent.store.pool import Connection, Pool
    from melagent.store.purge import Ended

BATCH_RUNS = 200
BATCH_ROWS = 10_000
"""A transaction deletes no more, but at least one run: the largest one possible takes about a second."""

GIVE_UP_SECONDS = 10.0


async def purge(
    pool: Pool, wanted: Purge, after: UUID, *, seconds: float, dry_run: bool = False
) -> tuple[int, UUID | None]:
    """Delete runs with ids beyond `after` for about so many seconds; how many, and where to go on, null when done.

    A run that has not ended is never deleted. Each run goes as a whole or not at all, so the call may break off
    anywhere and be repeated. With `dry_run` runs are counted only.
    """
    clock = asyncio.get_running_loop().time
    until, count = clock() + seconds, 0
    while True:
        look = partial(store.look, purge=wanted, after=after)
        ended, last = await persistently(pool, look, seconds=GIVE_UP_SECONDS)
        for batch in _batches(ended):
            if clock() > until and count:
                return count, after
            count += len(batch) if dry_run else await _delete(pool, batch)
            after = batch[-1]
        if last is None:
            return count, None
        after = last
        if clock() > until:
            return count, after


def _batches(ended: Sequence[Ended]) -> Iterator[list[UUID]]:
    batch: list[UUID] = []
    rows = 0
    for run in ended:
        if batch and (len(batch) == BATCH_RUNS or rows + run.rows > BATCH_ROWS):
            yield batch
            batch, rows = [], 0
        batch.append(run.run_id)
        rows += run.rows
    if batch:
        yield batch


async def _delete(pool: Pool, run_ids: Sequence[UUID]) -> int:
    async def operation(conn: Connection) -> int:
        async with guarded(conn):
            return await store.delete(conn, run_ids)

    return await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
