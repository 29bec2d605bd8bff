"""The network between workers and the store: slow, lossy, sometimes down; and the `WorkSource` that lives with that."""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from melagent.errors import MelError, Unavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.work import ChildCall, Entry, Message, NewRun, Verdict, WorkItem
    from melagent.engine.lifecycle.hold import Extended
    from tests.simulation.loop import Process, VirtualLoop
    from tests.simulation.store import Store

T = TypeVar("T")

TIMEOUT_SECONDS = 1.0
SLOWEST_SECONDS = 3.0
LATEST_REPEAT_SECONDS = 20.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of messages that are lost, that take up to three seconds, and that arrive a second time, later."""

    lost: float = 0.0
    slow: float = 0.0
    twice: float = 0.0


class Network:
    """Carries calls to the store. `forgot_at` is when an instance last died before it had done what follows."""

    def __init__(self, loop: VirtualLoop, dice: random.Random, weather: Weather) -> None:
        self.weather = weather
        self.down = False
        self.forgot_at = float("-inf")
        self._loop = loop
        self._dice = dice

    def call(self, request: Callable[[], T], *, may_repeat: bool, on_trouble: Callable[[], None]) -> asyncio.Future[T]:
        """Apply `request` to the store at some later moment and answer its result.

        Unavailable says that it was lost on the way there, or that its answer was lost on the way back.
        """
        answer: asyncio.Future[T] = self._loop.create_future()
        way_there, way_back = self._delay(), self._delay()
        lost_there, lost_back = self._happens(self.weather.lost), self._happens(self.weather.lost)
        twice = may_repeat and self._happens(self.weather.twice)
        if lost_there or lost_back or way_there + way_back > TIMEOUT_SECONDS / 2:
            on_trouble()

        def arrive() -> None:
            if self.down:
                on_trouble()
                self._later(way_back, _fail, answer)
                return
            result = request()
            if twice:
                self._later(self._dice.uniform(0, LATEST_REPEAT_SECONDS), request)
            if lost_back:
                self._later(TIMEOUT_SECONDS, _fail, answer)
            else:
                self._later(way_back, _answer, answer, result)

        if lost_there:
            self._later(TIMEOUT_SECONDS, _fail, answer)
        else:
            self._later(way_there, arrive)
        return answer

    def hint(self, process: Process, listener: Callable[[], None]) -> None:
        """A hint may get lost."""
        if not self.down and not self._happens(self.weather.lost):
            self._loop.call_later(self._delay(), listener, context=process.context)

    def soon(self, what: Callable[[], None]) -> None:
        """What an instance does when it has answered. It may die before it comes to that, and then nobody does it."""
        if self.down or self._happens(self.weather.lost):
            self.forgot_at = self._loop.time()
        else:
            self._later(self._delay(), what)

    def _later(self, seconds: float, callback: Callable[..., Any], *args: Any) -> None:
        self._loop.call_later(seconds, callback, *args, context=Context())

    def _delay(self) -> float:
        slow = self._happens(self.weather.slow)
        return self._dice.uniform(0.1, SLOWEST_SECONDS / 2) if slow else self._dice.uniform(0.001, 0.02)

    def _happens(self, share: float) -> bool:
        return self._dice.random() < share


def _answer(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(Unavailable())


class Link:
    """A process's way to the store: the `WorkSource` of its worker. Nothing gets out of a dead process.

    `disturbed_at` is when a call of this process last took longer than it should have.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        process: Process,
        store: Store,
        network: Network,
        *,
        offered: frozenset[str],
        lease_seconds: float,
    ) -> None:
        self.disturbed_at = float("-inf")
        self.offered = offered
        self._loop = loop
        self._process = process
        self._store = store
        self._network = network
        self._lease_seconds = lease_seconds

    claims = 0

    def stop_claiming(self) -> None:
        pass

    def on_work(self, listener: Callable[[], None]) -> None:
        self._store.on_work(lambda: self._network.hint(self._process, listener))

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        if items := await self._call(lambda: self._store.claim(limit, self.offered)):
            take(items)

    async def load(self, item: WorkItem) -> WorkItem:
        return item

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        answer: asyncio.Future[Verdict] = self._loop.create_future()

        async def write() -> None:
            try:
                verdict = await self.persistently(lambda: self._store.write(entry), seconds=self._lease_seconds)
            except MelError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                _answer(answer, verdict)

        self._loop.create_task(write())
        return answer

    async def child(self, call: ChildCall) -> NewRun:
        return await self.persistently(lambda: self._store.child(call), seconds=self._lease_seconds)

    async def inbox(self, run_id: UUID) -> Sequence[Message]:
        return await self._call(lambda: self._store.model.unread(run_id))

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return await self.persistently(
            lambda: self._store.extend(leases), seconds=self._lease_seconds, may_repeat=False
        )

    async def definition(self, version_id: UUID) -> Definition:
        return await self._call(lambda: self._store.library.of_version(version_id).definition)

    async def persistently(self, request: Callable[[], T], *, seconds: float, may_repeat: bool = True) -> T:
        """Call until there is an answer, as `engine.lifecycle.persist` does. Raises Unavailable after `seconds`."""
        give_up_at = self._loop.time() + seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._call(request, may_repeat=may_repeat)
            except Unavailable:
                if self._loop.time() + pause > give_up_at:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def disturbed(self) -> None:
        self.disturbed_at = self._loop.time()

    async def _call(self, request: Callable[[], T], *, may_repeat: bool = False) -> T:
        if self._process.dead:
            raise asyncio.CancelledError
        return await self._network.call(request, may_repeat=may_repeat, on_trouble=self.disturbed)
