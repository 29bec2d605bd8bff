"""An instance inside the test's process: engine, worker and maintenance on real PostgreSQL, and its sudden death."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import asyncpg

from melagent import sdk
from melagent.broker.postgres import postgres_broker
from melagent.domain.requirement import capabilities
from melagent.engine.context import World
from melagent.engine.engine import Engine
from melagent.maintenance.rescuer import Rescuer
from melagent.maintenance.unparker import Unparker
from melagent.registry import NodeType, Registry
from melagent.store.pool import PoolLimits, create_pool
from melagent.worker.database import DatabaseSource
from melagent.worker.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from melagent.broker import Broker


@dataclass(slots=True)
class Stage:
    """What the nodes of a test did. A node whose step has a gate waits until it is opened.

    The output of a node is never the same twice, unless `outputs` names it by its step.
    """

    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    outputs: dict[str, sdk.Json] = field(default_factory=dict)
    on_start: Callable[[sdk.NodeContext], Awaitable[None]] | None = None
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def gate(self, step_key: str) -> asyncio.Event:
        return self.gates.setdefault(step_key, asyncio.Event())

    async def act(self, ctx: sdk.NodeContext) -> sdk.Json:
        self.started.append(ctx.idempotency_key)
        if self.on_start:
            await self.on_start(ctx)
        if ctx.step_key in self.gates:
            await self.gates[ctx.step_key].wait()
        self.ended.append(ctx.idempotency_key)
        return self.outputs.get(ctx.step_key, {"number": next(self.numbers)})

    def steps(self, kind: str = "started") -> list[str]:
        """The step keys alone, in the order of their starts (or ends)."""
        return [key.split(":")[1] for key in getattr(self, kind)]

    def by_run(self) -> dict[str, list[str]]:
        runs = defaultdict(list)
        for key in self.started:
            runs[key.split(":")[0]].append(key.split(":")[1])
        return runs


class Pure(sdk.Node[sdk.Params]):
    id: ClassVar[str] = "pure"
    name = description = category = "A node that nobody outside notices"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def run(self, params: sdk.Params, ctx: sdk.NodeContext) -> sdk.Result:
        return await self._stage.act(ctx)


class Effect(Pure):
    id = "effect"
    effects = True


class Answer(Pure):
    id = "answer"
    answers = True


class PoolOfTheDead(asyncpg.Pool):
    """Ends whoever asks for a connection, and would try again until a lease is over: nobody dead does."""

    __slots__ = ()

    def acquire(self, *, timeout: float | None = None) -> NoReturn:
        raise asyncio.CancelledError


@dataclass(slots=True)
class Instance:
    engine: Engine
    worker: Worker
    rescuer: Rescuer
    unparker: Unparker
    broker: Broker
    dead: bool = False

    async def crash(self) -> None:
        """Die as by `kill -9`: no task goes on, nothing more is written, the connections break."""
        self.dead = True
        worker, engine = self.worker, self.engine
        loops = (*worker._claiming, worker._heartbeat, worker._watchdog, engine.waiters.loop, engine.desk.loop)
        tasks = [loop._task for loop in loops if loop._task]
        tasks += [held.task for held in worker._held.values() if held.task]
        tasks += [*engine.recorder._batcher._writing, *engine._starter._batcher._writing]
        tasks += [held.executor._journal._writing for held in worker._held.values()
                  if held.executor and held.executor._journal._writing]  # fmt: skip
        engine.pool.terminate()
        engine.pool.__class__ = PoolOfTheDead
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.broker.stop()

    async def stop(self) -> None:
        if not self.dead:
            async with asyncio.timeout(20):
                await self.worker.drain()
                await self.engine.close()
                await self.broker.stop()
                await self.engine.pool.close()


@asynccontextmanager
async def instance(
    database_url: str,
    stage: Stage,
    *,
    worker_id: str = "worker",
    broker_url: str | None = None,
    starts: bool = True,
    http: Callable[[], Any] | None = None,
    **options: Any,
) -> AsyncIterator[Instance]:
    """An instance whose worker claims, unless `starts` is false. The maintenance passes are the test's to call."""
    options = {"concurrency": 10, "lease_seconds": 15.0, "heartbeat_seconds": 5.0, "grace_seconds": 5.0} | options
    broker = postgres_broker(broker_url or database_url)
    engine = Engine(
        await create_pool(database_url, PoolLimits(max_open=6)), broker, answering=["answer"],
        lease_seconds=options["lease_seconds"],
    )  # fmt: skip
    registry = Registry([*Registry.builtin().all(), *(NodeType.of(kind(stage)) for kind in (Pure, Effect, Answer))])
    offered = capabilities(options.pop("labels", ()), registry.added)
    worker = Worker(
        DatabaseSource(engine, registry, worker_id, offered), registry,
        World(lambda: datetime.now(UTC), http or _no_network), WorkerOptions(worker_id, offered=offered, **options),
    )  # fmt: skip
    made = Instance(engine, worker, Rescuer(engine), Unparker(engine), broker)
    await broker.start()
    await engine.open()
    if starts:
        engine.use_slots(worker)
        worker.start()
    try:
        yield made
    finally:
        for gate in stage.gates.values():
            gate.set()
        await made.stop()


def _no_network() -> Any:
    raise AssertionError("no node of these tests calls anybody")
