"""Sets, renames and removes fields of an object."""

from __future__ import annotations

from typing import Literal

from melagent.sdk import Field, Json, Node, NodeContext, NodeError, Params, Result


class SetParams(Params):
    fields: dict[str, Json] = Field(
        default_factory=dict, description="Fields to set, after renaming", json_schema_extra={"x-widget": "key-value"}
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description="New names by old names", json_schema_extra={"x-widget": "key-value"}
    )
    remove: list[str] = Field(default_factory=list, description="Fields to leave out")
    include: Literal["all", "none"] = Field(default="all", description="Which fields of the input to begin with")


class Set(Node[SetParams]):
    id = "set"
    name = "Set fields"
    description = "Sets, renames and removes fields of the input"
    category = "Data"
    icon = "pencil"

    async def run(self, params: SetParams, ctx: NodeContext) -> Result:
        given = ctx.input if params.include == "all" else None
        if given is not None and not isinstance(given, dict):
            raise NodeError(
                "The input is not an object; with `include: none` only the fields set here go out.",
                code="wrong_input",
                retryable=False,
            )
        left_out = {*params.remove, *params.rename}
        kept = {name: value for name, value in (given or {}).items() if name not in left_out}
        renamed = {new: given[old] for old, new in params.rename.items() if given and old in given}
        return kept | renamed | params.fields
