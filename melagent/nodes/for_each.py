"""Runs what hangs on it once for each item of a list."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Expression, Field, ForEach, Node, NodeContext, NodeError, Params, Result


class ForEachParams(Params):
    items: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="The list; an object gives its entries as {key, value}"
    )
    concurrency: int = Field(default=10, ge=1, le=1_000, description="So many items are under way at once")
    batch_size: int = Field(default=1, ge=1, le=10_000, description="From 2 on each item is a list of so many")
    on_item_error: Literal["fail", "continue", "skip"] = Field(
        default="fail",
        description="What an item that fails does: the node fails; its result is {error}; it is left out",
    )
    distributed: bool = Field(default=False, description="Each item is a run of its own, which any worker may take")


class ForEachItem(Node[ForEachParams]):
    """What hangs on `item` runs for each item, as `item` and its `index`; `done` gets all results in the items' order.

    The result of an item is the output of the last node of its path, or an object of all ends by node id.
    """

    id = "for_each"
    name = "For each"
    description = "Runs what hangs on it once for each item of a list, several at once"
    category = "Control"
    icon = "repeat"
    outputs = ("item", "done")

    async def run(self, params: ForEachParams, ctx: NodeContext) -> Result:
        items = ctx.evaluate(params.items)
        if isinstance(items, dict):
            items = [{"key": key, "value": value} for key, value in items.items()]
        if not isinstance(items, list):
            raise NodeError("`items` is not a list.", code="wrong_input", retryable=False)
        if params.batch_size > 1:
            items = [items[start : start + params.batch_size] for start in range(0, len(items), params.batch_size)]
        return ForEach(items, params.concurrency, params.on_item_error, params.distributed)
