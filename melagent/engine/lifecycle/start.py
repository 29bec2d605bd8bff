"""Start: a run and its work item come to be in one statement, already leased when this process can run it at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

from melagent.domain.work import NewRun, WorkItem
from melagent.engine import metrics
from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.persist import bisected, persistently, with_partitions
from melagent.errors import MelError, Unprocessable
from melagent.store import work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 10.0
LANES = 2


class Slots(Protocol):
    """Free places of a worker in this process, for runs that start right here."""

    @property
    def worker_id(self) -> str: ...

    def reserve(self, wanted: int, /) -> int:
        """Take up to `wanted` places; how many there were."""

    def release(self, count: int, /) -> None:
        """Give back reserved places that are not needed."""

    def run(self, items: Sequence[WorkItem], held_from: float, /) -> None:
        """Run items in reserved places. The leases count from `held_from`, on the event loop's clock."""


class NoSlots:
    """For a process without a worker: every run is queued."""

    worker_id = ""

    def reserve(self, _wanted: int) -> int:
        return 0

    def release(self, _count: int) -> None:
        pass

    def run(self, _items: Sequence[WorkItem], _held_from: float) -> None:
        raise AssertionError("no place was reserved")


class Starter:
    """Starts runs in batches. `on_queued` is told when runs were left for any worker to claim."""

    def __init__(
        self, pool: Pool, *, lease_seconds: float, on_queued: Callable[[], None], slots: Slots | None = None
    ) -> None:
        self.slots: Slots = slots or NoSlots()
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._on_queued = on_queued
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
        reserved = self.slots.reserve(len(runs))
        items = [_leased(run) for run in runs[:reserved]]
        leases: dict[UUID, UUID | None] = {item.run_id: item.lease for item in items}
        held_from = asyncio.get_running_loop().time()
        leased: set[UUID] = set()

        async def insert(part: Sequence[NewRun]) -> list[MelError | None]:
            leased.update(await self._insert(part, leases))
            return [None] * len(part)

        try:
            results = await bisected(runs, insert, _refuse)
        finally:
            taken = [item for item in items if item.run_id in leased]
            self.slots.release(reserved - len(taken))
            if taken:
                self.slots.run(taken, held_from)
        if len(taken) < len(runs):
            self._on_queued()
        return results

    async def _insert(self, runs: Sequence[NewRun], leases: dict[UUID, UUID | None]) -> set[UUID]:
        tokens = [leases.get(run.id) for run in runs]
        tries = 0

        async def operation(conn: Connection) -> set[UUID]:
            nonlocal tries
            tries += 1
            started = await with_partitions(
                conn,
                [run.id for run in runs],
                lambda: work.start(conn, runs, tokens, self.slots.worker_id, self._lease_seconds),
            )
            return started if tries == 1 else started | await work.leased(conn, runs, tokens)

        with metrics.START_SECONDS.time():
            leased = await persistently(self._pool, operation, seconds=GIVE_UP_SECONDS)
        metrics.RUNS_STARTED.inc(len(runs))
        return leased


def _leased(run: NewRun) -> WorkItem:
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
    )


def _refuse(_run: NewRun, error: BaseException) -> MelError | None:
    return Unprocessable(f"The run cannot be stored: {type(error).__name__}.")
