"""Workers that ask an instance for work: answered once, fairly, at little cost, and nothing is lost with a client."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from melagent.broker.postgres import postgres_broker
from melagent.engine.ask import Asker
from melagent.engine.engine import Engine
from tests.builders import eventually, free_run, new_run, place

ANYTHING = frozenset()


@pytest.fixture
async def engine(pool, database_url):
    broker = postgres_broker(database_url)
    engine = Engine(pool, broker)
    await broker.start()
    await engine.open()
    yield engine
    await engine.close()
    await broker.stop()


@asynccontextmanager
async def asking(engine, worker_id="worker", limit=5, offered=ANYTHING, *, seconds=30.0, bound=False, **options):
    task = asyncio.create_task(engine.desk.ask(Asker(worker_id, offered, bound), limit, seconds, **options))
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ids(items):
    return [item.run_id for item in items]


async def test_what_waits_is_leased_to_whoever_asks(engine, pool):
    runs = sorted([await free_run(pool) for _ in range(3)], key=lambda run: run.id)
    items = await engine.desk.ask(Asker("worker"), 2, 30.0)
    assert ids(items) == [runs[0].id, runs[1].id]
    rows = await pool.fetch("SELECT lease, worker_id FROM work_items WHERE lease IS NOT NULL ORDER BY run_id")
    assert [(row["lease"], row["worker_id"]) for row in rows] == [(item.lease, "worker") for item in items]
    assert ids(await engine.desk.ask(Asker("worker"), 2, 30.0)) == [runs[2].id]


async def test_a_run_that_starts_goes_straight_to_whoever_waits_longest(engine, pool):
    async with asking(engine, "first") as first, asking(engine, "second") as second:
        for _ in range(2):
            await engine.start(new_run())
        got = await first + await second
    assert [len(ids(got)), {item.attempt for item in got}] == [2, {1}]
    workers = await pool.fetch("SELECT DISTINCT worker_id FROM work_items")
    assert {row["worker_id"] for row in workers} == {"first", "second"}
    assert all(item.granted_after >= 0 for item in got)


async def test_runs_go_to_workers_in_turn_and_of_one_worker_to_the_same_ask_until_it_is_full(engine):
    async with AsyncExitStack() as stack:
        for worker_id in ("one", "one", "two", "two"):
            await stack.enter_async_context(engine.desk.asking(Asker(worker_id), 2))
        given = [engine.desk.offer("") for _ in range(8)]
        assert [ask.worker_id for ask in given] == ["one", "two"] * 4
        assert given[0] is given[2]
        assert given[4] is given[6] is not given[0]
        assert engine.desk.offer("") is None
        for ask in given:
            ask.release(1)
    assert engine.desk._of_worker == {}


async def test_few_runs_are_spread_over_many_workers(engine, pool):
    async with asking(engine, "one") as one, asking(engine, "two") as two:
        await asyncio.sleep(0)
        for _ in range(2):
            await free_run(pool)
        engine.work_queued([""])
        assert [len(await one), len(await two)] == [1, 1]


async def test_a_run_may_start_in_a_place_while_a_claim_is_under_way(engine, pool, monkeypatch):
    claiming, done = asyncio.Event(), asyncio.Event()

    async def claim_for_long(*_):
        claiming.set()
        await done.wait()
        return []

    async with engine.desk.asking(Asker("worker"), 5) as ask:
        monkeypatch.setattr("melagent.engine.desk.claim", claim_for_long)
        engine.desk.hint([""])
        await claiming.wait()
        await engine.start(run := new_run())
        assert await place(pool, run.id) == ("pending", "leased")
        assert ids(ask.take()) == [run.id]
        done.set()


async def test_work_for_all_places_of_an_ask_that_lasts_fills_them_all(engine, pool):
    runs = [await free_run(pool) for _ in range(5)]
    async with engine.desk.asking(Asker("worker"), 5) as ask:
        await eventually(lambda: len(ask.granted) == len(runs))


async def test_nobody_gets_what_he_cannot_run(engine, pool):
    await free_run(pool, requires="region=eu")
    assert await engine.desk.ask(Asker("elsewhere", frozenset({"region=us"})), 5, 1.5) == []
    (item,) = await engine.desk.ask(Asker("there", frozenset({"region=eu", "gpu=yes"})), 5, 30.0)
    assert await place(pool, item.run_id) == ("pending", "leased")


async def test_a_bound_worker_takes_only_what_requires_something(engine, pool):
    offered = frozenset({"region=eu"})
    await free_run(pool)
    wanted = await free_run(pool, requires="region=eu")
    assert ids(await engine.desk.ask(Asker("bound", offered, bound=True), 5, 30.0)) == [wanted.id]
    async with asking(engine, "bound", offered=offered, bound=True) as bound:
        await engine.start(new_run())
        assert not bound.done()


async def test_work_that_another_process_queued_is_found_without_a_hint(engine, pool):
    async with asking(engine) as task:
        await asyncio.sleep(0.1)
        run = await free_run(pool)
        assert ids(await asyncio.wait_for(task, 20)) == [run.id]


async def test_an_ask_ends_empty_when_there_is_no_work_for_a_while(engine):
    assert await engine.desk.ask(Asker("worker"), 5, 0.05) == []


async def test_nothing_is_leased_to_a_client_that_has_gone(engine, pool):
    gone = asyncio.Event()
    async with asking(engine, alive=lambda: not gone.is_set()) as task:
        gone.set()
        run = new_run()
        await engine.start(run)
        assert await place(pool, run.id) == ("pending", "free")
        assert not task.done()


async def test_what_is_granted_to_a_caller_who_leaves_is_given_back(engine, pool):
    async with asking(engine) as task:
        starting = asyncio.create_task(engine.start(run := new_run()))
        await eventually(lambda: next(iter(engine.desk._asks)).reserved == 1)
        task.cancel()
        await starting
    await eventually(lambda: _is_free(pool, run.id))


async def test_what_is_granted_while_an_ask_looks_around_is_given_back_when_it_leaves(engine, pool, monkeypatch):
    looking, seen = asyncio.Event(), asyncio.Event()

    async def look_for_long(_):
        looking.set()
        await seen.wait()
        return set()

    monkeypatch.setattr("melagent.engine.desk.free_requirements", look_for_long)
    async with asking(engine, seconds=0.0) as task:
        await looking.wait()
        await engine.start(run := new_run())
        assert await place(pool, run.id) == ("pending", "leased")
        task.cancel()
    await eventually(lambda: _is_free(pool, run.id))
    seen.set()


async def _is_free(pool, run_id):
    return await place(pool, run_id) == ("pending", "free")


async def test_all_who_ask_are_answered_when_the_instance_stops(engine):
    async with asking(engine) as one, asking(engine) as two:
        engine.desk.dismiss()
        assert (await one, await two) == ([], [])


async def test_a_thousand_idle_workers_cost_one_statement_a_second(engine, monkeypatch):
    looks, claims = [], []
    monkeypatch.setattr("melagent.engine.desk.free_requirements", _counting(looks, set()))
    monkeypatch.setattr("melagent.engine.desk.claim", _counting(claims, []))
    tasks = [asyncio.create_task(engine.desk.ask(Asker(f"w{n}"), 5, 1.0)) for n in range(1000)]
    assert await asyncio.gather(*tasks) == [[]] * 1000
    assert claims == []
    assert 1 <= len(looks) <= 4


def _counting(calls, answer):
    async def count(*arguments):
        calls.append(arguments)
        return answer

    return count
