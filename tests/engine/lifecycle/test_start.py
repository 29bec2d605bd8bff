"""A run and its work item come to be together, once, whatever happens to the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from melagent.domain.ids import uuid7
from melagent.domain.requirement import meets
from melagent.domain.run import Trigger
from melagent.engine.lifecycle import start
from melagent.engine.lifecycle.start import Starter
from melagent.errors import Unavailable, Unprocessable
from melagent.store.pool import PoolLimits, create_pool
from tests.builders import free_run, misplaced, new_run, place
from tests.proxy import proxy_to


class Places:
    """Free places of a worker that only notes what it is given."""

    worker_id = "here"

    def __init__(self, free: int, offered: frozenset[str] = frozenset()) -> None:
        self.free = free
        self.offered = offered
        self.items = []

    def meets(self, required):
        return meets(self.offered, required)

    def offer(self, required):
        return self if self.meets(required) and self.reserve(1) else None

    def reserve(self, wanted):
        count = min(wanted, self.free)
        self.free -= count
        return count

    def release(self, count):
        self.free += count

    def run(self, items, held_from):
        self.items += items


def starter(pool, places=None):
    queued = []
    offer = places.offer if places else lambda _: None
    made = Starter(pool, lease_seconds=15.0, offer=offer, on_queued=queued.append, on_limited=lambda _: None)
    return made, queued


async def test_a_run_starts_in_a_free_place_with_a_lease_of_its_own(pool):
    places = Places(free=2)
    starting, queued = starter(pool, places)
    runs = [new_run(input=b"1", deadline_in=60.0), new_run(input=b"2")]
    await asyncio.gather(*map(starting.start, runs))
    assert {item.run_id: item.input for item in places.items} == {run.id: run.input for run in runs}
    assert (places.free, queued) == (0, [])
    rows = await pool.fetch("SELECT run_id, lease, worker_id, attempt FROM work_items")
    held = {(item.run_id, item.lease, "here", 1) for item in places.items}
    assert {tuple(row.values()) for row in rows} == held


async def test_what_finds_no_place_is_queued_and_workers_are_told(pool):
    places = Places(free=1)
    starting, queued = starter(pool, places)
    runs = [new_run() for _ in range(4)]
    await asyncio.gather(*map(starting.start, runs))
    states = [await place(pool, run.id) for run in runs]
    assert sorted(state for _, state in states) == ["free", "free", "free", "leased"]
    assert len(places.items) == 1
    assert queued == [{""}]


async def test_a_run_starts_only_in_a_place_that_meets_what_it_requires(pool):
    places = Places(free=9, offered=frozenset({"region=eu"}))
    starting, queued = starter(pool, places)
    runs = {required: new_run(requires=required) for required in ("", "region=eu", "gpu=yes", "gpu=yes region=eu")}
    await asyncio.gather(*map(starting.start, runs.values()))
    assert {item.run_id for item in places.items} == {runs[""].id, runs["region=eu"].id}
    assert (places.free, queued) == (7, [{"gpu=yes", "gpu=yes region=eu"}])


async def test_a_run_overtakes_those_that_wait_for_another_kind_of_worker(pool):
    await free_run(pool, requires="gpu=yes")
    places = Places(free=1)
    starting, queued = starter(pool, places)
    await starting.start(run := new_run())
    assert ([item.run_id for item in places.items], queued) == ([run.id], [])


async def test_nobody_overtakes_a_run_that_waits_and_the_place_is_given_back(pool):
    waiting = await free_run(pool)
    places = Places(free=1)
    starting, queued = starter(pool, places)
    run = new_run()
    await starting.start(run)
    assert await place(pool, run.id) == ("pending", "free")
    assert await place(pool, waiting.id) == ("pending", "free")
    assert (places.items, places.free, len(queued)) == ([], 1, 1)


async def test_a_repeated_start_is_accepted_and_changes_nothing(pool):
    starting, _ = starter(pool)
    run = new_run(input=b'"first"')
    await asyncio.gather(*(starting.start(run) for _ in range(3)))
    await starting.start(new_run(id=run.id, input=b'"second"'))
    assert [row["input"] for row in await pool.fetch("SELECT input FROM runs")] == [b'"first"']
    assert await misplaced(pool) == []


async def test_a_start_whose_answer_was_lost_is_there_once(database_url, pool):
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        starting, _ = starter(through)
        run = new_run()
        proxy.lose_answer("INSERT 0 1")
        await starting.start(run)
        assert proxy.lost == 1
        await through.close()
    assert [row["id"] for row in await pool.fetch("SELECT id FROM runs")] == [run.id]
    assert await misplaced(pool) == []


async def test_a_missing_partition_is_made_also_by_two_at_once(pool):
    far = int(datetime(2031, 5, 7, tzinfo=UTC).timestamp() * 1000)
    runs = [new_run(id=uuid7(far + n, bytes(10)), input=b'"' + b"x" * 20_000 + b'"') for n in range(6)]
    starters = [starter(pool)[0] for _ in range(2)]
    await asyncio.gather(*(starters[n % 2].start(run) for n, run in enumerate(runs)))
    assert [row["id"] for row in await pool.fetch("SELECT id FROM runs ORDER BY id")] == [run.id for run in runs]
    assert await pool.fetchval("SELECT to_regclass('steps_2031w19') IS NOT NULL")


async def test_a_run_that_cannot_be_stored_harms_nobody_else(pool):
    places = Places(free=10)
    starting, _ = starter(pool, places)
    good = [new_run() for _ in range(6)]
    bad = [new_run(entry="nul\x00"), new_run(trigger=Trigger(type="\ud800"))]
    results = await asyncio.gather(*map(starting.start, good[:3] + bad + good[3:]), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [Unprocessable] * 2 + [type(None)] * 3
    assert await pool.fetchval("SELECT count(*) FROM runs") == 6
    assert {item.run_id for item in places.items} == {run.id for run in good}
    assert places.free == 4


async def test_a_database_that_stays_away_is_said_and_the_place_is_given_back(database_url, monkeypatch):
    monkeypatch.setattr(start, "GIVE_UP_SECONDS", 0.3)
    async with proxy_to(database_url) as proxy:
        through = await create_pool(proxy.url, PoolLimits(max_open=3))
        places = Places(free=1)
        starting, _ = starter(through, places)
        proxy.away = True
        proxy.cut()
        with pytest.raises(Unavailable):
            await starting.start(new_run())
        assert places.free == 1
        through.terminate()
