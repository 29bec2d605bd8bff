"""Chooses a branch by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, model_validator

from melagent.sdk import Expression, Field, Json, Node, NodeContext, Params, Raw, Result, Success

if TYPE_CHECKING:
    from collections.abc import Sequence


def _not_reserved(name: str) -> str:
    if name == "error":
        raise ValueError("`error` is the branch of failed nodes; choose another name")
    return name


Handle = Annotated[str, Raw, Field(pattern=r"^[^\x00-\x1f,]{1,100}$"), AfterValidator(_not_reserved)]


class Case(Params):
    value: Annotated[Json, Raw] = Field(default=None, description="Taken when the expression has this value")
    expression: Annotated[str, Expression] = Field(
        default="", description="Or taken when this is true; sees the value as `value`"
    )
    handle: Handle = Field(description="Name of the branch")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if ("value" in self.model_fields_set) == bool(self.expression):
            raise ValueError("a case has either a value or an expression")
        return self


class SwitchParams(Params):
    expression: Annotated[str, Expression] = Field(default="input", min_length=1, description="What to decide by")
    cases: list[Case] = Field(min_length=1, max_length=100, description="The first that fits wins")
    default: Handle = Field(default="default", description="Branch when no case fits")


class Switch(Node[SwitchParams]):
    id = "switch"
    name = "Switch"
    description = "Passes its input to the branch of the first case that fits"
    category = "Control"
    icon = "git-branch"
    branching = True
    outputs = ("default",)

    def handles(self, params: SwitchParams) -> Sequence[str]:
        return tuple(dict.fromkeys([*(case.handle for case in params.cases), params.default]))

    async def run(self, params: SwitchParams, ctx: NodeContext) -> Result:
        value = ctx.evaluate(params.expression)
        for case in params.cases:
            if _fits(case, value, ctx):
                return Success(ctx.input, case.handle)
        return Success(ctx.input, params.default)


def _fits(case: Case, value: Json, ctx: NodeContext) -> bool:
    if case.expression:
        return bool(ctx.evaluate(case.expression, {"value": value}))
    if isinstance(value, bool) or isinstance(case.value, bool):
        return value is case.value  # to Python, true equals 1
    return bool(value == case.value)
