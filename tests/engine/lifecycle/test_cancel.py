"""Cancel ends a run wherever it is, without its worker, and exactly one end wins."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Settle
from melagent.engine.lifecycle.cancel import cancel
from melagent.errors import Conflict, NotFound
from melagent.store import finals, journal, work
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import (
    COMPLETED,
    entry,
    expire,
    free_run,
    leased_run,
    misplaced,
    place,
    step,
    unpark,
    waits_for_a_lock,
)
from tests.proxy import proxy_to


async def write(conn, *entries):
    return set(await journal.write(conn, entries, 15.0))


async def free(conn):
    return (await free_run(conn)).id


async def leased(conn):
    return (await leased_run(conn)).run_id


async def expired(conn):
    grant = await leased_run(conn)
    await expire(conn, grant.run_id)
    return grant.run_id


async def sleeping(conn):
    grant = await leased_run(conn)
    await write(conn, entry(grant, 1, settle=Settle(RunStatus.SLEEPING, wake_in=60.0)))
    return grant.run_id


@pytest.mark.parametrize("state", [free, leased, expired, sleeping])
async def test_a_live_run_is_cancelled_in_every_state(pool, state):
    async with pool.acquire() as conn:
        run_id = await state(conn)
    await cancel(pool, run_id)
    assert await place(pool, run_id) == ("cancelled", "nowhere")
    assert await pool.fetchval("SELECT finished_at IS NOT NULL FROM runs WHERE id = $1", run_id)


async def test_open_steps_end_with_the_run_and_recorded_ones_stay(pool):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        sleeps = step("b", 2, status=StepStatus.SLEEPING, finished_at=None, handle=None, due_in=60.0)
        await write(conn, entry(grant, 1, step("a", 1), sleeps))
        await cancel(pool, grant.run_id)
        steps = await conn.fetch("SELECT step_key, status, wake_at FROM steps ORDER BY seq")
    assert [tuple(row) for row in steps] == [("a", "completed", None), ("b", "cancelled", None)]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
async def test_a_run_that_has_ended_is_a_conflict_and_stays_as_it_is(pool, status):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        await write(conn, entry(grant, 1, settle=Settle(status, output=b"1")))
        before = await conn.fetchrow("SELECT * FROM runs")
        with pytest.raises(Conflict, match=status):
            await cancel(pool, grant.run_id)
        assert await conn.fetchrow("SELECT * FROM runs") == before


async def test_cancelling_twice_is_a_conflict_and_an_unknown_run_is_not_found(pool):
    async with pool.acquire() as conn:
        run = await free_run(conn)
    await cancel(pool, run.id)
    with pytest.raises(Conflict):
        await cancel(pool, run.id)
    with pytest.raises(NotFound):
        await cancel(pool, uuid4())


async def test_only_one_of_many_cancels_wins(pool):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
    results = await asyncio.gather(*(cancel(pool, grant.run_id) for _ in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 4 + ["Final"]


async def test_the_lease_of_a_cancelled_run_writes_nothing(pool):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        await cancel(pool, grant.run_id)
        assert await write(conn, entry(grant, 1, step(), settle=COMPLETED)) == set()
        assert await work.extend(conn, [grant.run_id], [grant.lease], 15.0) == set()
        assert await conn.fetchval("SELECT count(*) FROM steps") == 0


async def test_a_cancel_that_comes_while_the_run_settles_is_a_conflict(pool):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        transaction = conn.transaction()
        await transaction.start()
        await write(conn, entry(grant, 1, step(), settle=COMPLETED))
        cancelling = asyncio.create_task(cancel(pool, grant.run_id))
        await waits_for_a_lock(pool)
        await transaction.commit()
        with pytest.raises(Conflict):
            await cancelling
        assert await place(conn, grant.run_id) == ("completed", "nowhere")
        assert await misplaced(conn) == []


async def test_a_settlement_that_comes_while_the_run_is_cancelled_changes_nothing(pool):
    async with pool.acquire() as conn, pool.acquire() as other:
        grant = await leased_run(conn)
        transaction = conn.transaction()
        await transaction.start()
        await finals.end(conn, grant.run_id, RunStatus.CANCELLED, None)
        settling = asyncio.create_task(write(other, entry(grant, 1, step(), settle=COMPLETED)))
        await waits_for_a_lock(pool)
        await transaction.commit()
        assert await settling == set()
        assert await place(conn, grant.run_id) == ("cancelled", "nowhere")
        assert await conn.fetchval("SELECT count(*) FROM steps") == 0


async def test_a_step_recorded_while_the_run_is_cancelled_changes_nothing(pool):
    """An entry without a settlement locks the work item alone; it must see that the item is gone."""
    async with pool.acquire() as conn, pool.acquire() as other:
        grant = await leased_run(conn)
        transaction = conn.transaction()
        await transaction.start()
        await finals.end(conn, grant.run_id, RunStatus.CANCELLED, None)
        recording = asyncio.create_task(write(other, entry(grant, 1, step())))
        await waits_for_a_lock(pool)
        await transaction.commit()
        assert await recording == set()
        assert await conn.fetchval("SELECT count(*) FROM steps") == 0


async def test_a_cancel_that_comes_while_the_run_is_unparked_ends_it(pool):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        await write(conn, entry(grant, 1, settle=Settle(RunStatus.SLEEPING, wake_in=0.0)))
        transaction = conn.transaction()
        await transaction.start()
        assert await unpark(conn, 10) == [grant.run_id]
        cancelling = asyncio.create_task(cancel(pool, grant.run_id))
        await waits_for_a_lock(pool)
        await transaction.commit()
        await cancelling
        assert await place(conn, grant.run_id) == ("cancelled", "nowhere")


async def test_a_cancel_whose_answer_was_lost_succeeds(database_url, pool):
    async with pool.acquire() as conn:
        run = await free_run(conn)
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        proxy.lose_answer("COMMIT")
        await cancel(through, run.id)
        assert proxy.lost == 1
        await through.close()
    assert await place(pool, run.id) == ("cancelled", "nowhere")
