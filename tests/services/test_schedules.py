"""Schedules follow the deployed version: where they stand after a deploy, a rollback, a pause."""

from datetime import timedelta

import pytest

from melagent.domain.schedule import Cron
from melagent.errors import NotFound, Unprocessable
from melagent.maintenance.scheduler import Scheduler
from melagent.services import versions
from melagent.services.triggers import Change, NewTrigger, Triggers
from melagent.store import schedules
from melagent.store.ids import new_id
from tests.instances import Stage, instance
from tests.scheduling import (
    REGISTRY,
    VAULT,
    deploy,
    deployed,
    firings,
    let_pass,
    new_workflow,
    schedule,
    timer,
    trigger,
    triggers,
)

HOUR = timedelta(hours=1)
DAILY = schedule(cron="30 9 * * *", timezone="Europe/Berlin")
MANUAL = {"id": "by_hand", "type": "manual_trigger"}


@pytest.fixture
async def engine(database_url, pool):
    async with instance(database_url, Stage(), starts=False) as made:
        yield made.engine


@pytest.fixture
def service(pool, engine):
    return Triggers(pool, engine, REGISTRY, VAULT)


async def next_of(pool, cron):
    return next(cron.after(await schedules.now(pool)))


def position(row):
    return row["since"], row["planned_at"], row["next_fire_at"]


async def test_a_deployed_schedule_waits_for_its_next_moment(pool):
    await deployed(pool, DAILY, timer(node_id="timer"))
    found = await triggers(pool)
    assert found["clock"]["planned_at"] == await next_of(pool, Cron("30 9 * * *", "Europe/Berlin"))
    assert found["timer"]["planned_at"] - found["timer"]["since"] <= timedelta(seconds=60)
    assert {row["type"] for row in found.values()} == {"schedule", "timer"}


async def test_an_unchanged_schedule_keeps_its_position_also_when_it_is_due(pool):
    workflow_id = await deployed(pool, DAILY, timer(node_id="timer"))
    await let_pass(pool, 48 * HOUR)
    before = await triggers(pool)
    await deploy(pool, workflow_id, DAILY, timer(node_id="timer"), MANUAL)
    after = await triggers(pool)
    assert {name: position(row) for name, row in after.items()} == {name: position(row) for name, row in before.items()}
    assert after["clock"]["version_id"] != before["clock"]["version_id"]


async def test_another_policy_for_missed_moments_leaves_the_position_alone(pool):
    workflow_id = await deployed(pool, DAILY)
    await let_pass(pool, 48 * HOUR)
    before = await trigger(pool)
    await deploy(pool, workflow_id, schedule(**DAILY["config"], missed="skip"))
    assert position(await trigger(pool)) == position(before)


@pytest.mark.parametrize(
    "changed",
    [
        schedule(cron="31 9 * * *", timezone="Europe/Berlin"),
        schedule(cron="30 9 * * *", timezone="UTC"),
        schedule(**DAILY["config"], jitter=5),
        timer(),
    ],
)
async def test_a_changed_schedule_begins_anew_and_fires_nothing_that_has_passed(pool, changed):
    workflow_id = await deployed(pool, DAILY)
    await let_pass(pool, 48 * HOUR)
    before = await trigger(pool)
    await deploy(pool, workflow_id, changed)
    after = await trigger(pool)
    assert after["id"] == before["id"]
    assert after["since"] > before["since"] + 47 * HOUR
    assert after["next_fire_at"] > await schedules.now(pool)


async def test_a_rollback_brings_the_old_schedule_back_under_its_id_and_fires_nothing_again(pool, engine):
    workflow_id = await deployed(pool, schedule())
    first = await versions.current(pool, workflow_id)
    await let_pass(pool, timedelta(minutes=1))
    scheduler = Scheduler(engine, REGISTRY)
    await scheduler.one_pass()
    fired, before = await firings(pool), await trigger(pool)
    await deploy(pool, workflow_id, schedule(cron="30 9 * * *"))
    await versions.deploy(pool, REGISTRY, VAULT, workflow_id, first)
    after = await trigger(pool)
    assert (after["id"], after["planned_at"]) == (before["id"], before["planned_at"])
    await pool.execute("UPDATE triggers SET planned_at = $1, next_fire_at = $1", fired[0][1])
    await scheduler.one_pass()
    assert await firings(pool) == fired


async def test_a_schedule_whose_node_was_away_does_not_fire_what_passed_meanwhile(pool):
    workflow_id = await deployed(pool, DAILY, timer(node_id="timer", every=3600), MANUAL)
    both = await versions.current(pool, workflow_id)
    before = await triggers(pool)
    await deploy(pool, workflow_id, MANUAL)
    away = await triggers(pool)
    assert {(row["planned_at"], row["next_fire_at"], row["active"]) for row in away.values()} == {(None, None, False)}
    await let_pass(pool, 100.5 * HOUR)
    await versions.deploy(pool, REGISTRY, VAULT, workflow_id, both)
    after, now = await triggers(pool), await schedules.now(pool)
    assert after["clock"]["planned_at"] == await next_of(pool, Cron("30 9 * * *", "Europe/Berlin"))
    passed = after["timer"]["planned_at"] - before["timer"]["planned_at"] + 100.5 * HOUR
    assert passed == 100 * HOUR  # its intervals still count from when it was first deployed
    assert now < after["timer"]["planned_at"] <= now + HOUR


async def test_a_node_that_becomes_another_trigger_is_no_schedule_any_more(pool):
    workflow_id = await deployed(pool, schedule())
    await deploy(pool, workflow_id, {"id": "clock", "type": "webhook"})
    after = await trigger(pool)
    assert (after["type"], *position(after)) == ("webhook", None, None, None)


async def test_a_disabled_node_arms_nothing(pool):
    await deployed(pool, DAILY | {"disabled": True}, MANUAL)
    assert await triggers(pool) == {}


async def test_a_paused_schedule_has_no_next_moment_and_a_resumed_one_fires_nothing_that_passed(pool, service):
    workflow_id = await deployed(pool, DAILY)
    trigger_id = (await trigger(pool))["id"]
    await service.change(trigger_id, Change(enabled=False))
    assert position(await trigger(pool))[1:] == (None, None)
    await deploy(pool, workflow_id, DAILY)
    assert position(await trigger(pool))[1:] == (None, None)  # a deploy does not resume
    await let_pass(pool, 100 * HOUR)
    resumed = await service.change(trigger_id, Change(enabled=True))
    assert resumed.next_fire_at == await next_of(pool, Cron("30 9 * * *", "Europe/Berlin"))


async def test_a_timer_that_was_changed_while_it_was_paused_begins_when_it_is_resumed(pool, service):
    workflow_id = await deployed(pool, timer(every=3600))
    trigger_id = (await trigger(pool))["id"]
    await service.change(trigger_id, Change(enabled=False))
    await let_pass(pool, HOUR / 2)
    await deploy(pool, workflow_id, timer(every=7200))
    await service.change(trigger_id, Change(enabled=True))
    row, now = await trigger(pool), await schedules.now(pool)
    assert timedelta(seconds=7100) < row["planned_at"] - now <= timedelta(seconds=7200)


def by_hand(workflow_id, **changes):
    fields = {"id": new_id(), "workflow_id": workflow_id, "type": "schedule", "name": "nightly",
              "config": {"cron": "@hourly"}, "enabled": True}  # fmt: skip
    return NewTrigger(**fields | changes)


async def test_a_trigger_made_by_hand_waits_for_a_version_and_follows_the_deployed_one(pool, service):
    workflow_id = await new_workflow(pool)
    made, _ = await service.create(by_hand(workflow_id))
    assert (made.version_id, made.next_fire_at) == (None, None)
    await deploy(pool, workflow_id, MANUAL)
    first = await service.get(made.id)
    assert (first.entry, first.next_fire_at) == ("by_hand", await next_of(pool, Cron("0 * * * *")))
    await deploy(pool, workflow_id, MANUAL, {"id": "next", "type": "noop"})
    second = await service.get(made.id)
    assert (second.next_fire_at, second.version_id != first.version_id) == (first.next_fire_at, True)
    assert second.version_id == (await versions.current(pool, workflow_id)).id


async def test_a_trigger_made_by_hand_starts_the_deployed_version(pool, engine, service):
    workflow_id = await deployed(pool, MANUAL)
    made, _ = await service.create(by_hand(workflow_id))
    await let_pass(pool, HOUR)
    await Scheduler(engine, REGISTRY).one_pass()
    row = await pool.fetchrow("SELECT * FROM runs")
    assert (row["trigger_id"], row["entry"], row["version_id"]) == (made.id, "by_hand", made.version_id)


async def test_a_version_that_such_a_trigger_could_not_enter_is_not_deployed(pool, service):
    workflow_id = await deployed(pool, MANUAL)
    made, _ = await service.create(by_hand(workflow_id))
    two = (DAILY, timer(node_id="timer"))
    with pytest.raises(Unprocessable) as caught:
        await deploy(pool, workflow_id, *two)
    assert "made by hand" in caught.value.details[0].problem
    await service.change(made.id, Change(enabled=False))
    await deploy(pool, workflow_id, *two)
    with pytest.raises(Unprocessable):
        await service.change(made.id, Change(enabled=True))
    with pytest.raises(Unprocessable):
        await service.create(by_hand(workflow_id))
    assert (await service.get(made.id)).enabled is False


async def test_making_a_trigger_again_with_the_same_id_makes_nothing(pool, service):
    workflow_id = await deployed(pool, MANUAL)
    new = by_hand(workflow_id)
    assert await service.create(new) == await service.create(new)
    with pytest.raises(NotFound):
        await service.create(by_hand(new_id()))
