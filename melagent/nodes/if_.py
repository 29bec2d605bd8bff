"""Chooses a branch by conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from melagent.sdk import Expression, Field, Node, NodeContext, Params, Raw, Result, Success

if TYPE_CHECKING:
    from collections.abc import Sequence

ELSE = "else"


def _not_reserved(name: str) -> str:
    if name == "error":
        raise ValueError("`error` is the branch of failed nodes; choose another name")
    return name


Branch = Annotated[str, Raw, Field(pattern=r"^[^\x00-\x1f,]{0,100}$"), AfterValidator(_not_reserved)]


class Condition(Params):
    expression: Annotated[str, Expression] = Field(min_length=1, description="For example `input.total > 100`")
    branch: Branch = Field(default="", description="Handle that is taken when it is true")


class IfParams(Params):
    conditions: list[Condition] = Field(min_length=1, max_length=100, description="The first that is true wins")
    has_else: bool = Field(default=False, description="Whether the branch `else`, taken when none is true, is drawn")


class If(Node[IfParams]):
    id = "if"
    name = "If"
    description = "Passes its input to the branch of the first condition that is true"
    category = "Control"
    icon = "split"
    branching = True
    outputs = ("true", "false")

    def handles(self, params: IfParams) -> Sequence[str]:
        if _is_plain(params):
            return self.outputs
        branches = [_branch(condition, index) for index, condition in enumerate(params.conditions)]
        return tuple(dict.fromkeys([*branches, ELSE]))

    async def run(self, params: IfParams, ctx: NodeContext) -> Result:
        for index, condition in enumerate(params.conditions):
            if ctx.evaluate(condition.expression):
                return Success(ctx.input, "true" if _is_plain(params) else _branch(condition, index))
        return Success(ctx.input, "false" if _is_plain(params) else ELSE)


def _is_plain(params: IfParams) -> bool:
    """One condition without a name has the branches `true` and `false`."""
    return len(params.conditions) == 1 and not params.conditions[0].branch


def _branch(condition: Condition, index: int) -> str:
    return condition.branch or f"branch_{index + 1}"
