"""Start: a run and its work item come to be in one statement, already leased when a worker of this instance is free."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from melagent.domain.work import NewRun, WorkItem
from melagent.engine import metrics
from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.persist import bisected, persistently, with_partitions
from melagent.errors import MelError, Unprocessable
from melagent.store import work
from melagent.store.work import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from melagent.domain.links import Links
    from melagent.engine.slots import Slots
    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 10.0
LANES = 2


@dataclass(slots=True)
class Reserved:
    """A place reserved for a run, and the run as it is leased there."""

    slots: Slots
    item: WorkItem


class Starter:
    """Starts runs in batches. `offer` reserves a place for a run that requires something, if there is one here.

    `links` makes the links of a run that starts here. `on_queued` is told what the runs require that were left for any
    worker to claim, `on_limited` the workflows with runs that wait for a place.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        lease_seconds: float,
        offer: Callable[[str], Slots | None],
        on_queued: Callable[[set[str]], None],
        on_limited: Callable[[set[UUID]], None],
        links: Callable[[UUID], Links | None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._offer = offer
        self._links = links
        self._on_queued = on_queued
        self._on_limited = on_limited
        self._batcher: Batcher[NewRun, MelError | None] = Batcher(
            self._write, lanes=LANES, size_of=lambda run: len(run.input), key_of=lambda run: run.id
        )

    async def start(self, run: NewRun) -> None:
        """The run is durable when this returns. Raises Unavailable (it may or may not be there) or Unprocessable."""
        refused = await self._batcher.submit(run)
        if refused is not None:
            raise refused

    async def drain(self) -> None:
        await self._batcher.drain()

    async def _write(self, runs: Sequence[NewRun]) -> list[MelError | None]:
        places = {
            run.id: Reserved(slots, _leased(run, self._links(run.id)))
            for run in runs
            if run.limit is None and (slots := self._offer(run.requires)) is not None
        }
        held_from = asyncio.get_running_loop().time()
        leased: set[UUID] = set()

        async def insert(part: Sequence[NewRun]) -> list[MelError | None]:
            leased.update(await self._insert(part, [places.get(run.id) for run in part]))
            return [None] * len(part)

        try:
            results = await bisected(runs, insert, _refuse)
        finally:
            _fill(places.values(), leased, held_from)
        if queued := {run.requires for run in runs if run.id not in leased and run.limit is None}:
            self._on_queued(queued)
        if limited := {run.limit.workflow_id for run in runs if run.limit is not None}:
            self._on_limited(limited)
        return results

    async def _insert(self, runs: Sequence[NewRun], places: Sequence[Reserved | None]) -> set[UUID]:
        offers = [Offer(place.item.lease, place.slots.worker_id) if place else None for place in places]
        tries = 0

        async def operation(conn: Connection) -> set[UUID]:
            nonlocal tries
            tries += 1
            started = await with_partitions(
                conn, [run.id for run in runs], lambda: work.start(conn, runs, offers, self._lease_seconds)
            )
            return started if tries == 1 else started | await work.leased(conn, runs, offers)

        with metrics.START_SECONDS.time():
            leased = await persistently(self._pool, operation, seconds=GIVE_UP_SECONDS)
        metrics.RUNS_STARTED.inc(len(runs))
        return leased


def _fill(places: Iterable[Reserved], leased: Collection[UUID], held_from: float) -> None:
    """Run what was leased in the places reserved for it, and give back the other places."""
    by_slots: dict[Slots, list[WorkItem]] = {}
    for place in places:
        by_slots.setdefault(place.slots, []).append(place.item)
    for slots, items in by_slots.items():
        taken = [item for item in items if item.run_id in leased]
        if taken:
            slots.run(taken, held_from)
        slots.release(len(items) - len(taken))


def _leased(run: NewRun, links: Links | None) -> WorkItem:
    return WorkItem(
        run_id=run.id,
        lease=uuid4(),
        workflow_id=run.workflow_id,
        version_id=run.version_id,
        entry=run.entry,
        input=run.input,
        trigger=run.trigger,
        attempt=1,
        deadline_in=run.deadline_in,
        depth=run.parent.depth if run.parent else 0,
        scope=run.scope,
        required=run.requires,
        links=links,
    )


def _refuse(_run: NewRun, error: BaseException) -> MelError | None:
    return Unprocessable(f"The run cannot be stored: {type(error).__name__}.")
