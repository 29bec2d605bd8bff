"""Waits for a signal or an approval."""

from __future__ import annotations

from typing import Annotated, Literal

from melagent.sdk import Field, Node, NodeContext, NodeError, Params, Raw, Result, Success, Wait


class FormField(Params):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$", description="Name in the answer")
    label: str = Field(default="", max_length=200, description="What the form calls it")
    type: Literal["text", "number", "boolean", "choice"] = Field(default="text", description="What can be entered")
    options: list[str] = Field(default_factory=list, max_length=100, description="Choices of a choice")
    required: bool = Field(default=False, description="Whether it must be filled in")


class WaitParams(Params):
    signal: str = Field(
        default="",
        max_length=200,
        pattern=r"^[A-Za-z0-9_.:\[\]-]*$",
        description="Name of the signal; when empty, the key of this step: its id, in a loop with the item's number",
    )
    title: str = Field(default="", max_length=500, description="Heading of the form behind the approval link")
    fields: Annotated[list[FormField], Raw] = Field(default_factory=list, description="What the form asks for")
    timeout: float | None = Field(default=None, gt=0, le=10 * 365 * 86_400, description="Seconds; null waits for ever")
    on_timeout: Literal["fail", "branch"] = Field(
        default="fail", description="branch goes on at the output `timeout`, where the input is passed on"
    )


class WaitForSignal(Node[WaitParams]):
    """The output is what was sent with the signal. No worker is held meanwhile, and a wait may last for years."""

    id = "wait"
    name = "Wait"
    description = "Waits for a signal, an approval or an answer of a person"
    category = "Control"
    icon = "hourglass"
    branching = True
    outputs = ("out", "timeout")

    async def run(self, params: WaitParams, ctx: NodeContext) -> Result:
        if ctx.received is None:
            shown = {"title": params.title, "fields": [field.model_dump(by_alias=True) for field in params.fields]}
            return Wait(params.signal or ctx.step_key, params.timeout, shown)
        if not ctx.received.timed_out:
            return ctx.received.value
        if params.on_timeout == "branch":
            return Success(ctx.input, "timeout")
        raise NodeError(f"Nobody answered within {params.timeout:g} s.", code="timeout", retryable=False)
