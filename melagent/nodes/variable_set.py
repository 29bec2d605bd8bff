"""Changes a variable."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Field, Json, Node, NodeContext, Params, Result, SetVariable, VariableKey, VariableScope


class VariableSetParams(Params):
    key: VariableKey = Field(description="Name of the variable")
    scope: VariableScope = Field(default="run", description="Whose variable: of this run, of its workflow, or of all")
    operation: Literal["set", "increment", "compare_and_set", "delete"] = Field(
        default="set",
        description="increment adds to the number that is there; compare_and_set sets it if it is what is expected",
    )
    value: Json = Field(
        default=None,
        description="The new value; without this parameter the input",
        json_schema_extra={"x-visible-if": "operation == 'set' || operation == 'compare_and_set'"},
    )
    amount: int | Annotated[float, Field(allow_inf_nan=False)] = Field(
        default=1,
        description="What is added; a variable that is not there counts from 0",
        json_schema_extra={"x-visible-if": "operation == 'increment'"},
    )
    expected: Json = Field(
        default=None,
        description="What it must be; a variable that is not there is null",
        json_schema_extra={"x-visible-if": "operation == 'compare_and_set'"},
    )


class VariableSet(Node[VariableSetParams]):
    """The output is the variable afterwards: `{key, scope, ok, value, revision}`.

    `ok` is false when a compare_and_set found something else. A change happens exactly once, in the very write that
    records the step; therefore nothing has to be durable before it.
    """

    id = "variable_set"
    name = "Set variable"
    description = "Sets, increments, compares and sets, or deletes a variable"
    category = "Variables"
    icon = "variable"

    async def run(self, params: VariableSetParams, ctx: NodeContext) -> Result:
        value = params.value if "value" in params.model_fields_set else ctx.input
        return SetVariable(params.key, value, params.scope, params.operation, params.expected, params.amount)
