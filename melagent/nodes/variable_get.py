"""Reads a variable."""

from __future__ import annotations

from typing import Literal

from melagent.sdk import Field, Json, Node, NodeContext, NodeError, Params, Result, VariableKey


class VariableGetParams(Params):
    key: VariableKey = Field(description="Name of the variable")
    scope: Literal["all", "run", "workflow", "global"] = Field(
        default="all", description="Whose variable; all: the run's, else its workflow's, else the global one"
    )
    default_value: Json = Field(default=None, description="What goes out when there is none")
    fail_if_missing: bool = Field(default=False, description="Whether to fail when there is none")


class VariableGet(Node[VariableGetParams]):
    """The output is the value. In expressions `vars.<key>` is the same as scope `all`."""

    id = "variable_get"
    name = "Get variable"
    description = "Reads a variable"
    category = "Variables"
    icon = "variable"

    async def run(self, params: VariableGetParams, ctx: NodeContext) -> Result:
        found = await ctx.variables(None if params.scope == "all" else params.scope, keys=[params.key])
        if params.key not in found and params.fail_if_missing:
            raise NodeError(f"There is no variable {params.key!r}.", code="no_variable", retryable=False)
        return found.get(params.key, params.default_value)
