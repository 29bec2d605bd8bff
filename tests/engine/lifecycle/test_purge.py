"""Purge: ended runs go, each as a whole, with all there is of them; live ones never do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from melagent.domain.ids import uuid7
from melagent.domain.run import Purge, RunStatus
from melagent.domain.work import Settle
from melagent.engine.lifecycle import purge as lifecycle
from melagent.engine.lifecycle.purge import purge
from melagent.store import journal, partitions
from melagent.store import purge as store
from melagent.store.ids import FIRST_ID, new_id
from tests.builders import COMPLETED, entry, free_run, leased_run, misplaced, new_run, step, waits_for_a_lock

LARGE = b'"' + b"x" * 20_000 + b'"'
OLD = datetime(2020, 1, 8, 12, tzinfo=UTC)
FAILED = Settle(RunStatus.FAILED, error={"code": "x", "message": "x"})
SLEEPING = Settle(RunStatus.SLEEPING, wake_in=3600.0)
TABLES = ("runs", "steps", "payloads", "payload_parts")


@pytest.fixture
async def run(pool):
    """Makes a run of long ago that ended the next day, or did not; its id."""
    async with pool.acquire() as conn:
        await partitions.create(conn, OLD, 2)

    async def run(settle=COMPLETED, moment=OLD, steps=2, **changes):
        run_id = uuid7(int(moment.timestamp() * 1000), new_id().bytes[6:])
        async with pool.acquire() as conn:
            grant = await leased_run(conn, id=run_id, **changes)
            await conn.execute("INSERT INTO payload_parts VALUES ($1, '', 0, 1, '')", run_id)
            records = [step(f"s{n}", n, output=LARGE) for n in range(1, steps + 1)]
            await journal.write(conn, [entry(grant, 1, *records, settle=settle)], 15.0)
            await conn.execute(
                "UPDATE runs SET finished_at = $2 WHERE id = $1 AND finished_at IS NOT NULL", run_id, moment + DAY
            )
        return run_id

    return run


DAY = timedelta(days=1)
LATER = OLD + 2 * DAY


async def left(pool):
    """The runs that there is anything of, and that it is all there."""
    found = [{row[0] for row in await pool.fetch(f"SELECT {'id' if table == 'runs' else 'run_id'} FROM {table}")}
             for table in TABLES]  # fmt: skip  # one expression
    assert all(each == found[0] for each in found)
    return found[0]


async def purged(pool, wanted, **options):
    """How many runs are purged in all, in slices as short as can be."""
    total, after = 0, FIRST_ID
    while after is not None:
        count, after = await purge(pool, wanted, after, seconds=0.0, **options)
        total += count
    return total


async def test_an_ended_run_goes_with_its_steps_and_values_and_what_it_left(pool, run):
    gone, stays = await run(), await run(moment=OLD + 5 * DAY)
    assert await purged(pool, Purge(LATER)) == 1
    assert await left(pool) == {stays}
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE run_id = $1", gone) == 0


async def test_runs_are_chosen_by_when_they_ended_and_how_and_of_which_workflow(pool, run):
    workflow = new_id()
    failed, own = await run(FAILED), await run(workflow_id=workflow)
    assert await purged(pool, Purge(OLD + DAY)) == 0  # they ended at that very moment, not before it
    assert await purged(pool, Purge(LATER, RunStatus.FAILED, workflow)) == 0
    assert await purged(pool, Purge(LATER, RunStatus.CANCELLED)) == 0
    assert await purged(pool, Purge(LATER, workflow_id=workflow)) == 1
    assert await left(pool) == {failed}
    assert await purged(pool, Purge(LATER, RunStatus.FAILED)) == 1
    assert own not in await left(pool)


async def test_a_run_that_has_not_ended_is_never_deleted(pool, run):
    asleep, given_back = await run(SLEEPING), await run(Settle(RunStatus.PENDING))
    async with pool.acquire() as conn:
        leased = (await leased_run(conn, id=uuid7(int(OLD.timestamp() * 1000), b"x" * 10))).run_id
        free = (await free_run(conn)).id
    assert await purged(pool, Purge(datetime(2100, 1, 1, tzinfo=UTC))) == 0
    async with pool.acquire() as conn, conn.transaction():
        assert await store.delete(conn, [asleep, given_back, leased, free]) == 0  # not even when they are named
    assert await pool.fetchval("SELECT count(*) FROM runs") == 4
    assert await misplaced(pool) == []


async def test_a_dry_run_counts_and_deletes_nothing(pool, run):
    runs = {await run() for _ in range(3)}
    assert await purged(pool, Purge(LATER), dry_run=True) == 3
    assert await left(pool) == runs


@pytest.mark.parametrize("looked_at", [2, 1000])
async def test_many_are_deleted_in_small_batches_past_those_that_stay(pool, run, monkeypatch, looked_at):
    monkeypatch.setattr(store, "LOOKED_AT", looked_at)
    monkeypatch.setattr(store, "LOOK_FOR_ENDED", store.LOOK_FOR_ENDED.replace("LIMIT 1000", f"LIMIT {looked_at}"))
    monkeypatch.setattr(lifecycle, "BATCH_RUNS", 2)
    stay = set()
    for n in range(11):
        made = await run(SLEEPING if n % 3 == 1 else COMPLETED)
        stay |= {made} if n % 3 == 1 else set()
    count, after = await purge(pool, Purge(LATER), FIRST_ID, seconds=0.0)
    assert count <= 2
    assert after is not None
    rest = await purge(pool, Purge(LATER), after, seconds=60.0)
    assert rest == (7 - count, None)
    assert await left(pool) == stay


async def test_a_batch_is_as_small_as_its_runs_are_large(pool, run, monkeypatch):
    monkeypatch.setattr(lifecycle, "BATCH_ROWS", 25)
    sizes = [3, 3, 30, 3, 3]
    for steps in sizes:
        await run(steps=steps)
    ended, _ = await store.look(pool, Purge(LATER), FIRST_ID)
    weights = {each.run_id: each.rows for each in ended}
    batches = [[weights[run_id] for run_id in batch] for batch in lifecycle._batches(ended)]
    assert sorted(weight for batch in batches for weight in batch) == sorted(weights.values())
    assert max(weights.values()) > 25
    assert all(sum(batch) <= 25 or len(batch) == 1 for batch in batches)
    assert any(len(batch) > 1 for batch in batches)


async def test_two_at_once_delete_each_run_once(pool, run):
    for _ in range(30):
        await run()
    counts = await asyncio.gather(*(purge(pool, Purge(LATER), FIRST_ID, seconds=60.0) for _ in range(4)))
    assert sum(count for count, _ in counts) == 30
    assert await left(pool) == set()


async def test_a_purge_that_breaks_off_leaves_whole_runs_and_is_repeated(pool, run):
    runs = {await run() for _ in range(5)}
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(
            "SELECT FROM steps WHERE run_id = $1 FOR UPDATE", max(runs)
        )  # a step of the last one is held
        purging = asyncio.create_task(purge(pool, Purge(LATER), FIRST_ID, seconds=60.0))
        await waits_for_a_lock(pool)
        purging.cancel()
        await asyncio.wait([purging])
        assert await left(pool) == runs
    assert await purged(pool, Purge(LATER)) == 5
    assert await left(pool) == set()


async def test_new_runs_are_started_while_old_ones_are_deleted(pool, run):
    for _ in range(10):
        await run()
    fresh = [new_run() for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(purged(pool, Purge(LATER)))
        for each in fresh:
            tasks.create_task(free_run(pool, id=each.id))
    assert {row["id"] for row in await pool.fetch("SELECT id FROM runs")} == {each.id for each in fresh}
