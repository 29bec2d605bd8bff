"""Starts a run when a run of another workflow has failed."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator

from melagent.sdk import Field, Node, NodeContext, Params, Raw, Result

ANY = "*"
NOTHING_FAILED = {"run_id": None, "workflow_id": None, "version_id": None, "error": None}
"""What a run is given that was started by hand."""


def _id_or_any(workflow: str) -> str:
    try:
        is_id = str(UUID(workflow)) == workflow.lower()
    except ValueError:
        is_id = False
    if workflow != ANY and not is_id:
        raise ValueError(f"{workflow!r} is neither * nor the id of a workflow")
    return workflow


class ErrorTriggerParams(Params):
    """Raw: the parameters are read when there is no run yet."""

    workflows: Annotated[list[Annotated[str, AfterValidator(_id_or_any)]], Raw] = Field(
        default_factory=lambda: [ANY],
        min_length=1,
        max_length=1_000,
        description="Ids of the workflows whose failures start a run; `*` is any",
    )

    def watches(self, workflow_id: str) -> bool:
        """Whether failures of this workflow, given by its id in lower case, start a run."""
        return ANY in self.workflows or workflow_id in {workflow.lower() for workflow in self.workflows}


class ErrorTrigger(Node[ErrorTriggerParams]):
    """A run that was itself started for a failure starts no other when it fails."""

    id = "error_trigger"
    name = "Error trigger"
    description = (
        "Starts when a run of a watched workflow fails; the output is {run_id, workflow_id, version_id, error}"
    )
    category = "Triggers"
    icon = "siren"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: ErrorTriggerParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its parameters
        return NOTHING_FAILED if ctx.input is None else ctx.input
