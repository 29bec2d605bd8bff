"""Runs another workflow."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Call, Expression, Field, Node, NodeContext, NodeError, Params, Result


class WorkflowCallParams(Params):
    workflow: str = Field(
        min_length=1,
        max_length=200,
        description="Its name or id",
        json_schema_extra={"x-widget": "workflow"},
    )
    input: Annotated[str, Expression] = Field(default="input", min_length=1, description="What the called run gets")
    mode: Literal["sync", "async"] = Field(
        default="sync", description="sync waits for the end and has its output; async goes on with {run_id}"
    )
    version: int | Literal["current"] = Field(default="current", description="A number, or the deployed version")
    timeout: float | None = Field(
        default=None, gt=0, le=10 * 365 * 86_400, description="Seconds to wait for the end; null waits for ever"
    )


class WorkflowCall(Node[WorkflowCallParams]):
    """A called run that fails or is cancelled fails the node. A run that calls holds no worker while it waits."""

    id = "workflow_call"
    name = "Call workflow"
    description = "Runs another workflow, and waits for its output"
    category = "Workflow"
    icon = "workflow"
    effects = True

    async def run(self, params: WorkflowCallParams, ctx: NodeContext) -> Result:
        received = ctx.received
        if received is None:
            value = ctx.evaluate(params.input)
            return Call(params.workflow, value, params.version, wait=params.mode == "sync", seconds=params.timeout)
        if received.timed_out:
            raise NodeError(f"The called run did not end within {params.timeout:g} s.", code="timeout", retryable=False)
        if received.error is not None:
            message = f"The called run did not succeed: {received.error.get('message') or received.error.get('code')}"
            raise NodeError(message, code="child_failed", retryable=False, details=dict(received.error))
        return received.value
