"""Starts a run by hand."""

from __future__ import annotations

from typing import Literal, Self

import orjson
from pydantic import model_validator

from melagent.sdk import Field, Json, Node, NodeContext, Params, Result


class ManualTriggerParams(Params):
    data: Json = Field(default_factory=dict, description="Payload when the run is started without an input")
    format: Literal["json", "text", "number"] = Field(default="json", description="How to read a payload given as text")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        self.payload()
        return self

    def payload(self) -> Json:
        """The payload as a value. Raises ValueError when its text is not of the format."""
        if not isinstance(self.data, str) or self.format == "text":
            return self.data
        try:
            value = orjson.loads(self.data)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"data is not valid JSON: {error}") from error
        if self.format == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError("data is not a number")
        return value


class ManualTrigger(Node[ManualTriggerParams]):
    id = "manual_trigger"
    name = "Manual trigger"
    description = "Starts a run by hand, with the input it is given or a payload of its own"
    category = "Triggers"
    icon = "play"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: ManualTriggerParams, ctx: NodeContext) -> Result:
        return params.payload() if ctx.input is None else ctx.input
