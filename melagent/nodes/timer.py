"""Starts a run at regular intervals."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from melagent.nodes.schedule import MissedPolicy, not_planned
from melagent.sdk import Field, Node, NodeContext, Params, Raw, Result

SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}
LONGEST_SECONDS = 366 * 86_400


class TimerParams(Params):
    """All raw: the parameters are read when there is no run yet."""

    every: Annotated[int, Raw] = Field(ge=1, description="How many of the unit lie between two runs")
    unit: Annotated[Literal["seconds", "minutes", "hours"], Raw] = Field(default="minutes", description="Its unit")
    missed: Annotated[MissedPolicy, Raw] = Field(
        default="one",
        description="When nobody was up for more than a minute: fire none of what was missed, the last, or all of 24 h",
    )

    @model_validator(mode="after")
    def _within_a_year(self) -> Self:
        if self.seconds > LONGEST_SECONDS:
            raise ValueError("an interval is a year at most")
        return self

    @property
    def seconds(self) -> int:
        return self.every * SECONDS[self.unit]


class Timer(Node[TimerParams]):
    id = "timer"
    name = "Timer"
    description = "Starts a run every so often; the output is {scheduled_for, local_time, timezone, missed}"
    category = "Triggers"
    icon = "timer"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: TimerParams, ctx: NodeContext) -> Result:  # noqa: ARG002 - every node takes its parameters
        return not_planned("UTC") if ctx.input is None else ctx.input
