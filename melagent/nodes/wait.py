"""Waits for a signal or an approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from melagent.nodes.durations import Timeout
from melagent.sdk import Field, Node, NodeContext, NodeError, Params, Raw, Result, Success, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence


class FormField(Params):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$", description="Name in the answer")
    label: str = Field(default="", max_length=200, description="What the form calls it; its name when empty")
    type: Literal["text", "number", "boolean", "choice"] = Field(default="text", description="What can be entered")
    options: list[str] = Field(
        default=[],
        max_length=100,
        description="What can be chosen",
        json_schema_extra={"x-visible-if": "type == 'choice'"},
    )
    required: bool = Field(default=False, description="Whether it must be filled in")

    @model_validator(mode="after")
    def _has_options(self) -> Self:
        if self.type == "choice" and not self.options:
            raise ValueError(f"the choice {self.name!r} has no options")
        return self


def _names_differ(fields: list[FormField]) -> list[FormField]:
    if len({field.name for field in fields}) < len(fields):
        raise ValueError("two fields have the same name")
    return fields


class WaitParams(Params):
    signal: str = Field(
        default="",
        max_length=200,
        pattern=r"^[A-Za-z0-9_.:\[\]-]*$",
        description="Name of the signal; when empty, the key of this step: its id, in a loop with the item's number",
    )
    title: str = Field(default="", max_length=500, description="Heading of the form behind the approval link")
    fields: Annotated[list[FormField], Raw, AfterValidator(_names_differ)] = Field(
        default_factory=list, max_length=100, description="What the form asks for"
    )
    timeout: Timeout | None = Field(
        default=None, description="How long to wait: seconds, or text like `90s`, `24h`, `7d`; null waits for ever"
    )
    on_timeout: Literal["fail", "branch"] = Field(
        default="fail",
        description="fail fails the node with the code `timeout`; branch passes the input on at the output `timeout`",
    )


class WaitForSignal(Node[WaitParams]):
    """The output is what was sent with the signal, at once when it was sent before the wait; each signal counts once.

    No worker is held meanwhile, and a wait may last for years. The output `timeout` is there with `onTimeout: branch`.
    """

    id = "wait"
    name = "Wait"
    description = "Waits for a signal, an approval or an answer of a person"
    category = "Control"
    icon = "hand"
    branching = True
    outputs = ("out", "timeout")

    def handles(self, params: WaitParams) -> Sequence[str]:
        return self.outputs if params.on_timeout == "branch" else ("out",)

    async def run(self, params: WaitParams, ctx: NodeContext) -> Result:
        if ctx.received is None:
            shown = {"title": params.title, "fields": [field.model_dump(by_alias=True) for field in params.fields]}
            return Wait(params.signal or ctx.step_key, params.timeout, shown)
        if not ctx.received.timed_out:
            return ctx.received.value
        if params.on_timeout == "branch":
            return Success(ctx.input, "timeout")
        raise NodeError(f"Nobody answered within {params.timeout:g} s.", code="timeout", retryable=False)
