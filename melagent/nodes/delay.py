"""Sleeps without holding a worker."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import field_validator

from melagent.nodes import durations
from melagent.sdk import Field, Node, NodeContext, Params, Result, Sleep

MAX_SECONDS = 366 * 86_400


class DelayParams(Params):
    duration: float | str = Field(default=1000, description="Milliseconds, or text like `90s`, `5m`, `1h30m`")
    until: str | None = Field(
        default=None, description="Or a time like `2030-01-31T09:00:00Z`; UTC if it names no zone"
    )

    @field_validator("duration")
    @classmethod
    def _within_limits(cls, duration: float | str) -> float | str:
        if not 0 <= read_seconds(duration) <= MAX_SECONDS:
            raise ValueError("duration must be between 0 and 366 days")
        return duration

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, until: str | None) -> str | None:
        if until is not None:
            read_time(until)
        return until


class Delay(Node[DelayParams]):
    id = "delay"
    name = "Delay"
    description = "Sleeps for some time or until a time, then passes its input on"
    category = "Control"
    icon = "hourglass"

    async def run(self, params: DelayParams, ctx: NodeContext) -> Result:
        if params.until is not None:
            return Sleep(until=read_time(params.until), output=ctx.input)
        return Sleep(read_seconds(params.duration), ctx.input)


def read_seconds(duration: float | str) -> float:
    """Seconds of a duration in milliseconds or of a text. Raises ValueError."""
    if isinstance(duration, str) and not durations.is_number(duration):
        return durations.read_seconds(duration)
    return float(duration) / 1000


def read_time(text: str) -> datetime:
    """A moment in ISO 8601. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it like 2030-01-31T09:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
