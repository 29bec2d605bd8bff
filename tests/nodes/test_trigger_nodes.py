"""schedule, timer and error_trigger: what they take, and what they give to a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from melagent.nodes.error_trigger import ErrorTriggerParams
from melagent.nodes.schedule import NAMED, ScheduleParams, fields_of
from melagent.nodes.timer import TimerParams
from melagent.registry import Registry

ID = "0199ec5d-8f2b-7c3e-9a51-3f1f0c7f2b6a"


@pytest.mark.parametrize(
    "cron", [*NAMED, " @Daily ", "*/5 * * * *", "0 0 L * *", "0 30 9 * * MON-FRI", "0 12 * * SUN#2"]
)
def test_a_cron_expression_has_five_fields_or_six_or_a_name(cron):
    assert len(fields_of(ScheduleParams(cron=cron).cron).split()) in (5, 6)


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("", "at least 1 character"),
        ("* * * *", "wrong number of fields"),
        ("* * * * * * *", "wrong number of fields"),
        ("60 * * * *", "bad minute"),
        ("0 0 * * 9", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("@reboot", "is not one of @yearly"),
        ("0 0 31 4 *", "bad day-of-month"),
        ("0 0 */29 2 MON#5", "no such moment"),
    ],
)
def test_what_is_no_cron_expression_is_told_why(cron, problem):
    with pytest.raises(ValidationError, match=problem):
        ScheduleParams(cron=cron)


@given(st.text(alphabet="0123456789*/,-LW#@SUNMO \té²\x00", max_size=30))
def test_any_text_is_taken_or_refused_and_nothing_else_happens(text):
    try:
        ScheduleParams(cron=text)
    except ValidationError:
        pass


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "America", "", "/etc/localtime", "a\x00"])
def test_what_is_no_zone_is_refused(zone):
    with pytest.raises(ValidationError, match="there is no time zone"):
        ScheduleParams(cron="@daily", timezone=zone)


def test_a_timer_is_a_second_to_a_year():
    assert (TimerParams(every=2, unit="hours").seconds, TimerParams(every=3).seconds) == (7200, 180)
    for wrong in ({"every": 0}, {"every": 1.5}, {"every": 367 * 24, "unit": "hours"}, {"every": 1, "unit": "weeks"}):
        with pytest.raises(ValidationError):
            TimerParams(**wrong)


def test_an_error_trigger_watches_all_workflows_or_those_that_it_names():
    assert ErrorTriggerParams().watches(ID)
    assert ErrorTriggerParams(workflows=[ID.upper()]).watches(ID)
    assert not ErrorTriggerParams(workflows=[ID]).watches(ID.replace("0", "1"))
    for wrong in ([], ["orders"], [ID[:-1]]):
        with pytest.raises(ValidationError):
            ErrorTriggerParams(workflows=wrong)


@pytest.mark.parametrize(("type_id", "config"), [("schedule", {"cron": "@daily"}), ("timer", {"every": 1})])
async def test_a_run_gets_what_it_was_started_with_and_by_hand_no_moment(run_node, type_id, config):
    given = {"scheduled_for": "2026-01-01T00:00:00Z", "local_time": "…", "timezone": "UTC", "missed": False}
    assert await run_node(type_id, config, input=given) == given
    by_hand = await run_node(type_id, config, input=None)
    assert by_hand == {"scheduled_for": None, "local_time": None, "timezone": "UTC", "missed": False}


async def test_a_failure_is_passed_on(run_node):
    failure = {"run_id": "r", "workflow_id": "w", "version_id": "v", "error": {"code": "x", "message": "no"}}
    assert await run_node("error_trigger", {}, input=failure) == failure
    assert (await run_node("error_trigger", {}, input=None))["error"] is None


def test_none_of_their_parameters_is_a_template():
    for type_id, config in (("schedule", {"cron": "{{ x }}"}), ("timer", {"every": "{{ x }}"})):
        assert [problem.field for problem in Registry.builtin().get(type_id).problems(config)] == list(config)
