"""A run on a sink in memory and a virtual clock: nodes that do as told, and the definitions made of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import pytest

from melagent.domain.definition import Definition
from melagent.domain.ids import uuid7
from melagent.domain.work import Settle, Trigger, Verdict, WorkItem
from melagent.engine.compiled import CompiledVersion, compile_version
from melagent.engine.context import World
from melagent.engine.executor import Executor
from melagent.registry import NodeType, Registry
from melagent.sdk import Field, Finish, Json, Node, NodeContext, NodeError, Params, Result, Sleep, Success
from tests.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from melagent.domain.run import StepRecord
    from melagent.domain.work import Entry

START = datetime(2026, 1, 1, tzinfo=UTC)
ONCE = {"max_attempts": 1}
STEADY = {"max_attempts": 3, "initial_delay_ms": 1000, "jitter": "none"}


def now() -> float:
    return asyncio.get_running_loop().time()


class Call(Params):
    """`do` names what the node does, `value` what it does it with; `takes` is how many seconds that takes."""

    do: str = "return"
    value: Json = None
    takes: float = 0.0
    handles: list[str] = Field(default_factory=lambda: ["out"])


class Stub(Node[Call]):
    """Does what its parameters say, and notes when it started."""

    name = description = category = "Test"
    starts: ClassVar[list[tuple[float, str, int]]] = []
    keys: ClassVar[set[str]] = set()
    sink: ClassVar[Sink]
    before: ClassVar[dict[str, frozenset[str]]] = {}

    def handles(self, params: Call) -> Sequence[str]:
        return params.handles

    async def run(self, params: Call, ctx: NodeContext) -> Result:
        self.starts.append((now(), ctx.step_key, ctx.attempt))
        self.keys.add(ctx.idempotency_key)
        self.before[ctx.step_key] = frozenset(self.sink.durable)
        if params.takes:
            await asyncio.sleep(params.takes)
        return ACTIONS[params.do](params.value, ctx)


class PureStub(Stub):
    id = "pure"


class EffectStub(Stub):
    id = "effect"
    effects = True


def fail(value: Any, ctx: NodeContext) -> Result:
    raise NodeError(value or "it failed")


def fail_for_good(value: Any, ctx: NodeContext) -> Result:
    raise NodeError("no use", code="hopeless", retryable=False)


def fail_twice(value: Any, ctx: NodeContext) -> Result:
    if ctx.attempt <= 2:
        raise NodeError("not yet", code="not_yet")
    return value


def crash(value: Any, ctx: NodeContext) -> Result:
    raise ZeroDivisionError(value)


def time_out_by_itself(value: Any, ctx: NodeContext) -> Result:
    raise TimeoutError("the socket was slow")


def write_log(value: Any, ctx: NodeContext) -> Result:
    ctx.log("info", value, same=value)
    return value


def log_an_object(value: Any, ctx: NodeContext) -> Result:
    ctx.log("warn", "look", thing=object())
    return value


ACTIONS: dict[str, Callable[[Any, NodeContext], Result]] = {
    "return": lambda value, ctx: value,
    "input": lambda value, ctx: ctx.input,
    "inputs": lambda value, ctx: list(ctx.inputs),
    "choose": lambda value, ctx: Success(1, handle=value),
    "sleep": lambda value, ctx: Sleep(value, output="awake"),
    "finish": lambda value, ctx: Finish(value),
    "give up": lambda value, ctx: Finish("so far", error=value),
    "big": lambda value, ctx: "x" * (value - 2),
    "set": lambda value, ctx: {1, 2},
    "surrogate": lambda value, ctx: "\ud800",
    "fail": fail,
    "fail for good": fail_for_good,
    "fail with a surrogate": lambda value, ctx: fail("bad \ud800", ctx),
    "stop with a surrogate": lambda value, ctx: Finish(error="bad \ud800"),
    "fail twice": fail_twice,
    "crash": crash,
    "time out by itself": time_out_by_itself,
    "log": write_log,
    "log a surrogate": lambda value, ctx: write_log("bad \ud800", ctx) and None,
    "log an object": log_an_object,
}

REGISTRY = Registry([NodeType.of(PureStub()), NodeType.of(EffectStub())])


class Sink:
    """Remembers entries. Each is answered after `seconds`, by default with accepted; then its steps are durable."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.entries: list[Entry] = []
        self.times: list[float] = []
        self.durable: set[str] = set()
        self.answer: Callable[[Entry], Verdict | Exception] = lambda _: Verdict.ACCEPTED

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Verdict] = loop.create_future()
        self.entries.append(replace(entry, steps=tuple(replace(step) for step in entry.steps)))
        self.times.append(loop.time())
        loop.call_later(self.seconds, self._give, entry, answer)
        return answer

    def _give(self, entry: Entry, answer: asyncio.Future[Verdict]) -> None:
        verdict = self.answer(entry)
        if answer.done():
            return
        if isinstance(verdict, Exception):
            answer.set_exception(verdict)
            return
        if verdict is Verdict.ACCEPTED:
            self.durable.update(step.step_key for step in entry.steps if step.status.final)
        answer.set_result(verdict)

    @property
    def settle(self) -> Settle | None:
        return self.entries[-1].settle

    @property
    def written(self) -> list[list[str]]:
        """The step keys of each write."""
        return [[step.step_key for step in entry.steps] for entry in self.entries]

    @property
    def steps(self) -> dict[str, StepRecord]:
        """The latest record of each step, in the order of their recording."""
        return {step.step_key: step for entry in self.entries for step in entry.steps}


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a virtual clock."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        Stub.starts.clear()
        Stub.keys.clear()
        Stub.before.clear()
        VirtualLoop().run_until_complete(test(*args, **kwargs))

    return run


def node(node_id: str, kind: str = "pure", do: str = "return", value: Json = None, **fields: Any) -> dict[str, Any]:
    config = {"do": do, "value": value} | {k: fields.pop(k) for k in ("takes", "handles") if k in fields}
    return {"id": node_id, "type": kind, "config": config, **fields}


def version(*nodes: dict[str, Any], edges: str | None = None) -> CompiledVersion:
    """Nodes one after the other, or with edges like `a>b a.left>c`."""
    ids = [node["id"] for node in nodes]
    pairs = [edge.split(">") for edge in edges.split()] if edges is not None else list(pairwise(ids))
    links = [
        {"source": s.partition(".")[0], "source_handle": s.partition(".")[2] or "out", "target": t} for s, t in pairs
    ]
    definition = Definition.model_validate({"nodes": nodes, "edges": links})
    return compile_version(UUID(int=1), definition, REGISTRY)


def item(journal: Sequence[StepRecord] = (), **changes: Any) -> WorkItem:
    journal = tuple(sorted(journal, key=lambda step: step.seq))
    new = WorkItem(
        run_id=uuid7(int(START.timestamp() * 1000), bytes(10)), lease=UUID(int=2), workflow_id=None,
        version_id=UUID(int=1), entry="start", input=b'{"a":1}', trigger=Trigger(), attempt=2 if journal else 1,
        journal=journal,
    )  # fmt: skip  # in the order of the fields
    return replace(new, **changes)


def made(run: CompiledVersion, sink: Sink, work: WorkItem | None = None, **options: Any) -> Executor:
    Stub.sink = sink
    offset = now()
    world = World(clock=lambda: START + timedelta(seconds=now() - offset), http=lambda: pytest.fail("no network here"))
    return Executor(work or item(), run, sink, world, **options)


async def executed(*nodes: dict[str, Any], edges: str | None = None, sink: Sink | None = None, **changes: Any) -> Sink:
    """Run a definition until its lease ends."""
    sink = sink or Sink()
    await made(version(*nodes, edges=edges), sink, item(**changes)).run()
    return sink


def started(key: str) -> list[float]:
    return [at for at, step_key, _ in Stub.starts if step_key == key]


def resumed(sink: Sink, *, due_in: float) -> list[StepRecord]:
    """The journal that a sink has taken in, read again when open steps are due in so many seconds."""
    return [replace(step, due_in=None if step.status.final else due_in) for step in sink.steps.values()]
