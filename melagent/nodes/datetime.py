"""Reads, writes, shifts and compares times."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, model_validator

from melagent.sdk import Field, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from pydantic.config import JsonDict

_UNIX = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,9})?")
_MILLISECONDS = 10**11
"""From here on a number is one of milliseconds: as seconds it would lie in the year 5138, as milliseconds in 1973."""
_ISO = re.compile(r"[0-9W-]{7,10}([Tt ].*)?")
"""Python takes any character between date and time, a digit of a longer number among them."""
_DIRECTIVE = re.compile(r"%[aAbBcdfGHIjmMpSuUVwWxXyYzZ%]")
_EXACT = {"seconds": 1, "minutes": 60, "hours": 3600}
_DAYS = {"days": 1, "weeks": 7}
_MONTHS = {"months": 1, "years": 12}

_VALUE: JsonDict = {"x-visible-if": "operation != 'now'"}
_PATTERN: JsonDict = {"x-visible-if": "operation == 'format'"}
_SHIFT: JsonDict = {"x-visible-if": "operation == 'shift'"}
_DIFFERENCE: JsonDict = {"x-visible-if": "operation == 'difference'"}
_UNIT: JsonDict = {"x-visible-if": "operation == 'shift' || operation == 'start' || operation == 'difference'"}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; an example is Europe/Berlin") from error
    return name


def _known_directives(pattern: str) -> str:
    """No others: one like `%999999999d` makes a gigabyte of text."""
    if not pattern.isprintable():
        raise ValueError("a pattern is one line of text")
    _, percent, unknown = _DIRECTIVE.sub("", pattern).partition("%")
    if percent:
        raise ValueError(f"there is no %{unknown[:1]} in a pattern")
    return pattern


Time = Annotated[str, Field(max_length=100)]
Pattern = Annotated[str, Field(max_length=100), AfterValidator(_known_directives)]


class DatetimeParams(Params):
    operation: Literal["now", "parse", "format", "shift", "start", "difference", "unix"] = Field(
        default="now",
        description=(
            "now, parse, shift and start give ISO 8601, format a text, difference a number, unix the seconds since "
            "1970; start goes back to the beginning of the unit"
        ),
    )
    value: Time | None = Field(
        default=None,
        description="A time: ISO 8601, seconds or milliseconds since 1970, or what inputFormat says; now when left out",
        json_schema_extra=_VALUE,
    )
    other: Time | None = Field(
        default=None,
        description="The time to compare with, now when left out; the difference is positive when it is the later one",
        json_schema_extra=_DIFFERENCE,
    )
    input_format: Pattern = Field(
        default="", description="Pattern of the given times, for example %d.%m.%Y %H:%M", json_schema_extra=_VALUE
    )
    format: Pattern = Field(
        default="%Y-%m-%d", description="Pattern of the text, for example %A, %d %B %Y", json_schema_extra=_PATTERN
    )
    timezone: Annotated[str, Field(max_length=100), AfterValidator(_known_zone)] = Field(
        default="UTC", description="IANA zone of the output, and of times that name no offset themselves"
    )
    amount: int = Field(
        default=1,
        ge=-(10**12),
        le=10**12,
        description="How many units to go forward; back when negative",
        json_schema_extra=_SHIFT,
    )
    unit: Literal["seconds", "minutes", "hours", "days", "weeks", "months", "years"] = Field(
        default="days",
        description=(
            "In a shift, days and longer units keep the time of the day; in a difference a day has 24 hours; a week "
            "starts on Monday"
        ),
        json_schema_extra=_UNIT,
    )

    @model_validator(mode="after")
    def _unit_has_a_length(self) -> Self:
        if self.operation == "difference" and self.unit in _MONTHS:
            raise ValueError(f"{self.unit} differ in length; give a difference in weeks or shorter units")
        return self


class Datetime(Node[DatetimeParams]):
    id = "datetime"
    name = "Date and time"
    description = "Reads, writes, shifts and compares times, in any time zone"
    category = "Data"
    icon = "calendar-clock"

    async def run(self, params: DatetimeParams, ctx: NodeContext) -> Result:
        try:
            return _result(params, ctx.now)
        except (OverflowError, OSError) as error:
            raise _wrong("The time lies outside the years 1 to 9999.") from error


def _result(params: DatetimeParams, now: datetime) -> Result:
    zone = ZoneInfo(params.timezone)
    value = now.astimezone(zone) if params.operation == "now" else _time(params.value, params, zone, now)
    match params.operation:
        case "now" | "parse":
            return value.isoformat()
        case "format":
            return value.strftime(params.format)
        case "shift":
            return _shifted(value, params).isoformat()
        case "start":
            return _start(value, params.unit).isoformat()
        case "unix":
            seconds = value.timestamp()
            return int(seconds) if seconds.is_integer() else seconds
        case "difference":
            other = _time(params.other, params, zone, now)
            seconds = (other.astimezone(UTC) - value.astimezone(UTC)).total_seconds()
            return seconds / (_EXACT.get(params.unit) or 86_400 * _DAYS[params.unit])


def _time(text: str | None, params: DatetimeParams, zone: ZoneInfo, now: datetime) -> datetime:
    """The time in the zone. A time of day that a clock change repeats is the first one, one that it skips the later."""
    if text is None:
        return now.astimezone(zone)
    try:
        found = _read(text.strip(), params.input_format)
    except (ValueError, re.error) as error:
        expected = f"of the pattern {params.input_format!r}" if params.input_format else "in ISO 8601 or Unix seconds"
        raise _wrong(f"{text!r} is no time {expected}.") from error
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC).astimezone(zone)


def _read(text: str, pattern: str) -> datetime:
    if pattern:
        return datetime.strptime(text, pattern)  # noqa: DTZ007 - the caller adds the zone when there is none
    if _UNIX.fullmatch(text) and len(text) != len("YYYYMMDD"):
        number = float(text)
        return datetime.fromtimestamp(number / 1000 if abs(number) >= _MILLISECONDS else number, UTC)
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _shifted(value: datetime, params: DatetimeParams) -> datetime:
    """Short units add exact time; longer ones keep the time of the day, and months end on their last day at most."""
    if exact := _EXACT.get(params.unit):
        return (value.astimezone(UTC) + timedelta(seconds=exact * params.amount)).astimezone(value.tzinfo)
    if days := _DAYS.get(params.unit):
        moved = value + timedelta(days=days * params.amount)
    else:
        moved = _months_later(value, _MONTHS[params.unit] * params.amount)
    return moved.astimezone(UTC).astimezone(value.tzinfo)


def _start(value: datetime, unit: str) -> datetime:
    """The beginning of the unit, by the clock of the zone; the earlier one of an hour that the clock repeats."""
    if unit == "weeks":
        value, unit = value - timedelta(days=value.weekday()), "days"
    kept = ("years", "months", "days", "hours", "minutes", "seconds").index(unit)
    parts = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    start = value.replace(**dict([*parts.items()][kept:]))  # type: ignore[arg-type]  # whole numbers all
    return start.astimezone(UTC).astimezone(value.tzinfo)


def _months_later(value: datetime, months: int) -> datetime:
    years, month = divmod(value.month - 1 + months, 12)
    year = value.year + years
    if not 1 <= year <= 9999:
        raise OverflowError
    return value.replace(year=year, month=month + 1, day=min(value.day, monthrange(year, month + 1)[1]))


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
