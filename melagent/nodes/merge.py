"""Brings branches together."""

from __future__ import annotations

from functools import reduce
from typing import Literal, Self

from pydantic import model_validator

from melagent.nodes.ordering import identity
from melagent.sdk import Field, Json, Node, NodeContext, NodeError, Params, Result

Strategy = Literal["concat", "union", "deep", "intersection", "by_key", "append"]


class MergeParams(Params):
    strategy: Strategy = Field(
        default="concat",
        description=(
            "concat joins lists, or merges objects, the last winning; union also drops repeated items; deep merges "
            "objects within objects; intersection keeps what all have; by_key joins lists of objects; append lists "
            "the inputs"
        ),
    )
    key: str = Field(
        default="",
        description="Field by which objects belong together",
        json_schema_extra={"x-visible-if": "strategy == 'by_key'"},
    )

    @model_validator(mode="after")
    def _key_is_given(self) -> Self:
        if self.strategy == "by_key" and not self.key:
            raise ValueError("by_key needs a key")
        return self


class Merge(Node[MergeParams]):
    id = "merge"
    name = "Merge"
    description = "Waits for all its live inputs and makes one value of them"
    category = "Control"
    icon = "merge"

    async def run(self, params: MergeParams, ctx: NodeContext) -> Result:
        values = list(ctx.inputs.values())
        if params.strategy == "append":
            return values
        present = [value for value in values if value is not None]
        if params.strategy == "by_key":
            return _by_key(present, params.key)
        if present and isinstance(present[0], dict):
            return _objects(present, params.strategy)
        return _lists([value if isinstance(value, list) else [value] for value in present], params.strategy)


def _objects(values: list[Json], strategy: Strategy) -> Json:
    if not all(isinstance(value, dict) for value in values):
        raise _wrong("Objects merge with objects only; use the strategy append.")
    if strategy == "deep":
        return reduce(_deep, values)
    merged = reduce(lambda left, right: left | right, values)
    if strategy == "intersection":
        return {key: value for key, value in merged.items() if all(key in other for other in values)}
    return merged


def _deep(left: Json, right: Json) -> Json:
    if isinstance(left, dict) and isinstance(right, dict):
        return left | {key: _deep(left[key], value) if key in left else value for key, value in right.items()}
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    return right


def _lists(values: list[list[Json]], strategy: Strategy) -> Json:
    joined = [item for value in values for item in value]
    if strategy in ("concat", "deep"):
        return joined
    keys = [{identity(item) for item in value} for value in values]
    wanted = set.union(*keys) if strategy == "union" else set.intersection(*keys) if keys else set()
    unique = {identity(item): item for item in reversed(joined)}
    return [unique[key] for key in dict.fromkeys(map(identity, joined)) if key in wanted]


def _by_key(values: list[Json], key: str) -> Json:
    merged: dict[bytes, Json] = {}
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict) or key not in item:
                raise _wrong(f"Each item must be an object with the field {key!r}.")
            known = identity(item[key])
            merged[known] = merged.get(known, {}) | item
    return list(merged.values())


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
