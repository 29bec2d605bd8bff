"""Ends the run."""

from __future__ import annotations

from typing import Literal

from melagent.sdk import Field, Finish, Json, Node, NodeContext, Params, Result


class StopParams(Params):
    status: Literal["success", "error"] = Field(default="success", description="How the run ends")
    message: str = Field(
        default="The workflow stopped with an error.",
        description="What went wrong",
        json_schema_extra={"x-visible-if": "status == 'error'"},
    )
    output: Json = Field(default=None, description="Output of the run; the input of this node when not given")


class Stop(Node[StopParams]):
    id = "stop"
    name = "Stop"
    description = "Ends the whole run, completed or with an error of your own"
    category = "Control"
    icon = "octagon-x"
    outputs = ()

    async def run(self, params: StopParams, ctx: NodeContext) -> Result:
        output = params.output if "output" in params.model_fields_set else ctx.input
        return Finish(output, error=params.message if params.status == "error" else None)
