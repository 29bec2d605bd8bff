"""Runs what hangs on it once for each item of a list."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Expression, Field, ForEach, Json, Node, NodeContext, NodeError, Params, Result

_WORDS = {str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


class ForEachParams(Params):
    items: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="The list; an object gives its entries as `{key, value}`"
    )
    concurrency: int = Field(default=10, ge=1, le=1_000, description="How many items are under way at once")
    batch_size: int = Field(
        default=1, ge=1, le=10_000, description="From 2 on `item` is a list of so many; the last may have fewer"
    )
    on_item_error: Literal["fail", "continue", "skip"] = Field(
        default="fail",
        description=(
            "What becomes of an item that fails: fail stops the others and fails the node; continue makes `{error}` "
            "its result; skip leaves it out of the results"
        ),
    )
    distributed: bool = Field(
        default=False, description="Whether each item is a run of its own, which any worker may take"
    )


class ForEachItem(Node[ForEachParams]):
    """What hangs on `item` is the body. It runs once for each item, which it sees as `item`, its place as `index`.

    The result of an item is the output of the last node on its path; an object of all ends by node id when there are
    several; the item itself when the body is empty. `done` gets the list of the results, in the order of the items.
    What is in the body must not be reached past `item`, and nothing leads out of it.
    """

    id = "for_each"
    name = "For each"
    description = "Runs what hangs on it once for each item of a list, several at once"
    category = "Control"
    icon = "repeat"
    outputs = ("item", "done")

    async def run(self, params: ForEachParams, ctx: NodeContext) -> Result:
        items = _listed(ctx.evaluate(params.items))
        if params.batch_size > 1:
            items = [items[start : start + params.batch_size] for start in range(0, len(items), params.batch_size)]
        return ForEach(items, params.concurrency, params.on_item_error, params.distributed)


def _listed(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [{"key": key, "value": entry} for key, entry in value.items()]
    message = f"`items` is {_WORDS[type(value)]}, and must be a list or an object."
    raise NodeError(message, code="wrong_input", retryable=False)
