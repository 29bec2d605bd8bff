"""One simulation, made from a seed: real workers on a virtual clock, random workflows, and every kind of trouble."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from melagent.domain.ids import uuid7
from melagent.engine.context import World
from melagent.errors import MelError
from melagent.worker.worker import Worker, WorkerOptions
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import SLOWEST_SECONDS, Link, Network, Weather
from tests.simulation.nodes import registry
from tests.simulation.store import Store, WatchedModel
from tests.simulation.trace import Trace
from tests.simulation.witness import HEARTBEAT_SECONDS, LEASE_SECONDS, Witness
from tests.simulation.workflows import LABEL, SIGNALS, Library

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from uuid import UUID

    from melagent.domain.work import NewRun
    from melagent.engine.context import Context
    from melagent.registry import Registry
    from tests.simulation.nodes import Watched

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RESCUE_SECONDS, UNPARK_SECONDS = 2.0, 1.0
TROUBLE_SECONDS = 20.0
LONGEST_SECONDS = 900.0
"""Everything has ended by then, or never will."""

START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Computer:
    """A worker with its process and its link."""

    process: SimulatedProcess
    link: Link
    worker: Worker
    starts: list[asyncio.Task[None]]


class SimulatedProcess(Process):
    """A process that nodes can find in their context."""

    def __init__(self, name: str, dice: random.Random, witness: Witness, offered: frozenset[str]) -> None:
        super().__init__(name)
        self.dice = dice
        self.offered = offered
        self._witness = witness
        self.link: Link | None = None

    def started(self, node: Watched, context: Context) -> None:
        assert self.link is not None
        self._witness.node_started(self, self.link.disturbed_at, node, context)


class Simulation:
    """Call `run` once. Raises the first Violation, or whatever else goes wrong."""

    def __init__(self, seed: int, types: Registry, model: type[WatchedModel] = WatchedModel) -> None:
        self._dice = random.Random(seed)
        self._seed = seed
        self._types = types
        self._loop = VirtualLoop()
        self._trace = Trace(self._loop)
        self._library = Library(self._dice)
        self._network = Network(self._loop, self._dice, self._random_weather())
        watched = model(self._loop.time, lease_seconds=LEASE_SECONDS, seed=seed)
        self._witness = Witness(self._loop, watched, self._library, self._trace)
        self._store = Store(watched, types, self._network, self._witness)
        self._computers: list[Computer] = []
        self._accepted: list[UUID] = []

    @property
    def trace(self) -> list[tuple[Any, ...]]:
        return self._trace.lines

    @property
    def seconds(self) -> float:
        return self._loop.time()

    def run(self) -> None:
        random.seed(self._seed)  # the jitter of the loops
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        background = [
            asyncio.create_task(self._every(RESCUE_SECONDS, self._store.rescue)),
            asyncio.create_task(self._every(UNPARK_SECONDS, self._store.unpark)),
        ]
        for _ in range(self._dice.randint(1, 3)):
            self._boot()
        await asyncio.gather(*(self._at(when, what) for when, what in self._random_plan()))
        self._calm_down()
        await asyncio.gather(*(start for computer in self._computers for start in computer.starts))
        while self._store.model.live():
            assert self._loop.time() < LONGEST_SECONDS, f"still live: {self._store.model.live()}"
            self._store.answer_everybody()
            await asyncio.sleep(0.5)
        await asyncio.gather(*(self._shut_down(computer) for computer in list(self._computers)))
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        self._witness.check_at_the_end(self._accepted)
        left = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        assert not left, f"tasks are left: {left}"

    # The plan of a seed.

    def _random_weather(self) -> Weather:
        dice = self._dice
        return Weather(lost=dice.choice([0, 0, 0.02, 0.1]), slow=dice.choice([0, 0, 0.05]), twice=dice.choice([0, 0.1]))

    def _random_plan(self) -> list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]]:
        """What happens when. Starts come early, so that trouble finds them at work."""
        dice = self._dice
        trouble = (self._kill, self._freeze, self._cut_off, self._restart, self._cancel)
        people = (self._signal, self._signal, self._pause)
        plan: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = []
        plan += [(dice.uniform(0, TROUBLE_SECONDS / 2), self._start) for _ in range(dice.randint(1, 4))]
        plan += [(dice.uniform(0, TROUBLE_SECONDS), dice.choice(trouble)) for _ in range(dice.randint(0, 6))]
        plan += [(dice.uniform(0, TROUBLE_SECONDS), dice.choice(people)) for _ in range(dice.randint(0, 6))]
        return plan

    async def _at(self, when: float, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await asyncio.sleep(when)
        await what()

    # What happens.

    async def _start(self) -> None:
        unix_ms = int((EPOCH + timedelta(seconds=self._loop.time())).timestamp() * 1000)
        run = self._store.new_run(uuid7(unix_ms, self._dice.randbytes(10)), self._library.any(), b'{"hello": 1}')
        if self._dice.random() < 0.25:
            self._loop.call_later(self._dice.uniform(0, 8), self._store.cancel, run.id)
        if self._computers:
            computer = self._dice.choice(self._computers)
            computer.starts.append(self._spawn(computer, self._start_at(computer, run)))

    async def _start_at(self, computer: Computer, run: NewRun) -> None:
        """What `engine.lifecycle.start.Starter` does: leased to this process when it has a place and nothing waits."""
        worker, store = computer.worker, self._store
        offers = run.limit is None and worker.meets(run.requires) and self._dice.random() < 0.5
        places = worker.reserve(1) if offers else 0
        held_from = self._loop.time()
        try:
            items = await computer.link.persistently(lambda: store.start(run, places), seconds=START_SECONDS)
        except MelError:
            worker.release(places)
            return
        self._accepted.append(run.id)
        if items:
            worker.run(items, held_from)
        else:
            worker.release(places)

    async def _kill(self) -> None:
        if computer := self._any_computer():
            self._tell("kill", computer)
            self._computers.remove(computer)
            within = LEASE_SECONDS + 2 * RESCUE_SECONDS + 2 * SLOWEST_SECONDS
            for run_id, held in computer.worker._held.items():
                self._witness.lease_ends_soon(run_id, held.item.lease, within)
            self._loop.kill(computer.process)
            await asyncio.sleep(self._dice.uniform(0, 5))
            self._boot()

    async def _freeze(self) -> None:
        if computer := self._any_computer():
            self._tell("freeze", computer)
            self._loop.freeze(computer.process)
            await asyncio.sleep(self._dice.uniform(0.5, 25))
            self._thaw(computer)

    async def _cut_off(self) -> None:
        self._tell("network down")
        self._network.down = True
        await asyncio.sleep(self._dice.uniform(0.5, 20))
        self._network.down = False
        self._tell("network up")

    async def _restart(self) -> None:
        """Drain a worker and put another in its place, as a rolling upgrade does."""
        if computer := self._any_computer():
            await self._shut_down(computer)
            self._boot()

    async def _cancel(self) -> None:
        if live := self._store.model.live():
            self._store.cancel(self._dice.choice(live))

    async def _signal(self) -> None:
        if live := self._store.model.live():
            self._store.signal(self._dice.choice(live), self._dice.choice(SIGNALS))

    async def _pause(self) -> None:
        if live := self._store.model.live():
            run_id = self._dice.choice(live)
            self._store.pause(run_id)
            await asyncio.sleep(self._dice.uniform(0, 20))
            self._store.resume(run_id)

    def _calm_down(self) -> None:
        """From here on nothing fails any more."""
        self._network.weather = Weather()
        self._network.down = False
        for computer in self._computers:
            self._thaw(computer)
        if not any(computer.process.offered for computer in self._computers):
            self._boot(frozenset([LABEL]))

    # Computers.

    def _boot(self, offered: frozenset[str] | None = None) -> None:
        if offered is None:
            offered = frozenset(self._dice.choice([(), (LABEL,)]))
        process = SimulatedProcess(f"w{len(self.trace)}", self._dice, self._witness, offered)
        link = process.link = Link(
            self._loop, process, self._store, self._network, offered=offered, lease_seconds=LEASE_SECONDS
        )
        skew = timedelta(seconds=self._dice.choice([0, 0, -40, 40]))
        world = World(clock=lambda: EPOCH + skew + timedelta(seconds=self._loop.time()), http=_no_http)
        options = WorkerOptions(
            process.name, concurrency=self._dice.choice([1, 2, 10]), lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=HEARTBEAT_SECONDS, grace_seconds=self._dice.choice([0.5, 5.0, 30.0]), offered=offered,
        )  # fmt: skip
        worker = process.context.run(Worker, link, self._types, world, options)
        process.context.run(worker.start)
        self._computers.append(Computer(process, link, worker, []))
        self._tell("boot", self._computers[-1])

    async def _shut_down(self, computer: Computer) -> None:
        """SIGTERM: answer the starts under way, then drain."""
        self._tell("drain", computer)
        self._computers.remove(computer)
        await asyncio.gather(*computer.starts)
        await self._spawn(computer, computer.worker.drain())
        assert not computer.worker.busy, f"{computer.process} ended with runs in hand"
        await asyncio.gather(*computer.process.tasks, return_exceptions=True)

    def _spawn(self, computer: Computer, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._loop.create_task(work, context=computer.process.context.copy())

    def _thaw(self, computer: Computer) -> None:
        self._tell("thaw", computer)
        computer.link.disturbed()
        self._loop.thaw(computer.process)

    def _any_computer(self) -> Computer | None:
        return self._dice.choice(self._computers) if self._computers else None

    async def _every(self, seconds: float, one_pass: Callable[[], None]) -> None:
        while True:
            one_pass()
            await asyncio.sleep(seconds)

    def _tell(self, what: str, computer: Computer | None = None) -> None:
        self.trace.append((round(self._loop.time(), 3), what, computer.process if computer else ""))


def simulation_types() -> Registry:
    """The node types of all simulations; making them costs more than a simulation."""
    return registry()


def _no_http() -> Any:
    raise AssertionError("no node of a simulation uses the network")
