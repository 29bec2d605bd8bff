"""Makes a new value of the input."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from melagent.sdk import Expression, Field, Json, Node, NodeContext, Params, Result


class TransformParams(Params):
    expression: Annotated[str, Expression] = Field(
        default="",
        description="An expression for the new value, for example `input.items | map(attribute='name') | list`",
    )
    template: Json = Field(
        default=None,
        description="Or a text with {{ }} in it, or an object or list of such texts",
        json_schema_extra={"x-widget": "template"},
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.expression) == ("template" in self.model_fields_set):
            raise ValueError("give either an expression or a template")
        return self


class Transform(Node[TransformParams]):
    id = "transform"
    name = "Transform"
    description = "Makes a new value by an expression or a template"
    category = "Data"
    icon = "wand-sparkles"

    async def run(self, params: TransformParams, ctx: NodeContext) -> Result:
        return ctx.evaluate(params.expression) if params.expression else params.template
