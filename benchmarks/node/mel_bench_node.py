"""The cheapest node with effects, so that a benchmark measures what an effect costs the engine and not the effect."""

from __future__ import annotations

from melagent.sdk import Json, Node, NodeContext, Params, Result


class EffectParams(Params):
    total: Json


class Effect(Node[EffectParams]):
    id = "bench_effect"
    name = "Effect"
    description = "Answers its parameter, and counts as an effect"
    category = "Benchmarks"
    effects = True

    async def run(self, params: EffectParams, ctx: NodeContext) -> Result:  # noqa: ARG002  # the signature of all nodes
        return {"total": params.total}
