"""One pass of the rescuer: who is told what it did."""

from __future__ import annotations

from melagent.domain.run import RunStatus
from tests.builders import chain, eventually, expire, free_run, leased_run, stored
from tests.instances import Stage, instance


async def test_workers_hear_of_rescued_runs_at_once(database_url, pool):
    version = await stored(pool, chain(("start", "manual_trigger"), ("a", "effect")))
    stage = Stage()
    async with instance(database_url, stage) as one, instance(database_url, Stage(), starts=False) as other:
        await eventually(lambda: one.broker.health == other.broker.health == "healthy")
        woken = []
        one.engine.on_work(lambda: woken.append(True))
        await leased_run(pool, version_id=version)
        await expire(pool)
        await other.rescuer.one_pass()
        await eventually(lambda: woken)
        await eventually(lambda: stage.steps() == ["a"])


async def test_callers_hear_that_a_run_failed_with_its_workers_or_at_its_deadline(database_url, pool):
    async with instance(database_url, Stage(), starts=False) as one:
        lost, late = await leased_run(pool), await free_run(pool, deadline_in=-1.0)
        await pool.execute("UPDATE work_items SET expiries = 4 WHERE run_id = $1", lost.run_id)
        await expire(pool, lost.run_id)
        with (
            one.engine.waiters.expecting(lost.run_id, until_answer=False) as lost_end,
            one.engine.waiters.expecting(late.id, until_answer=False) as late_end,
        ):
            assert await one.rescuer.one_pass() is None
            ends = lost_end.result(), late_end.result()
    assert [end.status for end in ends] == [RunStatus.FAILED] * 2
    assert [end.error["code"] for end in ends] == ["worker_lost", "timeout"]


async def test_a_full_batch_leads_to_the_next_pass_at_once(database_url, pool, monkeypatch):
    monkeypatch.setattr("melagent.engine.lifecycle.rescue.BATCH", 2)
    async with instance(database_url, Stage(), starts=False) as one:
        for _ in range(3):
            await leased_run(pool)
        await expire(pool)
        assert await one.rescuer.one_pass() == 0.0
        assert await one.rescuer.one_pass() is None


async def test_the_loop_rescues_by_itself(database_url, pool):
    version = await stored(pool, chain(("start", "manual_trigger"), ("a", "effect")))
    stage = Stage()
    async with instance(database_url, stage) as one:
        await leased_run(pool, version_id=version)
        await expire(pool)
        one.rescuer.loop.start()
        await eventually(lambda: stage.steps() == ["a"])
        await one.rescuer.loop.stop()
