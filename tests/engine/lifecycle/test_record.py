"""Many runs share a write, and none of them notices the others."""

from __future__ import annotations

import asyncio

import pytest

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Settle, Verdict
from melagent.engine.lifecycle import persist
from melagent.engine.lifecycle.record import Recorder
from melagent.errors import Unavailable
from melagent.store import work
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import COMPLETED, entry, expire, leased_run, misplaced, place, step, waits_for_a_lock
from tests.proxy import proxy_to

ACCEPTED, LEASE_LOST, INVALID = Verdict.ACCEPTED, Verdict.LEASE_LOST, Verdict.INVALID


class Recording:
    """A recorder, and the entries it said were durable."""

    def __init__(self, pool, lease_seconds=15.0):
        self.durable = []
        self._recorder = Recorder(
            pool, lease_seconds=lease_seconds, on_recorded=lambda entries, _: self.durable.extend(entries)
        )

    async def __call__(self, *entries):
        async with asyncio.timeout(20):
            return await asyncio.gather(*map(self._recorder.submit, entries))


@pytest.fixture
async def record(pool):
    yield Recording(pool)
    assert await misplaced(pool) == []


async def steps_of(pool, run_id):
    rows = await pool.fetch("SELECT step_key FROM steps WHERE run_id = $1 ORDER BY seq", run_id)
    return [row["step_key"] for row in rows]


async def test_each_of_many_runs_gets_its_own_verdict(pool, record):
    good, lost, ends = [await leased_run(pool) for _ in range(3)]
    await expire(pool, lost.run_id)
    async with pool.acquire() as conn:
        await work.take_back(conn, 10)
    entries = [entry(good, 1, step()), entry(lost, 1, step()), entry(ends, 1, step(), settle=COMPLETED)]
    assert await record(*entries) == [ACCEPTED, LEASE_LOST, ACCEPTED]
    assert {e.run_id for e in record.durable} == {good.run_id, ends.run_id}
    assert await steps_of(pool, lost.run_id) == []
    assert await place(pool, ends.run_id) == ("completed", "nowhere")


async def test_an_entry_that_is_repeated_is_answered_as_the_first_time(pool, record):
    grant = await leased_run(pool)
    journaled, settled = entry(grant, 1, step("a", 1)), entry(grant, 2, step("b", 2), settle=COMPLETED)
    for each in (journaled, journaled, settled, settled):
        assert await record(each) == [ACCEPTED]
    assert await steps_of(pool, grant.run_id) == ["a", "b"]


async def test_nothing_is_accepted_after_the_end_but_the_entry_that_made_it(pool, record):
    grant = await leased_run(pool)
    await record(entry(grant, 1, settle=COMPLETED))
    late = [entry(grant, 1, step()), entry(grant, 2, step(), settle=Settle(RunStatus.FAILED, error={"code": "x"}))]
    assert [(await record(each))[0] for each in late] == [LEASE_LOST, LEASE_LOST]
    assert await place(pool, grant.run_id) == ("completed", "nowhere")
    assert await steps_of(pool, grant.run_id) == []


async def test_an_entry_that_is_too_late_meets_the_valid_one_of_the_same_run(pool, record):
    stale = await leased_run(pool)
    await expire(pool)
    async with pool.acquire() as conn:
        await work.take_back(conn, 10)
        (valid,) = await work.claim(conn, ["another"], [""], 15.0)
    for seq in (1, 2):
        entries = [
            entry(stale, 6 + seq, step("stale", 7), settle=COMPLETED),
            entry(valid, seq, step(f"valid{seq}", seq)),
        ]
        assert await record(*entries) == [LEASE_LOST, ACCEPTED]
    assert await steps_of(pool, stale.run_id) == ["valid1", "valid2"]
    assert await place(pool, stale.run_id) == ("pending", "leased")


async def test_the_same_entry_twice_in_one_moment_is_recorded_once(pool, record):
    grant = await leased_run(pool)
    twice = entry(grant, 1, step(), settle=COMPLETED)
    assert await record(twice, twice, twice) == [ACCEPTED] * 3
    assert await steps_of(pool, grant.run_id) == ["a"]


BAD_STEPS = {
    "nul in a handle": {"handle": "x\x00"},
    "half a character in a handle": {"handle": "\ud800"},
    "half a character in an error": {"error": {"code": "x", "message": "\udcff"}},
    "half a character in a log": {"logs": ({"message": "\udcff"},)},
    "no json in a log": {"logs": ({"fields": {"x": object()}},)},
    "a status that is no status": {"status": "nonsense"},
}


@pytest.mark.parametrize("bad", BAD_STEPS.values(), ids=BAD_STEPS.keys())
async def test_a_bad_value_harms_only_its_own_entry(pool, record, bad):
    grants = [await leased_run(pool) for _ in range(9)]
    entries = [entry(grant, 1, step(**(bad if n == 4 else {})), settle=COMPLETED) for n, grant in enumerate(grants)]
    verdicts = await record(*entries)
    assert verdicts == [ACCEPTED] * 4 + [INVALID] + [ACCEPTED] * 4
    assert await place(pool, grants[4].run_id) == ("pending", "leased")
    assert await steps_of(pool, grants[4].run_id) == []


async def test_an_entry_with_the_same_step_twice_harms_only_itself_and_holds_nobody_up(pool):
    bad, *good = [await leased_run(pool) for _ in range(9)]
    record = Recording(pool, lease_seconds=600.0)  # what is tried again takes longer than the test may
    verdicts = await record(entry(bad, 1, step("a", 1), step("a", 2)), *(entry(grant, 1, step()) for grant in good))
    assert verdicts == [INVALID] + [ACCEPTED] * 8
    assert await steps_of(pool, bad.run_id) == []


async def test_nul_in_values_errors_and_logs_harms_nobody(pool, record):
    grant = await leased_run(pool)
    fields = {
        "output": b'"\\u0000"', "error": {"code": "\x00", "message": "\x00"}, "logs": ({"message": "\x00"},),
        "status": StepStatus.FAILED, "handle": None,
    }  # fmt: skip
    assert await record(entry(grant, 1, step(**fields), settle=COMPLETED)) == [ACCEPTED]


@pytest.mark.parametrize("settle", [None, COMPLETED], ids=["journal", "settle"])
async def test_an_entry_whose_answer_was_lost_is_recorded_once_and_accepted(database_url, pool, settle):
    grant = await leased_run(pool)
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        record = Recording(through)
        proxy.lose_answer("SELECT 1")
        assert await record(entry(grant, 1, step(), settle=settle)) == [ACCEPTED]
        assert proxy.lost == 1
        await through.close()
    assert await steps_of(pool, grant.run_id) == ["a"]
    assert len(record.durable) == 1


async def test_a_deadlock_is_tried_again(pool, record):
    """Somebody else locks items in the other order: one of the two is chosen as the victim, and ours goes on."""
    first, second = sorted([await leased_run(pool), await leased_run(pool)], key=lambda grant: grant.run_id)
    lock = "SELECT FROM work_items WHERE run_id = $1 FOR UPDATE"
    async with pool.acquire() as other, other.transaction():
        await other.execute("SET LOCAL deadlock_timeout = '60 s'")  # so that it is never the victim
        await other.fetch(lock, second.run_id)
        recording = asyncio.create_task(record(entry(first, 1, step()), entry(second, 1, step())))
        await waits_for_a_lock(pool)
        await other.fetch(lock, first.run_id)
    assert await recording == [ACCEPTED, ACCEPTED]


async def test_a_database_that_is_away_for_a_moment_is_waited_for(database_url, pool):
    grant = await leased_run(pool)
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        record = Recording(through)
        proxy.away = True
        proxy.cut()
        recording = asyncio.create_task(record(entry(grant, 1, step(), settle=COMPLETED)))
        await asyncio.sleep(3 * persist.FIRST_PAUSE_SECONDS)
        proxy.away = False
        assert await recording == [ACCEPTED]
        await through.close()
    assert await place(pool, grant.run_id) == ("completed", "nowhere")


async def test_a_database_that_stays_away_for_a_lease_is_given_up(database_url):
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        async with through.acquire() as conn:
            grant = await leased_run(conn)
        record = Recording(through, lease_seconds=0.3)
        proxy.away = True
        proxy.cut()
        with pytest.raises(Unavailable):
            await record(entry(grant, 1, step()))
        assert record.durable == []
        through.terminate()
