"""The moments of schedules, compared with a reading of the clocks minute by minute around every change of a zone."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from melagent.domain.schedule import Cron, Every, _first_change

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ZONES = sorted(zone for zone in available_timezones() if zone not in ("localtime", "Factory"))


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def first(schedule, after, number):
    return list(islice(schedule.after(at(after)), number))


def walls(schedule, after, number):
    """What the clocks of the zone show at the next moments, with their offset."""
    zone = ZoneInfo(schedule.zone)
    return [moment.astimezone(zone).strftime("%d %H:%M:%S %z") for moment in first(schedule, after, number)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("30 9 * * *", ["2026-01-01 09:30", "2026-01-02 09:30"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("*/20 * * * * *", ["2026-01-01 00:00:20", "2026-01-01 00:00:40", "2026-01-01 00:01:00"]),
        ("0 0 L * *", ["2026-01-31 00:00", "2026-02-28 00:00"]),
        ("0 12 * * MON#1", ["2026-01-05 12:00", "2026-02-02 12:00"]),
        ("0 12 13 * FRI", ["2026-01-02 12:00", "2026-01-09 12:00", "2026-01-13 12:00"]),
    ],
)
def test_moments_follow_the_fields(fields, expected):
    assert first(Cron(fields), "2026-01-01", len(expected)) == [at(text) for text in expected]


def test_the_moment_at_which_the_reading_begins_is_not_one_of_those_after_it():
    assert first(Cron("0 * * * *"), "2026-01-01 10:00:00", 1) == [at("2026-01-01 11:00")]
    assert first(Cron("0 * * * *"), "2026-01-01 09:59:59.999", 1) == [at("2026-01-01 10:00")]
    assert first(Every(10, at("2026-01-01 10:00:00.7")), "2026-01-01 10:00:10", 1) == [at("2026-01-01 10:00:20")]


def test_a_timer_counts_from_its_beginning_and_fires_first_after_one_interval():
    timer = Every(90, at("2026-01-01 10:00:00.7"))
    assert first(timer, "2025-01-01", 2) == [at("2026-01-01 10:01:30"), at("2026-01-01 10:03:00")]
    assert first(timer, "2026-01-01 11:00:01", 1) == [at("2026-01-01 11:01:30")]


def test_what_never_comes_has_no_moments():
    assert first(Cron("0 0 */29 2 MON#5"), "2026-01-01", 1) == []
    assert first(Cron("* 0 */29 2 MON#5", "Europe/Berlin"), "2026-01-01", 1) == []


# Berlin skips 02:00 to 03:00 on 29 March 2026, and repeats it on 25 October.


@pytest.mark.parametrize("seconds", ["", "0 "])
def test_a_time_of_day_that_the_clocks_skip_fires_once_right_after_the_gap(seconds):
    daily = Cron(f"{seconds}30 2 * * *", "Europe/Berlin")
    assert walls(daily, "2026-03-28", 3) == ["28 02:30:00 +0100", "29 03:00:00 +0200", "30 02:30:00 +0200"]
    several = Cron(f"{seconds}15,45 2,3 * * *", "Europe/Berlin")
    assert walls(several, "2026-03-29", 3) == ["29 03:00:00 +0200", "29 03:15:00 +0200", "29 03:45:00 +0200"]
    also_then = Cron(f"{seconds}0 2,3 * * *", "Europe/Berlin")
    assert walls(also_then, "2026-03-29", 2) == ["29 03:00:00 +0200", "30 02:00:00 +0200"]


@pytest.mark.parametrize("seconds", ["", "0 "])
def test_a_time_of_day_that_comes_twice_fires_the_first_time_only(seconds):
    daily = Cron(f"{seconds}30 2 * * *", "Europe/Berlin")
    assert walls(daily, "2026-10-24 12:00", 2) == ["25 02:30:00 +0200", "26 02:30:00 +0100"]
    assert walls(daily, "2026-10-25 01:10", 1) == ["26 02:30:00 +0100"]  # read from within the second 02:10


@pytest.mark.parametrize("seconds", ["", "0 "])
def test_a_schedule_with_a_star_goes_on_evenly(seconds):
    spring = first(Cron(f"{seconds}*/30 * * * *", "Europe/Berlin"), "2026-03-29 00:00", 6)
    autumn = first(Cron(f"{seconds}*/30 * * * *", "Europe/Berlin"), "2026-10-25 00:00", 6)
    assert {later - earlier for moments in (spring, autumn) for earlier, later in pairwise(moments)} == {30 * MINUTE}


def test_a_star_in_the_hour_that_comes_twice_fires_in_both_and_in_one_that_is_skipped_not_at_all():
    schedule = Cron("*/30 2 * * *", "Europe/Berlin")
    assert walls(schedule, "2026-10-24 23:00", 5) == [
        "25 02:00:00 +0200", "25 02:30:00 +0200", "25 02:00:00 +0100", "25 02:30:00 +0100", "26 02:00:00 +0100",
    ]  # fmt: skip
    assert walls(schedule, "2026-03-28 12:00", 1) == ["30 02:00:00 +0200"]


def test_a_day_that_a_zone_left_out_fires_at_its_end():
    schedule = Cron("0 9 * * *", "Pacific/Apia")
    assert walls(schedule, "2011-12-29 12:00", 3) == ["29 09:00:00 -1000", "31 00:00:00 +1400", "31 09:00:00 +1400"]


def listed(values):
    """A field without a star, and the numbers that it stands for."""
    numbers = st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)
    return numbers.map(lambda some: (",".join(map(str, some)), set(some)))


def starred(values):
    steps = st.sampled_from([step for step in (1, 2, 3, 5, 15) if step < len(values)])
    return steps.map(lambda step: (f"*/{step}", set(values[::step])))


MINUTES, HOURS = range(60), range(24)
EVEN = st.one_of(
    st.tuples(starred(MINUTES), listed(HOURS)),
    st.tuples(listed(MINUTES), starred(HOURS)),
    st.tuples(starred(MINUTES), starred(HOURS)),
)
FIXED = st.tuples(listed(MINUTES), listed(HOURS))


@st.composite
def changes(draw):
    """A zone and a moment near one of its changes, where it has one in the drawn years; else anywhere."""
    zone = draw(st.sampled_from(ZONES))
    start = datetime(draw(st.integers(1971, 2036)), 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 400_000)))
    change = _first_change(start, start + timedelta(days=366), ZoneInfo(zone)) or start
    return zone, change.replace(second=0) + timedelta(minutes=draw(st.integers(-3000, 600)))


def minutes_of(start):
    """Every minute of the two days after a moment."""
    return [start + number * MINUTE for number in range(1, 2 * 24 * 60)]


BERLIN = ("Europe/Berlin", at("2026-03-28 12:00"))
LORD_HOWE = ("Australia/Lord_Howe", at("2026-04-04 03:00"))  # by half an hour
TROLL = ("Antarctica/Troll", at("2026-03-28 20:00"))  # by two hours
BEIRUT = ("Asia/Beirut", at("2025-03-29 12:00"))  # at midnight


@given(EVEN, changes())
@example((("*/15", set(MINUTES[::15])), ("3", {3})), LORD_HOWE)
@example((("0", {0}), ("*/2", set(HOURS[::2]))), BEIRUT)
def test_an_even_schedule_fires_exactly_in_the_minutes_that_show_a_time_that_fits(fields, where):
    (minute, minutes), (hour, hours) = fields
    name, start = where
    zone, every = ZoneInfo(name), minutes_of(start)
    shown = [(moment, moment.astimezone(zone)) for moment in every]
    whole = [(moment, local) for moment, local in shown if local.second == 0]  # offsets once had seconds
    expected = [moment for moment, local in whole if local.minute in minutes and local.hour in hours]
    found = Cron(f"{minute} {hour} * * *", name).after(start)
    if len(whole) == len(shown):
        assert list(islice(found, len(expected))) == expected


@given(FIXED, changes())
@example((("15,45", {15, 45}), ("2", {2})), LORD_HOWE)
@example((("0", {0}), ("0", {0})), BEIRUT)
@example((("30", {30}), ("1,2", {1, 2})), TROLL)
def test_a_time_of_day_fires_when_the_clocks_first_show_it_or_have_just_skipped_it(fields, where):
    (minute, minutes), (hour, hours) = fields
    name, start = where
    zone = ZoneInfo(name)
    # Days before the start as well: a time that comes a second time was shown before.
    locals_ = [(moment, moment.astimezone(zone).replace(tzinfo=None)) for moment in minutes_of(start - 2 * HOUR * 24)]
    locals_ += [(moment, moment.astimezone(zone).replace(tzinfo=None)) for moment in [start, *minutes_of(start)]]
    if any(local.second for _, local in locals_):
        return  # offsets once had seconds
    expected, seen = [], locals_[0][1]
    for moment, local in locals_:
        passed = [seen + number * MINUTE for number in range(1, int((local - seen) / MINUTE) + 1)]
        if any(wall.minute in minutes and wall.hour in hours for wall in passed):
            expected.append(moment)
        seen = max(seen, local)
    expected = [moment for moment in expected if moment > start]
    assert list(islice(Cron(f"{minute} {hour} * * *", name).after(start), len(expected))) == expected


@given(st.one_of(EVEN, FIXED), changes(), st.integers(0, 30), st.sampled_from(["", "0 "]))
@example((("30", {30}), ("2", {2})), BERLIN, 3, "0 ")
def test_the_series_does_not_depend_on_where_the_reading_begins(fields, where, ahead, seconds):
    name, start = where
    text = f"{seconds}{fields[0][0]} {fields[1][0]} * * *"
    read = list(islice(Cron(text, name).after(start), ahead + 3))
    assert read == sorted(set(read))
    assert list(islice(Cron(text, name).after(read[ahead]), 2)) == read[ahead + 1 :]
    assert list(islice(Cron(text, name).after(read[ahead] - timedelta(seconds=1)), 3)) == read[ahead:]


@given(st.integers(1, 10_000_000), st.integers(0, 10**15), st.integers(0, 10**9))
def test_a_timer_has_one_moment_in_each_interval(seconds, microseconds, later):
    since = at("2000-01-01") + timedelta(microseconds=microseconds)
    asked = since + timedelta(seconds=later)
    moment = next(Every(seconds, since).after(asked))
    assert timedelta() < moment - asked <= timedelta(seconds=seconds)
    assert (moment - since.replace(microsecond=0)) % timedelta(seconds=seconds) == timedelta()
