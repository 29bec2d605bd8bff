"""A worker keeps its leases by saying so, and hears which of them it has lost."""

from __future__ import annotations

from uuid import uuid4

from melagent.engine.lifecycle.cancel import cancel
from melagent.engine.lifecycle.rescue import take_back_expired
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import expire, extended, leased_run
from tests.proxy import proxy_to


async def test_the_lost_leases_are_those_taken_back_cancelled_or_never_granted(pool):
    kept, taken, cancelled = [await leased_run(pool) for _ in range(3)]
    await expire(pool, kept.run_id, taken.run_id)
    await extended(pool, {kept.run_id: kept.lease}, 15.0)
    await take_back_expired(pool)
    await cancel(pool, cancelled.run_id)
    forged = uuid4()
    leases = {grant.run_id: grant.lease for grant in (kept, taken, cancelled)} | {uuid4(): forged}
    assert await extended(pool, leases, 15.0) == {taken.lease, cancelled.lease, forged}


async def test_a_foreign_token_extends_nothing(pool):
    grant = await leased_run(pool)
    before = await pool.fetchrow("SELECT * FROM work_items")
    forged = uuid4()
    assert await extended(pool, {grant.run_id: forged}, 60.0) == {forged}
    assert await pool.fetchrow("SELECT * FROM work_items") == before


async def test_an_extension_whose_answer_was_lost_is_sent_again(database_url, pool):
    grant = await leased_run(pool)
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        proxy.lose_answer("UPDATE 1")
        assert await extended(through, {grant.run_id: grant.lease}, 15.0) == set()
        assert proxy.lost == 1
        await through.close()
