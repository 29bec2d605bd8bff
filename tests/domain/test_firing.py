"""What fires at a given time: late, missed, or not yet."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melagent.domain.firing import GRACE, LOOK_BACK, Missed, Timetable, plan
from melagent.domain.schedule import Cron, Every

ID = UUID("00000000-0000-7000-8000-000000000001")
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MINUTELY, SECONDLY = Cron("* * * * *"), Cron("* * * * * *")


def table(schedule=MINUTELY, missed=Missed.ONE, jitter=0):
    return Timetable(ID, schedule, missed, jitter)


def fired(result):
    return [(firing.scheduled_for - START, firing.missed) for firing in result.firings]


def carried_out(timetable, planned, now, limit=7):
    """All that fires until nothing is due, plan by plan."""
    firings = []
    while planned is not None and timetable.due_at(planned) <= now:
        result = plan(timetable, planned, now, limit)
        assert len(result.firings) <= limit
        assert result.firings or result.following != planned
        firings += result.firings
        planned = result.following
    return firings, planned


def test_a_moment_that_is_due_fires_and_the_next_one_is_known():
    result = plan(table(), START, START + SECOND, limit=5)
    assert (fired(result), result.following) == ([(timedelta(), False)], START + MINUTE)


def test_nothing_fires_before_its_time():
    assert plan(table(), START, START - SECOND / 1000, limit=5).firings == ()


@pytest.mark.parametrize("missed", Missed)
def test_what_is_overdue_by_a_minute_at_most_fires_late_whatever_the_policy(missed):
    firings, _ = carried_out(table(SECONDLY, missed), START, START + GRACE)
    assert [firing.scheduled_for for firing in firings] == [START + number * SECOND for number in range(61)]
    assert not any(firing.missed for firing in firings)


def test_what_was_missed_is_skipped_made_up_for_once_or_fires_one_by_one():
    now = START + 10 * MINUTE + SECOND
    late = [(9 * MINUTE + MINUTE, False)]
    expected = {
        Missed.SKIP: late,
        Missed.ONE: [(9 * MINUTE, True), *late],
        Missed.ALL: [*((number * MINUTE, True) for number in range(10)), *late],
    }
    for missed, firings in expected.items():
        assert fired(plan(table(missed=missed), START, now, limit=100)) == firings, missed


@pytest.mark.parametrize(("missed", "number"), [(Missed.SKIP, 0), (Missed.ONE, 1), (Missed.ALL, 1)])
def test_a_minute_and_a_moment_is_missed(missed, number):
    hourly = table(Cron("0 * * * *"), missed)
    result = plan(hourly, START, START + GRACE + SECOND / 1000, limit=5)
    assert ([firing.missed for firing in result.firings], result.following) == ([True] * number, START + 60 * MINUTE)


def test_all_looks_back_for_a_day():
    now = START + 100 * DAY
    firings, following = carried_out(table(missed=Missed.ALL), START, now, limit=500)
    assert (firings[0].scheduled_for, firings[-1].scheduled_for, len(firings)) == (now - LOOK_BACK, now, 1441)
    assert following == now + MINUTE


def test_one_makes_up_for_the_last_moment_however_long_ago_it_was():
    yearly = table(Cron("0 0 1 1 *"))
    result = plan(yearly, START, START + 500 * DAY, limit=5)
    assert (fired(result), result.following) == ([(365 * DAY, True)], datetime(2028, 1, 1, tzinfo=UTC))
    ends = table(Cron("0 0 */28 2 MON#5"))  # a 29 February that is a Monday
    assert plan(ends, START, START + SECOND, 5).firings[0].scheduled_for == START


def test_a_second_that_was_missed_for_a_year_is_found_at_once():
    result = plan(table(SECONDLY), START, START + 365 * DAY, limit=3)
    assert fired(result)[:2] == [(365 * DAY - GRACE - SECOND, True), (365 * DAY - GRACE, False)]


def test_a_jitter_is_the_same_for_a_moment_and_another_for_the_next_and_for_another_trigger():
    spread = table(jitter=30)
    due = [spread.due_at(START + number * MINUTE) - number * MINUTE - START for number in range(100)]
    assert due == [spread.due_at(START + number * MINUTE) - number * MINUTE - START for number in range(100)]
    assert len(set(due)) > 90
    assert timedelta() <= min(due) < 5 * SECOND
    assert 25 * SECOND < max(due) < 30 * SECOND
    assert Timetable(UUID(int=7), MINUTELY, jitter_seconds=30).due_at(START) != spread.due_at(START)


def test_a_jitter_never_reaches_the_next_moment():
    spread = table(SECONDLY, jitter=3600)
    due = [spread.due_at(START + number * SECOND) for number in range(100)]
    assert all(START + number * SECOND <= moment < START + (number + 1) * SECOND for number, moment in enumerate(due))


def due_until(now, timetable, planned):
    moments = timetable.schedule.after(planned - SECOND)
    return list(takewhile(lambda moment: timetable.due_at(moment) <= now, moments))


SCHEDULES = st.sampled_from(
    [
        Cron("*/7 * * * *"),
        Cron("0,50 0 */6 * * *"),
        Cron("13 */5 * * *", "Europe/Berlin"),
        Cron("0 0 1 * *"),
        Every(400, START),
        Every(86_400, START),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    SCHEDULES,
    st.sampled_from(Missed),
    st.sampled_from([0, 20, 3600]),
    st.lists(st.integers(0, 300) | st.integers(0, 200_000), min_size=1, max_size=5),
    st.integers(1, 50),
)
def test_however_it_is_cut_into_passes_each_moment_fires_once_and_none_that_can_still_fire_is_left_out(
    schedule, missed, jitter, pauses, limit
):
    timetable = Timetable(ID, schedule, missed, jitter)
    planned, now, found = timetable.first_after(START), START, []
    for pause in pauses:
        now += pause * SECOND
        due = due_until(now, timetable, planned)
        overdue = [moment for moment in due if timetable.is_missed(moment, now)]
        made_up = {
            Missed.SKIP: [],
            Missed.ONE: overdue[-1:],
            Missed.ALL: [moment for moment in overdue if moment >= now - LOOK_BACK],
        }
        firings, planned = carried_out(timetable, planned, now, limit)
        assert [firing.scheduled_for for firing in firings if firing.missed] == made_up[missed]
        assert [firing.scheduled_for for firing in firings if not firing.missed] == due[len(overdue) :]
        assert timetable.due_at(planned) > now
        found += [firing.scheduled_for for firing in firings]
    assert found == sorted(set(found))
