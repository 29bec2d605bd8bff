"""Schedules fire once for each planned moment, whoever fires them and wherever he dies."""

import asyncio
from datetime import datetime, timedelta

import orjson
import pytest

from melagent.domain.firing import GRACE, Timetable
from melagent.domain.schedule import Cron
from melagent.engine.lifecycle import fire
from melagent.errors import Unavailable
from melagent.maintenance.scheduler import INTERVAL_SECONDS, Scheduler
from melagent.services import firings as service
from melagent.services import workflows
from melagent.store import schedules, work
from tests.builders import eventually, place
from tests.instances import Stage, instance
from tests.scheduling import REGISTRY, deploy, deployed, firings, let_pass, minutely, schedule, timer, trigger, triggers

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def engine(database_url, pool):
    async with instance(database_url, Stage(), starts=False) as made:
        yield made.engine


@pytest.fixture
def scheduler(engine):
    return Scheduler(engine, REGISTRY)


async def passes(*schedulers):
    """Passes until nothing is due."""
    for scheduler in schedulers:
        while await scheduler._firings.fire_due(INTERVAL_SECONDS) == 0.0:
            pass


async def runs(pool):
    return [dict(row) for row in await pool.fetch("SELECT * FROM runs ORDER BY scheduled_for, id")]


async def test_a_moment_that_has_come_starts_a_run_and_the_next_moment_is_known(pool, scheduler):
    workflow_id = await deployed(pool, schedule(timezone="Europe/Berlin"))
    await let_pass(pool, MINUTE)
    before = await trigger(pool)
    await passes(scheduler)
    (run,), after = await runs(pool), await trigger(pool)
    assert (run["workflow_id"], run["version_id"], run["entry"]) == (workflow_id, before["version_id"], "clock")
    assert (run["trigger_type"], run["trigger_id"], run["trigger_node"]) == ("schedule", before["id"], "clock")
    assert run["scheduled_for"] == before["planned_at"]
    assert (after["planned_at"], after["next_fire_at"]) == (before["planned_at"] + MINUTE,) * 2
    assert after["last_fired_at"] is not None
    given = orjson.loads(run["input"])
    assert (given["timezone"], given["missed"]) == ("Europe/Berlin", False)
    assert datetime.fromisoformat(given["scheduled_for"]) == run["scheduled_for"]
    assert datetime.fromisoformat(given["local_time"]) == run["scheduled_for"]
    assert await place(pool, run["id"]) == ("pending", "free")


async def test_nothing_starts_before_its_time(pool, scheduler):
    await deployed(pool, schedule(cron="0 0 1 1 *"), timer(every=1, unit="hours", node_id="timer"))
    assert await scheduler.one_pass() is None
    assert await runs(pool) == []


async def test_a_timer_fires_in_its_intervals_since_it_was_deployed(pool, scheduler):
    await deployed(pool, timer(every=10))
    since = (await trigger(pool))["since"].replace(microsecond=0)
    await let_pass(pool, timedelta(seconds=40))
    await passes(scheduler)
    planned = [at + timedelta(seconds=40) - since for _, at in await firings(pool)]
    assert planned == [timedelta(seconds=seconds) for seconds in (10, 20, 30, 40)][: len(planned)]
    assert len(planned) in (3, 4)


async def test_a_run_follows_the_settings_of_its_workflow_like_any_start(pool, scheduler):
    await deployed(pool, schedule(), priority=2, labels=["gpu=yes"], timeout_seconds=50, max_concurrency=1)
    await let_pass(pool, MINUTE)
    await passes(scheduler)
    (run,) = await runs(pool)
    assert (run["priority"], run["requires"]) == (2, "gpu=yes")
    assert timedelta(seconds=40) < run["deadline_at"] - run["created_at"] <= timedelta(seconds=50)
    parked = await pool.fetchrow("SELECT limited_by, limit_to FROM parked WHERE run_id = $1", run["id"])
    admitted = await pool.fetchrow("SELECT limited_by, limit_to FROM work_items WHERE run_id = $1", run["id"])
    assert tuple(parked or admitted) == (run["workflow_id"], 1)


async def test_of_many_instances_that_look_at_the_same_moment_one_fires(database_url, pool):
    await deployed(pool, *(schedule(f"clock{number}", cron="* * * * * *", missed="all") for number in range(20)))
    await let_pass(pool, timedelta(seconds=45))
    before = await triggers(pool)
    async with (
        instance(database_url, Stage(), starts=False) as one,
        instance(database_url, Stage(), starts=False) as two,
    ):
        schedulers = [Scheduler(each.engine, REGISTRY) for each in (one, two) * 3]
        await asyncio.gather(*(passes(scheduler) for scheduler in schedulers))
    after = await triggers(pool)
    found = await firings(pool)
    assert found == sorted(set(found))
    for name, row in before.items():
        moments = [at for trigger_id, at in found if trigger_id == row["id"]]
        count = int((after[name]["planned_at"] - row["planned_at"]).total_seconds())
        assert moments == [row["planned_at"] + timedelta(seconds=number) for number in range(count)]
        assert count >= 45


@pytest.mark.parametrize("statement", ["claim", "keep_firings", "move"])
async def test_whoever_dies_before_the_commit_has_fired_nothing(pool, scheduler, monkeypatch, statement):
    await deployed(pool, schedule())
    await let_pass(pool, MINUTE)
    before = await trigger(pool)
    real = getattr(schedules, statement)

    async def die(*given, **more):
        await real(*given, **more)
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(schedules, statement, die)
        with pytest.raises(asyncio.CancelledError):
            await scheduler.one_pass()
    assert await trigger(pool) == before
    assert await runs(pool) == []
    await passes(scheduler)
    assert await firings(pool) == [(before["id"], before["planned_at"])]


async def test_a_commit_whose_answer_is_lost_is_not_fired_again(pool, scheduler, monkeypatch):
    await deployed(pool, schedule())
    await let_pass(pool, MINUTE)
    tries = []
    real = fire.with_partitions

    async def lose_the_answer(*given):
        tries.append(await real(*given))
        if len(tries) == 1:
            raise ConnectionResetError

    monkeypatch.setattr(fire, "with_partitions", lose_the_answer)
    monkeypatch.setattr(scheduler._firings._engine, "_started", lambda _: None)
    await passes(scheduler)
    assert [len(started or ()) for started in tries] == [1, 0]
    assert len(await runs(pool)) == 1


async def test_a_database_that_is_away_loses_no_moment(pool, engine, scheduler, monkeypatch):
    await deployed(pool, schedule())
    await let_pass(pool, MINUTE)

    async def refuse(*_given, **_more):
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(schedules, "claim", refuse)
        patched.setattr(fire, "GIVE_UP_SECONDS", 0.01)
        with pytest.raises(Unavailable):
            await scheduler.one_pass()
    await passes(scheduler)
    assert len(await runs(pool)) == 1


async def test_a_moment_that_has_fired_fires_no_second_time_whatever_its_position_says(pool, scheduler):
    await deployed(pool, schedule())
    await let_pass(pool, MINUTE)
    before = await trigger(pool)
    await passes(scheduler)
    await pool.execute("UPDATE triggers SET planned_at = $1, next_fire_at = $1", before["planned_at"])
    await passes(scheduler)
    assert await firings(pool) == [(before["id"], before["planned_at"])]
    assert (await trigger(pool))["planned_at"] > before["planned_at"]


@pytest.mark.parametrize("missed", ["skip", "one", "all"])
async def test_what_was_missed_follows_the_policy(pool, scheduler, missed):
    await deployed(pool, schedule(missed=missed))
    await let_pass(pool, 10 * MINUTE)
    begun = (await trigger(pool))["planned_at"]
    await passes(scheduler)
    found = await runs(pool)
    *overdue, last = [begun + number * MINUTE for number in range(10)]
    expected = {"skip": [], "one": overdue[-1:], "all": overdue}[missed]
    assert [run["scheduled_for"] for run in found] == [*expected, last]
    assert [orjson.loads(run["input"])["missed"] for run in found] == [True] * len(expected) + [False]
    assert (await trigger(pool))["next_fire_at"] == last + MINUTE


async def test_a_backlog_is_fired_in_transactions_of_bounded_size(pool, scheduler, monkeypatch):
    monkeypatch.setattr(service, "AT_ONCE", fire.Due(limit=3, limit_missed=1))
    monkeypatch.setattr(service, "MOST_MOMENTS", 4)
    sizes = []
    real = work.start

    async def start(conn, started, *given, **more):
        sizes.append(len(started))
        return await real(conn, started, *given, **more)

    monkeypatch.setattr(work, "start", start)
    await deployed(pool, *(schedule(f"clock{number}", cron="* * * * * *") for number in range(8)))
    await let_pass(pool, timedelta(seconds=10))
    await passes(scheduler)
    assert len(await firings(pool)) >= 80
    assert max(sizes) <= 12


async def test_however_many_have_missed_a_moment_they_hold_up_nobody(pool, engine, monkeypatch):
    monkeypatch.setattr(service, "AT_ONCE", fire.Due(limit=2, limit_missed=1))
    monkeypatch.setattr(service, "MOST_MOMENTS", 1)
    await deployed(pool, *(schedule(f"late{number}", missed="all") for number in range(5)))
    await deployed(pool, schedule("punctual"))
    await let_pass(pool, 60 * MINUTE, *(f"late{number}" for number in range(5)))
    await let_pass(pool, MINUTE, "punctual")
    scheduler = Scheduler(engine, REGISTRY)
    await scheduler.one_pass()  # learns its version
    await scheduler.one_pass()
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE trigger_node = 'punctual'") == 1


async def test_a_schedule_that_this_instance_cannot_read_is_left_to_others_and_holds_up_nobody(pool, scheduler):
    await deployed(pool, schedule("newer"), schedule("known"))
    await let_pass(pool, MINUTE)
    await pool.execute("""UPDATE triggers SET config = '{"cron": "@sunrise"}' WHERE node_id = 'newer'""")
    await passes(scheduler)
    assert [run["trigger_node"] for run in await runs(pool)] == ["known"]
    assert await scheduler.one_pass() is None
    assert (await triggers(pool))["newer"]["planned_at"] is not None


async def test_a_jitter_moves_the_firing_and_not_the_moment_it_stands_for(pool, scheduler):
    cron = minutely()
    await deployed(pool, *(schedule(f"clock{number}", cron=cron, jitter=30) for number in range(20)))
    await pool.execute(
        "UPDATE triggers SET planned_at = planned_at - $1::interval, next_fire_at = planned_at - $1", MINUTE
    )
    await passes(scheduler)
    found = await runs(pool)
    assert {run["scheduled_for"].second for run in found} <= {int(cron.split()[0])}
    for row in (await triggers(pool)).values():
        table = Timetable(row["id"], Cron(cron), jitter_seconds=30)
        assert row["next_fire_at"] == table.due_at(row["planned_at"]) > row["planned_at"]
        for run in found:
            assert run["trigger_id"] != row["id"] or run["created_at"] >= table.due_at(run["scheduled_for"])


async def test_a_deleted_workflow_fires_no_more(pool, engine, scheduler):
    workflow_id = await deployed(pool, schedule())
    await let_pass(pool, MINUTE)
    await workflows.delete(pool, engine, workflow_id, cancel_runs=False)
    await passes(scheduler)
    assert await runs(pool) == []
    assert (await trigger(pool))["next_fire_at"] is None


async def test_the_pass_sleeps_until_the_next_moment_and_a_second_at_most(pool, scheduler):
    await deployed(pool, schedule(cron="0 0 1 1 *"))
    assert await scheduler.one_pass() is None
    await pool.execute(
        "UPDATE triggers SET planned_at = now() + interval '0.5 s', next_fire_at = now() + interval '0.5 s'"
    )
    assert 0.2 < await scheduler.one_pass() <= 0.5


async def test_a_change_elsewhere_wakes_the_scheduler_of_every_instance(database_url, pool):
    async with (
        instance(database_url, Stage(), starts=False) as one,
        instance(database_url, Stage(), starts=False) as two,
    ):
        woken = asyncio.Event()
        two.engine.on_triggers_changed(woken.set)

        def heard():  # a hint that is sent before there is a connection is lost
            one.engine.triggers_changed()
            return woken.is_set()

        await eventually(heard)


async def test_the_running_loop_fires_what_is_deployed_meanwhile(pool, engine, scheduler):
    scheduler.loop.start()
    workflow_id = await deployed(pool, schedule(cron="* * * * * *"))
    engine.triggers_changed()
    await eventually(lambda: runs(pool))
    await deploy(pool, workflow_id, schedule(cron="0 0 1 1 *"))
    await scheduler.loop.stop()
    row = (await runs(pool))[0]
    assert row["created_at"] - row["scheduled_for"] < GRACE
