"""One pass of the unparker: sleepers wake on time, and the next pass is due when the next sleeper is."""

from __future__ import annotations

from melagent.maintenance.unparker import INTERVAL_SECONDS
from tests.builders import chain, eventually, new_run, place, stored
from tests.instances import Stage, instance


async def asleep(pool, run):
    return await place(pool, run.id) == ("sleeping", "parked")


async def sleeping_run(pool, one, seconds):
    sleeper = {"id": "sleep", "type": "delay", "config": {"duration": f"{seconds}s"}}
    version = await stored(pool, chain(("start", "manual_trigger"), sleeper, ("a", "effect")))
    run = new_run(version)
    await one.engine.start(run)
    await eventually(lambda: asleep(pool, run))
    return run


async def test_a_sleeper_goes_on_when_its_time_has_come_and_not_before(database_url, pool):
    stage = Stage()
    async with instance(database_url, stage) as one:
        run = await sleeping_run(pool, one, 600)
        assert await one.unparker.one_pass() == INTERVAL_SECONDS
        assert await asleep(pool, run)
        await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at > now()")
        assert await one.unparker.one_pass() is None
        await eventually(lambda: stage.steps() == ["a"])


async def test_the_next_pass_is_due_with_the_next_sleeper(database_url, pool):
    async with instance(database_url, Stage()) as one:
        assert await one.unparker.one_pass() is None
        await sleeping_run(pool, one, 600)
        await pool.execute("UPDATE parked SET wake_at = now() + interval '0.4 s'")
        assert 0 < await one.unparker.one_pass() <= 0.4


async def test_the_loop_wakes_a_sleeper_on_time(database_url, pool):
    stage = Stage()
    async with instance(database_url, stage) as one:
        await sleeping_run(pool, one, 600)
        one.unparker.loop.start()
        due = await pool.fetchval("UPDATE parked SET wake_at = now() + interval '0.3 s' RETURNING wake_at")
        await pool.execute("UPDATE steps SET wake_at = $1 WHERE step_key = 'sleep'", due)
        await eventually(lambda: stage.steps() == ["a"])
        late = await pool.fetchval("SELECT extract(epoch FROM now() - $1)::float8", due)
        await one.unparker.loop.stop()
    assert 0 <= late < INTERVAL_SECONDS * 1.1 + 1.0
