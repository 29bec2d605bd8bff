"""A worker: a number of places, the leased runs that fill them, and the three loops that keep both.

Claiming asks for as many runs as there are free places; the heartbeat keeps the leases; the watchdog stops runs whose
lease may have run out, by this machine's monotonic clock, counted from before the call that granted or extended it. A
worker whose event loop is held up for longer than half a lease takes nothing new: what it has is enough to lose.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from melagent.domain.requirement import meets
from melagent.domain.run import RunStatus
from melagent.domain.work import Entry, Settle
from melagent.engine.compiled import CompiledVersion, compile_version
from melagent.engine.executor import Executor
from melagent.errors import MelError
from melagent.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.work import WorkItem
    from melagent.engine.context import World
    from melagent.engine.lifecycle.hold import Extended
    from melagent.registry import Registry
    from melagent.worker.source import WorkSource

CLAIM_SECONDS = 1.0
EXTEND_AGAIN_SECONDS = 0.5
WATCHDOG_SECONDS = 0.25
WATCHDOG_MARGIN_SECONDS = 0.5
CACHED_VERSIONS = 500
LAST_SEQ = 2**31 - 1
"""Comes after whatever the executor wrote."""

log = structlog.get_logger()


@dataclass(slots=True)
class Held:
    """A leased run in its place. `until` is when the lease may have run out, on the event loop's clock."""

    item: WorkItem
    until: float
    task: asyncio.Task[None] | None = None
    executor: Executor | None = None
    fetching: asyncio.Task[None] | None = None
    dropped: bool = False

    def lasts(self) -> bool:
        """Whether the run is surely this worker's still."""
        return asyncio.get_running_loop().time() < self.until - WATCHDOG_MARGIN_SECONDS


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    worker_id: str
    concurrency: int = 100
    lease_seconds: float = 15.0
    heartbeat_seconds: float = 5.0
    grace_seconds: float = 30.0
    offered: frozenset[str] = frozenset()
    """Labels and node types, see `domain.requirement`."""


class Worker:
    """Runs work from a source. Its free places also serve eager starts (see `engine.slots`)."""

    def __init__(self, source: WorkSource, registry: Registry, world: World, options: WorkerOptions) -> None:
        self.worker_id = options.worker_id
        self._source = source
        self._registry = registry
        self._world = world
        self._options = options
        self._free = options.concurrency
        self._held: dict[UUID, Held] = {}
        self._versions: OrderedDict[UUID, CompiledVersion] = OrderedDict()
        self._accepting = False
        self._open = 0
        self._watched_at = 0.0
        self._lag = 0.0
        self._more_waits = False
        self._claiming = [
            Loop("claim", self._claim, interval_seconds=CLAIM_SECONDS) for _ in range(max(1, source.claims))
        ]
        self._heartbeat = Loop("heartbeat", self._extend, interval_seconds=0.9 * options.heartbeat_seconds)
        self._watchdog = Loop("watchdog", self._stop_expired, interval_seconds=WATCHDOG_SECONDS)
        source.on_work(self._wake_claiming)

    @property
    def busy(self) -> int:
        """Runs in hand."""
        return len(self._held)

    @property
    def accepting(self) -> bool:
        """Whether it still takes work."""
        return self._accepting

    def load(self) -> dict[str, Any]:
        """What the list of workers shows of it."""
        return {
            "id": self.worker_id,
            "concurrency": self._options.concurrency,
            "busy": self.busy,
            "offered": sorted(self._options.offered),
        }

    def start(self) -> None:
        self._accepting = True
        self._watched_at = asyncio.get_running_loop().time()
        for loop in (*self._claiming, self._heartbeat, self._watchdog):
            loop.start()

    async def stop_claiming(self) -> None:
        """Take no more work but what is started in this very process."""
        stopping = asyncio.gather(*(loop.stop() for loop in self._claiming))
        await asyncio.sleep(0)  # the loops know that they shall stop before their claims return
        self._source.stop_claiming()
        await stopping

    async def drain(self) -> None:
        """Take no more work at all, let running nodes finish within the grace time, and give the runs back."""
        self._accepting = False
        await self.stop_claiming()
        for held in list(self._held.values()):
            if held.executor is not None:
                held.executor.drain()
        await self._idle_within(self._options.grace_seconds)
        for held in list(self._held.values()):
            if held.executor is not None:
                held.executor.interrupt()
        await self._idle_within(self._options.heartbeat_seconds)
        for held in list(self._held.values()):
            self._drop(held)
        await self._idle_within(self._options.heartbeat_seconds)
        await self._heartbeat.stop()
        await self._watchdog.stop()

    def meets(self, required: str) -> bool:
        return meets(self._options.offered, required)

    def abandon(self) -> None:
        """Stop working on everything: none of it can be recorded any more."""
        for held in list(self._held.values()):
            self._drop(held)

    def reserve(self, wanted: int) -> int:
        count = min(wanted, self._free) if self._accepting and not self._lags() else 0
        self._free -= count
        return count

    def release(self, count: int) -> None:
        self._free += count
        if count and self._more_waits:
            self._wake_claiming()

    def run(self, items: Sequence[WorkItem], held_from: float) -> None:
        log.info("claimed work", worker_id=self.worker_id, count=len(items), runs=[str(i.run_id) for i in items])
        for item in items:
            if earlier := self._held.get(item.run_id):
                self._drop(earlier)  # its lease was taken back, or the run would not have been granted again
            until = held_from + item.granted_after + self._options.lease_seconds
            held = self._held[item.run_id] = Held(item, until)
            held.task = asyncio.create_task(self._execute(held))
            held.task.add_done_callback(partial(self._put_down, held))

    async def _claim(self) -> float | None:
        """Fill the free places; again at once when there was work for all of them.

        Each claim that waits asks for its share, and the last one for the rest, so that all places are on offer.
        """
        places = self.reserve(math.ceil(self._free / max(1, self._source.claims - self._open)))
        self._more_waits = True  # until a claim finds less than it asked for, a place that falls free asks again
        if not places:
            return None
        held_from, left = asyncio.get_running_loop().time(), places

        def take(items: Sequence[WorkItem]) -> None:
            nonlocal left
            left -= len(items)
            self.run(items, held_from)

        self._open += 1
        try:
            await self._source.claim(places, take)
        except MelError as error:
            log.warning("no work claimed", worker_id=self.worker_id, error=error.message)
            return None
        finally:
            self._open -= 1
            self._more_waits = not left
            self.release(left)
        return 0.0 if self._source.claims else None

    def _wake_claiming(self) -> None:
        for loop in self._claiming:
            loop.wake()

    async def _execute(self, held: Held) -> None:
        item = held.item
        try:
            version = self._versions.get(item.version_id) or await self._fetch(item.version_id)
            loaded = await self._source.load(item)
            held.executor = Executor(
                loaded,
                version,
                self._source,
                self._world,
                held.lasts,
                self._options.offered,
            )
            if not self._accepting:
                held.executor.drain()
            await held.executor.run()
        except MelError as error:
            log.warning("run dropped", run_id=str(item.run_id), error=error.message)
        except Exception as error:
            log.exception("run crashed", run_id=str(item.run_id))
            await self._fail(item, error)

    async def _fail(self, item: WorkItem, error: Exception) -> None:
        """End a run that the engine itself cannot execute: four more workers would fare no better."""
        details = {"code": "engine_error", "message": f"The run cannot be executed: {type(error).__name__}."}
        settle = Settle(RunStatus.FAILED, error=details)
        try:
            await self._source.submit(Entry(item.run_id, item.lease, LAST_SEQ, (), settle))
        except MelError as failure:
            log.warning("run dropped", run_id=str(item.run_id), error=failure.message)

    def _put_down(self, held: Held, _task: asyncio.Task[None]) -> None:
        """Free the place. The task cannot do that itself: cancelled before it has begun, it does nothing at all."""
        if self._held.get(held.item.run_id) is held:
            del self._held[held.item.run_id]
        held.executor = None  # the two point at each other; without this they would wait for a collection
        if held.fetching is not None:
            held.fetching.cancel()
        self.release(1)

    async def _fetch(self, version_id: UUID) -> CompiledVersion:
        version = compile_version(version_id, await self._source.definition(version_id), self._registry)
        self._versions[version_id] = version
        if len(self._versions) > CACHED_VERSIONS:
            self._versions.popitem(last=False)
        return version

    async def _extend(self) -> float | None:
        leases = {run_id: held.item.lease for run_id, held in self._held.items()}
        if leases:
            asked_at = asyncio.get_running_loop().time()
            try:
                extended = await self._source.extend(leases)
            except MelError as error:
                log.warning("leases not extended", worker_id=self.worker_id, count=len(leases), error=error.message)
                return EXTEND_AGAIN_SECONDS
            for run_id, lease in leases.items():
                held = self._held.get(run_id)
                if held is not None and held.item.lease == lease:
                    self._take_in(held, extended, asked_at)
        return None

    def _take_in(self, held: Held, extended: Extended, asked_at: float) -> None:
        """What a heartbeat said about one run."""
        lease = held.item.lease
        if lease in extended.lost:
            self._drop(held)
            return
        held.until = asked_at + self._options.lease_seconds
        if held.executor is None:
            return
        if lease in extended.paused:
            held.executor.pause()
        if lease in extended.mail and held.executor.waits_for_messages and held.fetching is None:
            held.fetching = asyncio.create_task(self._deliver(held, held.executor))

    async def _deliver(self, held: Held, executor: Executor) -> None:
        try:
            executor.deliver(await self._source.inbox(held.item.run_id))
        except MelError as error:  # the next heartbeat says it again
            log.info("messages not fetched", run_id=str(held.item.run_id), error=error.message)
        finally:
            held.fetching = None

    async def _stop_expired(self) -> float | None:
        self._lag = self._overdue()
        self._watched_at = asyncio.get_running_loop().time()
        for held in list(self._held.values()):
            if not held.lasts():
                self._drop(held)
        return None

    def _overdue(self) -> float:
        """Seconds for which the watchdog has been due."""
        return asyncio.get_running_loop().time() - self._watched_at - WATCHDOG_SECONDS

    def _lags(self) -> bool:
        """Whether the event loop is, or was at the last pass of the watchdog, held up for more than half a lease."""
        return max(self._lag, self._overdue()) > self._options.lease_seconds / 2

    def _drop(self, held: Held) -> None:
        """Stop working on a run that is, or may be, somebody else's."""
        if held.task is not None and not held.task.done() and not held.dropped:
            held.dropped = True  # a second cancellation would break off the cleaning up after the first
            log.info("run dropped", run_id=str(held.item.run_id), worker_id=self.worker_id)
            held.task.cancel()

    async def _idle_within(self, seconds: float) -> None:
        tasks = [held.task for held in self._held.values() if held.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
