"""Ends a called run with what its caller gets."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Expression, Field, Finish, Node, NodeContext, Params, Result


class WorkflowReturnParams(Params):
    data: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="What the caller gets, for example `{'price': input.price}`"
    )
    status: Literal["success", "error", "warning"] = Field(
        default="success", description="error fails the run, and so the call; warning succeeds, and is logged"
    )
    message: str = Field(
        default="",
        max_length=1000,
        description="Why",
        json_schema_extra={"x-visible-if": "status != 'success'"},
    )


class WorkflowReturn(Node[WorkflowReturnParams]):
    """The whole run ends here, other branches and loops included. Without it a run ends when nothing is left to do."""

    id = "workflow_return"
    name = "Return"
    description = "Ends the run with what its caller gets"
    category = "Workflow"
    icon = "corner-up-left"
    outputs = ()

    async def run(self, params: WorkflowReturnParams, ctx: NodeContext) -> Result:
        data = ctx.evaluate(params.data)
        if params.status == "warning":
            ctx.log("warn", params.message or "returned with a warning")
        return Finish(data, error=(params.message or "returned with an error") if params.status == "error" else None)
