"""Makes values by chance, the same ones on every attempt."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from pydantic import model_validator

from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from pydantic.config import JsonDict

_NUMBERS: JsonDict = {"x-visible-if": "type == 'integer' || type == 'number'"}
_ITEMS: JsonDict = {"x-visible-if": "type == 'choice' || type == 'shuffle'"}
_STRING: JsonDict = {"x-visible-if": "type == 'string'"}

MAX_NUMBER = 2**53
"""Up to here whole numbers are exact in every reader of JSON (RFC 8259, section 6)."""


class RandomParams(Params):
    type: Literal["uuid", "integer", "number", "choice", "shuffle", "string"] = Field(
        default="uuid", description="What to make; choice takes one item of a list, shuffle gives the list in any order"
    )
    min: float = Field(
        default=0.0,
        ge=-MAX_NUMBER,
        le=MAX_NUMBER,
        description="The least number; an integer lies at or above it",
        json_schema_extra=_NUMBERS,
    )
    max: float = Field(
        default=100.0,
        ge=-MAX_NUMBER,
        le=MAX_NUMBER,
        description="The greatest number; it may come out itself",
        json_schema_extra=_NUMBERS,
    )
    items: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="The list", json_schema_extra=_ITEMS
    )
    length: int = Field(default=16, ge=1, le=10_000, description="How many characters", json_schema_extra=_STRING)
    alphabet: str = Field(
        default=string.ascii_letters + string.digits,
        min_length=1,
        max_length=1000,
        description="Characters to choose from",
        json_schema_extra=_STRING,
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is greater than max")
        if self.type == "integer" and (self.min % 1 or self.max % 1):
            raise ValueError("integers need whole numbers as min and max")
        return self


class Random(Node[RandomParams]):
    id = "random"
    name = "Random"
    description = (
        "Makes a UUID, a number, a text or a choice by chance; another attempt gives the same. Not for secrets"
    )
    category = "Data"
    icon = "dices"
    in_thread = True

    async def run(self, params: RandomParams, ctx: NodeContext) -> Result:
        match params.type:
            case "uuid":
                return str(UUID(int=ctx.random.getrandbits(128), version=4))
            case "integer":
                return ctx.random.randint(int(params.min), int(params.max))
            case "number":
                return ctx.random.uniform(params.min, params.max)
            case "string":
                return "".join(ctx.random.choices(params.alphabet, k=params.length))
        return _drawn(params.type, ctx.evaluate(params.items), ctx)


def _drawn(kind: Literal["choice", "shuffle"], items: Json, ctx: NodeContext) -> Json:
    if not isinstance(items, list):
        raise NodeError("`items` is not a list.", code="wrong_input", retryable=False)
    if kind == "shuffle":
        return ctx.random.sample(items, len(items))
    if not items:
        raise NodeError("There is no item to choose from.", code="wrong_input", retryable=False)
    return ctx.random.choice(items)
