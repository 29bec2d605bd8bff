"""Starts a run at the moments of a cron expression."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

from melagent.sdk import Field, Node, NodeContext, Params, Raw, Result

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

ANY_DAY = datetime(2000, 1, 1)  # noqa: DTZ001  # only whether there is a moment at all within fifty years is asked

MissedPolicy = Literal["skip", "one", "all"]


def fields_of(expression: str) -> str:
    """The fields that an expression stands for."""
    return NAMED.get(expression.strip().lower(), expression)


def _readable(expression: str) -> str:
    fields = fields_of(expression)
    if fields.strip().startswith("@"):
        raise ValueError(f"{expression!r} is not one of {', '.join(NAMED)}")
    try:
        moments = CronSim(fields, ANY_DAY)
    except CronSimError as error:
        problem = str(error).lower()
        raise ValueError(f"{problem}; an example is `30 9 * * MON-FRI`, with seconds `0 30 9 * * MON-FRI`") from error
    if next(moments, None) is None:
        raise ValueError("there is no such moment in fifty years")
    return expression


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; an example is Europe/Berlin") from error
    return name


class ScheduleParams(Params):
    """All raw: the parameters are read when there is no run yet."""

    cron: Annotated[str, Raw, AfterValidator(_readable)] = Field(
        min_length=1,
        max_length=200,
        description="Minute, hour, day, month and weekday, with seconds before them if there are six; or `@hourly`, "
        "`@daily`, `@weekly`, `@monthly`, `@yearly`",
    )
    timezone: Annotated[str, Raw, AfterValidator(_known_zone)] = Field(
        default="UTC", max_length=100, description="IANA zone whose clocks count"
    )
    missed: Annotated[MissedPolicy, Raw] = Field(
        default="one",
        description="When nobody was up for more than a minute: fire none of what was missed, the last, or all of 24 h",
    )
    jitter: Annotated[int, Raw] = Field(
        default=0, ge=0, le=3600, description="Spread firings over so many seconds; at most to the next one"
    )


class Schedule(Node[ScheduleParams]):
    id = "schedule"
    name = "Schedule"
    description = "Starts a run at set times; the output is {scheduled_for, local_time, timezone, missed}"
    category = "Triggers"
    icon = "calendar-clock"
    kinds = ("trigger",)
    entry_point = True
    inputs = ()

    async def run(self, params: ScheduleParams, ctx: NodeContext) -> Result:
        return not_planned(params.timezone) if ctx.input is None else ctx.input


def not_planned(timezone: str) -> dict[str, object]:
    """What a run is given that was started by hand: it stands for no planned moment."""
    return {"scheduled_for": None, "local_time": None, "timezone": timezone, "missed": False}
