"""The node types of the simulation: they tell the witness when they start, and then work, sleep, fail, wait or call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal

from melagent.domain.loops import DONE_HANDLE, ITEM_HANDLE, LOOP_TYPE
from melagent.registry import NodeType, Registry
from melagent.sdk import Call, Finish, ForEach, Node, NodeContext, NodeError, Params, Result, Sleep, Success, Wait
from tests.simulation.loop import PROCESS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Work(Params):
    """`work` is how many seconds a node takes, `fails` how many of its attempts fail. The others belong to some types.

    `seconds` is how long a node sleeps, or waits for a signal or for the run of the workflow that it calls.
    """

    work: float = 0.0
    fails: int = 0
    seconds: float | None = None
    signal: str = ""
    workflow: str = ""
    sync: bool = True
    items: int = 0
    concurrency: int = 1
    on_item_error: Literal["fail", "continue", "skip"] = "fail"
    distributed: bool = False


class Watched(Node[Work]):
    """Tells the witness of its process before it does anything."""

    name = description = category = "Simulation"

    async def run(self, params: Work, ctx: NodeContext) -> Result:
        process = PROCESS.get()
        process.started(self, ctx)
        if ctx.received is not None:
            return self.after_wait(params, ctx)
        if params.work:
            await asyncio.sleep(params.work)
        if ctx.attempt <= params.fails:
            raise NodeError(f"attempt {ctx.attempt} fails")
        return self.result(params, ctx, process.dice)

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        """Never the same twice, so that whoever computed a value again is noticed."""
        return {"step": ctx.step_key, "by": repr(PROCESS.get()), "value": dice.random()}

    def after_wait(self, params: Work, ctx: NodeContext) -> Result:
        raise AssertionError(f"{ctx.step_key} did not wait")


class Entry(Watched):
    id = "sim_entry"
    inputs: ClassVar[Sequence[str]] = ()
    entry_point = True

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return ctx.input


class Pure(Watched):
    id = "sim_pure"


class Effect(Watched):
    id = "sim_effect"
    effects = True


class Nap(Watched):
    id = "sim_sleep"

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return Sleep(params.seconds or 0.0, super().result(params, ctx, dice))


class Choose(Watched):
    id = "sim_choose"
    outputs: ClassVar[Sequence[str]] = ("left", "right")
    branching = True

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return Success(super().result(params, ctx, dice), dice.choice(self.outputs))


class Stop(Watched):
    id = "sim_finish"

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return Finish("stopped", error=dice.choice([None, "told to"]))


class Await(Watched):
    """Its output is what was sent."""

    id = "sim_wait"
    outputs: ClassVar[Sequence[str]] = ("out", "timeout")
    branching = True

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return Wait(params.signal, params.seconds)

    def after_wait(self, params: Work, ctx: NodeContext) -> Result:
        return Success("late", "timeout") if ctx.received.timed_out else ctx.received.value


class CallWorkflow(Watched):
    """Its output is that of the called run."""

    id = "sim_call"
    effects = True

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        return Call(params.workflow, {"by": ctx.idempotency_key}, wait=params.sync, seconds=params.seconds)

    def after_wait(self, params: Work, ctx: NodeContext) -> Result:
        if ctx.received.timed_out or ctx.received.error is not None:
            raise NodeError("the called run did not succeed in time", retryable=False)
        return ctx.received.value


class Repeat(Watched):
    """Each item is the key of the step that it is."""

    id = LOOP_TYPE
    outputs: ClassVar[Sequence[str]] = (ITEM_HANDLE, DONE_HANDLE)

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        items = [f"{ctx.step_key}[{index}]" for index in range(params.items)]
        return ForEach(items, params.concurrency, params.on_item_error, params.distributed)


TYPES: tuple[type[Watched], ...] = (Entry, Pure, Effect, Nap, Choose, Stop, Await, CallWorkflow, Repeat)


def registry() -> Registry:
    """All types, which every worker has."""
    types = Registry(NodeType.of(node_type()) for node_type in TYPES)
    types.added = ()
    return types
