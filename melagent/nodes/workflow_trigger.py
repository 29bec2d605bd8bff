"""Where calls from other workflows enter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator

from melagent.sdk import Field, Json, Node, NodeContext, NodeError, Params, Raw, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

ANYBODY = "*"
TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str, "number": (int, float), "boolean": bool, "list": list, "object": dict,
}  # fmt: skip


def _id_or_anybody(caller: str) -> str:
    if caller != ANYBODY and not _is_id(caller):
        raise ValueError(f"{caller!r} is neither * nor the id of a workflow")
    return caller


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


class InputField(Params):
    name: str = Field(min_length=1, max_length=100, description="Name in the input")
    type: Literal["any", "text", "number", "boolean", "list", "object"] = Field(default="any", description="Its type")
    required: bool = Field(default=True, description="Whether a call must give it; null counts as not given")


class WorkflowTriggerParams(Params):
    allowed_callers: Annotated[list[Annotated[str, AfterValidator(_id_or_anybody)]], Raw] = Field(
        default_factory=lambda: [ANYBODY],
        max_length=1_000,
        description="Ids of the workflows that may call this one; `*` is any, an empty list none",
    )
    input_schema: Annotated[list[InputField], Raw] = Field(
        default_factory=list,
        max_length=200,
        description="Fields of the input, checked when a call begins; others may be there too",
    )


class WorkflowTrigger(Node[WorkflowTriggerParams]):
    """The output is the input of the call. One that does not fit fails with the code `invalid_input`."""

    id = "workflow_trigger"
    name = "Called by a workflow"
    description = "Starts when another workflow calls this one"
    category = "Triggers"
    icon = "corner-down-right"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: WorkflowTriggerParams, ctx: NodeContext) -> Result:
        problems = list(_problems(params.input_schema, ctx.input))
        if problems:
            message = f"The input does not fit: {'; '.join(problems)}."
            raise NodeError(message, code="invalid_input", retryable=False)
        return ctx.input


def _problems(fields: list[InputField], given: Json) -> Iterator[str]:
    if fields and given is not None and not isinstance(given, dict):
        yield "it is not an object"
        return
    for field in fields:
        value = (given or {}).get(field.name)
        if value is None and field.required:
            yield f"{field.name} is missing"
        elif value is not None and not _is_of_type(value, field.type):
            yield f"{field.name} is not of the type {field.type}"


def _is_of_type(value: Json, name: str) -> bool:
    if name == "any":
        return True
    return isinstance(value, TYPES[name]) and not (name == "number" and isinstance(value, bool))
