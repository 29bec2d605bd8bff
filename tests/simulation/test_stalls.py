"""A worker whose whole process stands still, in the moment that hurts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from melagent.domain.definition import Definition
from melagent.domain.run import Trigger
from melagent.domain.work import Verdict, WorkItem
from melagent.engine.context import World
from melagent.engine.lifecycle.hold import Extended
from melagent.registry import Registry
from melagent.worker.worker import Worker, WorkerOptions
from tests.simulation.loop import Process, VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from melagent.domain.work import ChildCall, Entry, Message, NewRun

LEASE_SECONDS = 15.0


class OneRun:
    """A source with a single run, leased a little after it was asked for. Nothing of it is ever settled."""

    claims = 0

    def __init__(self) -> None:
        self.given = 0

    def stop_claiming(self) -> None:
        pass

    async def load(self, item: WorkItem) -> WorkItem:
        return item

    def on_work(self, listener: Callable[[], None]) -> None:
        pass

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        await asyncio.sleep(0.1)
        self.given += 1
        if self.given == 1:
            take([WorkItem(UUID(int=1), UUID(int=2), None, UUID(int=3), "start", b"null", Trigger(), attempt=1)])

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        return asyncio.get_running_loop().create_future()

    async def child(self, call: ChildCall) -> NewRun:
        raise AssertionError("its run calls nobody")

    async def inbox(self, run_id: UUID) -> Sequence[Message]:
        return ()

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return Extended(lost=frozenset(leases.values()))

    async def definition(self, version_id: UUID) -> Definition:
        return Definition()


class NoRun(OneRun):
    """A source that is asked for work and has none."""

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        self.given += 1


@pytest.mark.parametrize("share_of_lease", [0.4, 0.6])
def test_a_worker_takes_nothing_while_its_loop_lags_by_more_than_half_a_lease(share_of_lease):
    """Neither by a claim nor by a start in its process; when it keeps time again it goes on."""
    loop, process, source = VirtualLoop(), Process("worker"), NoRun()
    options = WorkerOptions("worker", concurrency=1, lease_seconds=LEASE_SECONDS)
    worker = Worker(source, Registry([]), World(clock=lambda: None, http=lambda: None), options)
    lags = share_of_lease > 0.5

    async def stall() -> None:
        process.context.run(worker.start)
        await asyncio.sleep(0.05)
        loop.freeze(process)
        await asyncio.sleep(share_of_lease * LEASE_SECONDS)
        before = source.given
        loop.thaw(process)
        assert worker.reserve(1) == (0 if lags else 1), "before the watchdog had its turn"
        worker.release(0 if lags else 1)
        await asyncio.sleep(0.1)
        assert (source.given == before) is lags
        await asyncio.sleep(2)
        assert source.given > before
        assert worker.reserve(1) == 1
        worker.release(1)
        await loop.create_task(worker.drain(), context=process.context.copy())

    loop.run_until_complete(stall())


def test_a_run_that_is_dropped_before_it_begins_gives_its_place_back():
    """The process stands still while a claim is under way, and for longer than the lease that it brings."""
    loop, process, source = VirtualLoop(), Process("worker"), OneRun()
    options = WorkerOptions("worker", concurrency=1, lease_seconds=LEASE_SECONDS)
    worker = Worker(source, Registry([]), World(clock=lambda: None, http=lambda: None), options)

    async def stall() -> None:
        process.context.run(worker.start)
        await asyncio.sleep(0.05)
        loop.freeze(process)
        await asyncio.sleep(LEASE_SECONDS + 5)
        loop.thaw(process)
        await asyncio.sleep(2)
        assert worker.busy == 0
        assert source.given > 1, "the place was free again, and asked for more"
        await loop.create_task(worker.drain(), context=process.context.copy())

    loop.run_until_complete(stall())
