"""Everybody at once on the same runs: nobody sees an error, and every run keeps exactly one place."""

from __future__ import annotations

import asyncio
import random

import pytest

from melagent.domain.run import RunStatus
from melagent.domain.work import Settle
from melagent.engine.lifecycle import rescue, wake
from melagent.engine.lifecycle.cancel import cancel
from melagent.engine.lifecycle.record import Recorder
from melagent.errors import Conflict
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import COMPLETED, RELEASED, claimed, entry, extended, free_run, misplaced, step

RUNS = 40
SLEEPING = Settle(RunStatus.SLEEPING, wake_in=0.0)


class Instance:
    """One instance that does everything an instance does, as fast as it can, on whatever it gets."""

    def __init__(self, pool, seed, run_ids):
        self.pool = pool
        self.random = random.Random(seed)
        self.run_ids = run_ids
        self.recorder = Recorder(pool, lease_seconds=15.0, on_recorded=lambda *_: None)
        self.stale = []

    async def work(self):
        """Claim, record, and settle in any way; now and then also with a lease of long ago."""
        items = await claimed(self.pool, f"worker {id(self)}", 5)
        await extended(self.pool, {item.run_id: item.lease for item in items})
        entries = [entry(item, 1, step(f"s{item.attempt}", item.next_seq)) for item in items]
        await asyncio.gather(*map(self.recorder.submit, entries))
        ends = [COMPLETED, RELEASED, SLEEPING, SLEEPING, None]
        settles = [(item, self.random.choice(ends)) for item in items]
        last = [entry(item, 2, step(f"t{item.attempt}", item.next_seq + 1), settle=end) for item, end in settles]
        old = self.random.sample(self.stale, min(3, len(self.stale)))
        await asyncio.gather(*map(self.recorder.submit, last + old))
        self.stale += last

    async def cancel(self):
        try:
            await cancel(self.pool, self.random.choice(self.run_ids))
        except Conflict:
            pass

    async def lose_leases(self):
        """Some leases run out, and the rescuer of this instance passes."""
        await self.pool.execute(
            "UPDATE work_items SET lease_expires_at = now() - interval '1 s' WHERE run_id IN"
            " (SELECT run_id FROM work_items WHERE lease IS NOT NULL ORDER BY run_id LIMIT 3 FOR UPDATE SKIP LOCKED)"
        )
        await rescue.take_back_expired(self.pool)
        await rescue.fail_overdue(self.pool)

    async def wake(self):
        await wake.wake_due(self.pool, thorough=True)


async def repeat(action, times):
    for _ in range(times):
        await action()


@pytest.mark.parametrize("seed", range(3))
async def test_settling_cancelling_waking_and_rescuing_at_once_keeps_every_run_in_one_place(database_url, pool, seed):
    async with pool.acquire() as conn:
        dice = random.Random(seed)
        runs = [await free_run(conn, deadline_in=dice.choice([None, 0.3, 60.0])) for _ in range(RUNS)]
    pools = [await create_pool(database_url, PoolLimits(max_open=6)) for _ in range(2)]
    instances = [Instance(each, f"{seed} {n}", [run.id for run in runs]) for n, each in enumerate(pools)]
    watching = asyncio.create_task(watch(pool))
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(repeat(each.work, 25) for each in instances),
            *(repeat(each.cancel, 8) for each in instances),
            *(repeat(each.lose_leases, 15) for each in instances),
            *(repeat(each.wake, 40) for each in instances),
        )
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert await misplaced(pool) == []
    assert not watching.done() or watching.cancelled()
    deadlocks = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0
    for each in pools:
        await each.close()


async def watch(pool):
    """The rule holds at every moment, as any single statement sees it."""
    while True:
        assert await misplaced(pool) == []
        await asyncio.sleep(0)
