"""Where calls from other workflows enter."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Field, Json, Node, NodeContext, NodeError, Params, Raw, Result

TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str, "number": (int, float), "boolean": bool, "list": list, "object": dict,
}  # fmt: skip


class InputField(Params):
    name: str = Field(min_length=1, max_length=100, description="Name in the input")
    type: Literal["any", "text", "number", "boolean", "list", "object"] = Field(default="any", description="Its type")
    required: bool = Field(default=True, description="Whether a call must give it")


class WorkflowTriggerParams(Params):
    allowed_callers: Annotated[list[str], Raw] = Field(
        default_factory=lambda: ["*"], description="Ids of the workflows that may call this one; * is any"
    )
    input_schema: Annotated[list[InputField], Raw] = Field(
        default_factory=list, max_length=200, description="Fields that the input of a call must have"
    )


class WorkflowTrigger(Node[WorkflowTriggerParams]):
    """The output is the input of the call. A call whose input lacks a field fails at once."""

    id = "workflow_trigger"
    name = "Called by a workflow"
    description = "Starts when another workflow calls this one"
    category = "Triggers"
    icon = "corner-down-right"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: WorkflowTriggerParams, ctx: NodeContext) -> Result:
        problems = [problem for field in params.input_schema if (problem := _problem(field, ctx.input))]
        if problems:
            message = f"The input does not fit: {'; '.join(problems)}."
            raise NodeError(message, code="invalid_input", retryable=False)
        return ctx.input


def _problem(field: InputField, given: Json) -> str | None:
    value = given.get(field.name) if isinstance(given, dict) else None
    if value is None:
        return f"{field.name} is missing" if field.required else None
    wanted = TYPES.get(field.type)
    number_is_boolean = field.type == "number" and isinstance(value, bool)
    wrong = number_is_boolean or (wanted is not None and not isinstance(value, wanted))
    return f"{field.name} is not of the type {field.type}" if wrong else None
