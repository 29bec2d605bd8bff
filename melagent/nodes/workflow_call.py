"""Runs another workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import orjson

from melagent.nodes.durations import Timeout
from melagent.sdk import Call, Expression, Field, Json, Node, NodeContext, NodeError, Params, Received, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OUTPUT_BYTES = 8 * 1024
"""What a failed run has left for its caller is told with the error up to this size."""


class WorkflowCallParams(Params):
    workflow: str = Field(
        min_length=1,
        max_length=200,
        description="Its name or id; a name must be the only one of its kind",
        json_schema_extra={"x-widget": "workflow"},
    )
    input: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="What the called run gets, for example `{'order': item}`"
    )
    mode: Literal["sync", "async"] = Field(
        default="sync", description="sync waits for the end and gives its output; async goes on at once with `{run_id}`"
    )
    version: Annotated[int, Field(ge=1)] | Literal["current"] = Field(
        default="current", description="A number, or the version that is deployed when the call is made"
    )
    timeout: Timeout | None = Field(
        default=None,
        description="How long to wait for the end: seconds, or text like `90s`, `5m`, `2h`; null waits for ever",
        json_schema_extra={"x-visible-if": "mode == 'sync'"},
    )


class WorkflowCall(Node[WorkflowCallParams]):
    """The called run enters at its `workflow_trigger`, else where a start by hand would. No worker is held meanwhile.

    A called run that fails or is cancelled fails the node with the code `child_failed`, and is not called again; the
    error's `details` have its `error`, and its `output` up to 8 KiB. When this run ends, a called run that goes on, for
    instance after a time-out, is cancelled. One that was called with `async` stands for itself.
    """

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
            message = f"{params.workflow!r} did not end within {params.timeout:g} s."
            raise NodeError(message, code="timeout", retryable=False)
        if received.error is not None:
            raise _failed(params.workflow, received, received.error)
        return received.value


def _failed(workflow: str, received: Received, error: Mapping[str, Json]) -> NodeError:
    details = {"error": dict(error)}
    if len(orjson.dumps(received.value)) <= MAX_OUTPUT_BYTES:
        details["output"] = received.value
    message = f"{workflow!r} did not succeed: {error.get('message') or error.get('code')}"
    return NodeError(message, code="child_failed", retryable=False, details=details)
