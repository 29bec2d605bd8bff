"""Work of dead workers becomes free; what kills its workers, or has passed its deadline, fails."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from melagent.domain.run import RunStatus
from melagent.domain.work import Settle
from melagent.engine.lifecycle import rescue
from melagent.store import journal, work
from tests.builders import COMPLETED, entry, expire, free_run, leased_run, misplaced, place, step, waits_for_a_lock


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as conn:
        yield conn
        assert await misplaced(conn) == []


async def claim(conn):
    (grant,) = await work.claim(conn, ["worker"], [""], 15.0)
    return grant


async def error_of(conn, run_id):
    return orjson.loads(await conn.fetchval("SELECT error FROM runs WHERE id = $1", run_id))


async def test_runs_of_dead_workers_become_free_and_those_of_living_ones_stay(pool, conn):
    dead, alive = await leased_run(conn), await leased_run(conn)
    await expire(conn, dead.run_id)
    assert await rescue.take_back_expired(pool) == ([dead.run_id], {})
    assert await place(conn, dead.run_id) == ("pending", "free")
    assert await place(conn, alive.run_id) == ("pending", "leased")


async def test_two_rescuers_at_once_free_each_run_once(pool, conn):
    runs = sorted([(await leased_run(conn)).run_id for _ in range(20)])
    await expire(conn)
    freed = await asyncio.gather(*(rescue.take_back_expired(pool) for _ in range(3)))
    assert sorted(run_id for part, _ in freed for run_id in part) == runs
    assert await conn.fetchval("SELECT max(expiries) FROM work_items") == 1


async def lose_workers(pool, conn, times):
    for _ in range(times):
        grant = await claim(conn)
        await expire(conn)
        freed, failed = await rescue.take_back_expired(pool)
        assert (freed or list(failed)) == [grant.run_id]
    return failed


async def test_the_fifth_lost_worker_in_a_row_fails_the_run(pool, conn):
    run = await free_run(conn)
    assert await lose_workers(pool, conn, 4) == {}
    assert list(await lose_workers(pool, conn, 1)) == [run.id]
    assert await place(conn, run.id) == ("failed", "nowhere")
    assert (await error_of(conn, run.id))["code"] == "worker_lost"
    assert await conn.fetchval("SELECT attempt FROM runs") == 5


async def test_a_recorded_step_begins_the_count_anew(pool, conn):
    run = await free_run(conn)
    await lose_workers(pool, conn, 4)
    await journal.write(conn, [entry(await claim(conn), 1, step())], 15.0)
    await expire(conn)
    assert await rescue.take_back_expired(pool) == ([run.id], {})
    assert await lose_workers(pool, conn, 3) == {}
    assert list(await lose_workers(pool, conn, 1)) == [run.id]


@pytest.mark.parametrize("held", [False, True], ids=["free", "leased"])
async def test_a_due_run_fails_when_its_deadline_has_passed(pool, conn, held):
    late, in_time = await free_run(conn, deadline_in=-1.0), await free_run(conn, deadline_in=60.0)
    if held:
        await work.claim(conn, ["worker"] * 2, [""], 15.0)
    assert list(await rescue.fail_overdue(pool)) == [late.id]
    assert await place(conn, late.id) == ("failed", "nowhere")
    assert (await error_of(conn, late.id))["code"] == "timeout"
    assert (await place(conn, in_time.id))[0] == "pending"


async def test_a_run_that_ends_by_itself_at_its_deadline_is_not_said_to_have_failed(pool, conn):
    run = await free_run(conn, deadline_in=-1.0)
    grant = await claim(conn)
    transaction = conn.transaction()
    await transaction.start()
    await journal.write(conn, [entry(grant, 1, step(), settle=COMPLETED)], 15.0)
    overdue = asyncio.create_task(rescue.fail_overdue(pool))
    await waits_for_a_lock(pool)
    await transaction.commit()
    assert await overdue == {}
    assert await place(conn, run.id) == ("completed", "nowhere")


async def test_a_sleeper_is_not_rescued(pool, conn):
    grant = await leased_run(conn)
    await journal.write(conn, [entry(grant, 1, settle=Settle(RunStatus.SLEEPING, wake_in=60.0))], 15.0)
    await expire(conn)
    assert await rescue.take_back_expired(pool) == ([], {})
    assert await place(conn, grant.run_id) == ("sleeping", "parked")
