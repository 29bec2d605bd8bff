"""Random small workflows of node types that tell the witness when they start, and then work, sleep, fail or choose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from melagent.domain.definition import Definition
from melagent.registry import NodeType, Registry
from melagent.sdk import Finish, Node, NodeContext, NodeError, Params, Result, Sleep, Success
from tests.simulation.loop import PROCESS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Work(Params):
    """`work` is how many seconds a node takes, `fails` how many of its attempts fail."""

    work: float = 0.0
    fails: int = 0
    seconds: float = 0.0


class Watched(Node[Work]):
    """Tells the witness of its process before it does anything."""

    name = description = category = "Simulation"

    async def run(self, params: Work, ctx: NodeContext) -> Result:
        process = PROCESS.get()
        process.started(self, ctx)
        if params.work:
            await asyncio.sleep(params.work)
        if ctx.attempt <= params.fails:
            raise NodeError(f"attempt {ctx.attempt} fails")
        return self.result(params, ctx, process.dice)

    def result(self, params: Work, ctx: NodeContext, dice: random.Random) -> Result:
        """Never the same twice, so that whoever computed a value again is noticed."""
        return {"step": ctx.step_key, "by": repr(PROCESS.get()), "value": dice.random()}


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
        return Sleep(params.seconds, super().result(params, ctx, dice))


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


TYPES: tuple[type[Watched], ...] = (Entry, Pure, Effect, Nap, Choose, Stop)
WEIGHTS = (0, 4, 5, 3, 2, 0.3)


def registry() -> Registry:
    return Registry(NodeType.of(node_type()) for node_type in TYPES)


def random_definition(dice: random.Random) -> Definition:
    nodes: list[dict[str, Any]] = [{"id": "n0", "type": Entry.id}]
    edges: list[dict[str, Any]] = []
    kinds: list[type[Watched]] = [Entry]
    works = (0.0, 8.0, 12.0) if dice.random() < 0.4 else (0.0, 0.0, 0.05, 0.5, 2.0, dice.uniform(0, 20))
    for number in range(1, dice.randint(2, 8)):
        kind = dice.choices(TYPES, WEIGHTS)[0]
        nodes.append(_random_node(dice, f"n{number}", kind, works))
        for source in {dice.randrange(number) for _ in range(dice.choice([1, 1, 2, 3]))}:
            handle = dice.choice([*kinds[source].outputs, "error"] if dice.random() < 0.2 else kinds[source].outputs)
            edges.append({"source": f"n{source}", "source_handle": handle, "target": f"n{number}"})
        kinds.append(kind)
    limit = dice.choice([None, None, None, dice.uniform(4, 30)])
    return Definition.model_validate({"nodes": nodes, "edges": edges, "settings": {"timeout_seconds": limit}})


def _random_node(dice: random.Random, node_id: str, kind: type[Watched], works: Sequence[float]) -> dict[str, Any]:
    config: dict[str, Any] = {"work": dice.choice(works)}
    if kind is Nap:
        config["seconds"] = dice.choice([0.0, 0.5, 3.0, 4.8, 5.0, 6.0, 12.0])
    if dice.random() < 0.25:
        config["fails"] = dice.randint(1, 3)
    return {
        "id": node_id,
        "type": kind.id,
        "config": config,
        "disabled": dice.random() < 0.05,
        "timeout_seconds": dice.choice([None, None, None, None, None, 1.0]),
        "retry": {"max_attempts": dice.randint(1, 3), "initial_delay_ms": dice.choice([0, 300, 2_000, 9_000])},
        "on_error": dice.choice(["fail", "continue", "branch"]),
    }
