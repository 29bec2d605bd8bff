"""Reads several variables."""

from __future__ import annotations

from typing import Literal

from melagent.sdk import Field, Node, NodeContext, Params, Result


class VariableListParams(Params):
    scope: Literal["all", "run", "workflow", "global"] = Field(
        default="all", description="Whose variables; all: the run's hide its workflow's, which hide the global ones"
    )
    prefix: str = Field(default="", max_length=200, description="What their names begin with")


class VariableList(Node[VariableListParams]):
    """The output is an object of the values by name."""

    id = "variable_list"
    name = "List variables"
    description = "Reads all variables, or those whose names begin alike"
    category = "Variables"
    icon = "variable"

    async def run(self, params: VariableListParams, ctx: NodeContext) -> Result:
        return await ctx.variables(None if params.scope == "all" else params.scope, prefix=params.prefix)
