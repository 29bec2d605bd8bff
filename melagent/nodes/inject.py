"""Starts a run with a payload of its own."""

from __future__ import annotations

from melagent.sdk import Field, Json, Node, NodeContext, Params, Result


class InjectParams(Params):
    payload: Json = Field(
        default_factory=dict, description="What goes out, any value", json_schema_extra={"x-widget": "template"}
    )


class Inject(Node[InjectParams]):
    id = "inject"
    name = "Inject"
    description = "Starts a run with always the same payload, for debugging; the input of the run is not looked at"
    category = "Triggers"
    icon = "syringe"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: InjectParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its context
        return params.payload
