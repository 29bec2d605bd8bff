"""Passes its input on."""

from __future__ import annotations

from melagent.sdk import Node, NodeContext, Params, Result


class NoopParams(Params):
    pass


class Noop(Node[NoopParams]):
    id = "noop"
    name = "No operation"
    description = "Passes its input on; a place where branches meet or a note is needed"
    category = "Control"
    icon = "circle"

    async def run(self, params: NoopParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its parameters
        return ctx.input
