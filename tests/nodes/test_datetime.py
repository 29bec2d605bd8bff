"""datetime: ISO 8601 in and out, clock changes, ends of months, and what is no time."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from melagent.sdk import NodeError


async def test_now_is_the_recorded_time_in_the_zone(run_node, context):
    ctx = context(now=datetime(2030, 1, 1, 12, tzinfo=UTC))
    assert await run_node("datetime", {}, ctx) == "2030-01-01T12:00:00+00:00"
    assert await run_node("datetime", {"timezone": "Asia/Tokyo"}, ctx) == "2030-01-01T21:00:00+09:00"
    assert await run_node("datetime", {"operation": "parse"}, ctx) == "2030-01-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00+02:00"),
        ("2026-07-01T10:00:00-05:00", "2026-07-01T17:00:00+02:00"),
        ("2026-07-01 10:00", "2026-07-01T10:00:00+02:00"),
        ("2026-07-01", "2026-07-01T00:00:00+02:00"),
        ("20260701", "2026-07-01T00:00:00+02:00"),
        ("2026-W27-3", "2026-07-01T00:00:00+02:00"),
        ("0", "1970-01-01T01:00:00+01:00"),
        ("1782900000.5", "2026-07-01T12:00:00.500000+02:00"),
        ("-1", "1970-01-01T00:59:59+01:00"),
        (1782900000, "2026-07-01T12:00:00+02:00"),
        (1782900000500, "2026-07-01T12:00:00.500000+02:00"),
        ("1710121400000", "2024-03-11T02:43:20+01:00"),
        ("2026-03-29T02:30", "2026-03-29T03:30:00+02:00"),  # the clock skips it
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),  # the clock shows it twice
    ],
)
async def test_a_time_is_read_and_shown_in_the_zone(run_node, value, found):
    assert await run_node("datetime", {"operation": "parse", "value": value, "timezone": "Europe/Berlin"}) == found


async def test_a_time_is_read_by_a_pattern(run_node):
    config = {"operation": "parse", "value": "1.7.26 {{ input }}", "inputFormat": "%d.%m.%y %H:%M"}
    assert await run_node("datetime", config, input="9:05") == "2026-07-01T09:05:00+00:00"
    config = {"operation": "parse", "value": "2026-07-01 +0200", "inputFormat": "%Y-%m-%d %z"}
    assert await run_node("datetime", config) == "2026-06-30T22:00:00+00:00"


async def test_a_time_is_written_by_a_pattern(run_node):
    config = {"operation": "format", "value": "2026-07-01T23:00Z", "timezone": "Asia/Tokyo"}
    assert await run_node("datetime", config) == "2026-07-02"
    assert await run_node("datetime", config | {"format": "%d %B %Y, %H:%M %Z 100%%"}) == "02 July 2026, 08:00 JST 100%"


@pytest.mark.parametrize(
    ("value", "amount", "unit", "shifted"),
    [
        ("2026-01-31T10:00", 1, "months", "2026-02-28T10:00:00+01:00"),
        ("2024-02-29T10:00", 1, "years", "2025-02-28T10:00:00+01:00"),
        ("2026-01-15T10:00", -13, "months", "2024-12-15T10:00:00+01:00"),
        ("2026-03-28T10:00", 1, "days", "2026-03-29T10:00:00+02:00"),
        ("2026-03-28T10:00", 24, "hours", "2026-03-29T11:00:00+02:00"),
        ("2026-03-28T02:30", 1, "days", "2026-03-29T03:30:00+02:00"),
        ("2026-10-25T00:30", 2, "hours", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T00:30", 3, "hours", "2026-10-25T02:30:00+01:00"),
        ("2026-01-01T00:00", -90, "seconds", "2025-12-31T23:58:30+01:00"),
        ("2026-01-01T00:00", 2, "weeks", "2026-01-15T00:00:00+01:00"),
    ],
)
async def test_days_keep_the_time_of_the_day_and_hours_are_exact(run_node, value, amount, unit, shifted):
    config = {"operation": "shift", "value": value, "amount": amount, "unit": unit, "timezone": "Europe/Berlin"}
    assert await run_node("datetime", config) == shifted


@pytest.mark.parametrize(
    ("value", "unit", "start"),
    [
        ("2026-07-15T13:14:15.5", "seconds", "2026-07-15T13:14:15+02:00"),
        ("2026-07-15T13:14:15", "minutes", "2026-07-15T13:14:00+02:00"),
        ("2026-07-15T13:14:15", "hours", "2026-07-15T13:00:00+02:00"),
        ("2026-07-15T13:14:15", "days", "2026-07-15T00:00:00+02:00"),
        ("2026-07-15T13:14:15", "weeks", "2026-07-13T00:00:00+02:00"),
        ("2026-07-15T13:14:15", "months", "2026-07-01T00:00:00+02:00"),
        ("2026-07-15T13:14:15", "years", "2026-01-01T00:00:00+01:00"),
        ("2026-03-29T12:00", "days", "2026-03-29T00:00:00+01:00"),  # the clock changed since
        ("2026-10-25T00:30Z", "hours", "2026-10-25T02:00:00+02:00"),
        ("2026-10-25T01:30Z", "hours", "2026-10-25T02:00:00+01:00"),  # the hour that the clock repeats
    ],
)
async def test_the_start_of_a_unit_is_by_the_clock_of_the_zone(run_node, value, unit, start):
    config = {"operation": "start", "value": value, "unit": unit, "timezone": "Europe/Berlin"}
    assert await run_node("datetime", config) == start


@pytest.mark.parametrize(
    ("value", "seconds"), [("2026-07-01T10:00Z", 1782900000), ("1970-01-01T00:00:00.5Z", 0.5), ("1969-12-31", -86400)]
)
async def test_a_time_as_unix_seconds(run_node, value, seconds):
    made = await run_node("datetime", {"operation": "unix", "value": value})
    assert (made, type(made)) == (seconds, type(seconds))


@pytest.mark.parametrize(("unit", "number"), [("hours", 23), ("minutes", 1380), ("days", 23 / 24), ("weeks", 23 / 168)])
async def test_a_difference_is_exact_across_a_clock_change(run_node, unit, number):
    config = {"operation": "difference", "value": "2026-03-29", "other": "2026-03-30", "unit": unit}
    assert await run_node("datetime", config | {"timezone": "Europe/Berlin"}) == number


async def test_a_difference_goes_to_now_and_is_negative_for_what_lies_before(run_node):
    config = {"operation": "difference", "value": "2030-01-02", "unit": "days"}
    assert await run_node("datetime", config) == -1  # now is 2030-01-01


@pytest.mark.parametrize(
    "config",
    [
        {"value": ""},
        {"value": "yesterday"},
        {"value": "2026-02-30"},
        {"value": "99999999999999"},
        {"value": "9999999999999.9", "timezone": "Asia/Tokyo", "operation": "shift", "amount": 9000, "unit": "years"},
        {"value": "20260701112:00"},
        {"value": "202607011230000"},
        {"value": "2026-07-01510:00"},
        {"value": "2026-07-01x10:00"},
        {"value": "2026-07-01", "inputFormat": "%d.%m.%Y"},
        {"value": "1 1", "inputFormat": "%d %d"},
        {"value": "0001-01-01T00:00", "timezone": "Asia/Tokyo"},
        {"operation": "shift", "value": "9999-12-31", "amount": 1},
        {"operation": "shift", "value": "2026-01-01", "amount": -2026, "unit": "years"},
        {"operation": "shift", "value": "2026-01-01", "amount": 10**12, "unit": "weeks"},
        {"operation": "difference", "value": "2026-01-01", "other": "x"},
    ],
)
async def test_what_is_no_time_fails_for_good(run_node, config):
    with pytest.raises(NodeError, match=r"is no time|outside the years") as caught:
        await run_node("datetime", {"operation": "parse"} | config)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"timezone": "America"}, "no time zone"),
        ({"timezone": ""}, "no time zone"),
        ({"format": "%999999999d"}, "no %9 in a pattern"),
        ({"format": "100%"}, "no % in a pattern"),
        ({"inputFormat": "%s"}, "no %s in a pattern"),
        ({"format": "%Y\x00"}, "one line"),
        ({"format": "\ud800"}, "unicode string"),
        ({"value": "1" * 101}, "at most 100"),
        ({"operation": "difference", "unit": "months"}, "differ in length"),
    ],
)
async def test_wrong_parameters_are_refused(run_node, config, problem):
    with pytest.raises(ValidationError, match=problem):
        await run_node("datetime", config)
