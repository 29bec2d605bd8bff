"""Where each live run is: leases are granted once, in order, and every move keeps one place per run."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest

from melagent.domain.ids import uuid7
from melagent.domain.run import RunStatus
from melagent.domain.work import Final, Settle
from melagent.store import finals, journal, parked, work
from melagent.store.pool import guarded
from tests.builders import (
    RELEASED,
    entry,
    expire,
    free_run,
    leased_run,
    misplaced,
    new_run,
    place,
    unpark,
    waiting_id,
)


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as conn:
        yield conn
        assert await misplaced(conn) == []


async def start(conn, *runs, leased=True):
    offers = [work.Offer(uuid4(), "worker") if leased else None for _ in runs]
    return await work.start(conn, list(runs), offers, 15.0)


async def test_a_start_is_leased_at_once_while_nothing_free_waits(conn):
    first, second = new_run(), new_run()
    assert await start(conn, first, second) == {first.id, second.id}
    assert await place(conn, first.id) == ("pending", "leased")


async def test_a_start_queues_behind_a_run_that_waits(conn):
    waiting, run = new_run(id=waiting_id()), new_run()
    assert await start(conn, waiting, leased=False) == set()
    assert await start(conn, run) == set()
    assert await place(conn, run.id) == ("pending", "free")


async def test_a_start_overtakes_runs_that_wait_since_a_moment_ago(conn):
    in_a_minute = time.time_ns() // 1_000_000 + 60_000
    waiting, run = new_run(id=uuid7(in_a_minute, bytes(10))), new_run()
    await start(conn, waiting, leased=False)
    assert await start(conn, run) == {run.id}


async def test_a_start_that_is_repeated_changes_nothing(conn):
    run = new_run(input=b'"first"')
    await start(conn, run)
    before = await conn.fetchrow("SELECT * FROM work_items JOIN runs ON id = run_id")
    assert await start(conn, new_run(id=run.id, input=b'"second"')) == set()
    assert await conn.fetchrow("SELECT * FROM work_items JOIN runs ON id = run_id") == before


async def test_a_repeated_start_does_not_bring_an_ended_run_back(conn):
    run = await free_run(conn)
    async with guarded(conn):
        await finals.end(conn, run.id, RunStatus.CANCELLED, None)
    assert await start(conn, run) == set()
    assert await place(conn, run.id) == ("cancelled", "nowhere")


async def test_a_large_input_comes_back_as_a_payload_of_the_run(conn):
    run = await free_run(conn, input=b'"' + b"x" * 100_000 + b'"')
    head = (await work.heads(conn, [run.id]))[run.id]
    assert head.input is None
    assert head.input_hash == await conn.fetchval("SELECT hash FROM payloads WHERE run_id = $1", run.id)


async def test_claims_go_by_priority_and_then_by_age(conn):
    old, young = await free_run(conn, priority=5), await free_run(conn, priority=5)
    late, urgent = await free_run(conn, priority=9), await free_run(conn, priority=0)
    by_age = sorted([old.id, young.id])
    order = []
    for _ in range(4):
        order += [grant.run_id for grant in await work.claim(conn, ["worker"], [""], 15.0)]
    assert order == [urgent.id, *by_age, late.id]


async def test_a_claim_takes_no_more_than_asked_and_nothing_that_is_leased(conn):
    for _ in range(5):
        await free_run(conn)
    first = await work.claim(conn, ["one"] * 3, [""], 15.0)
    second = await work.claim(conn, ["two"] * 3, [""], 15.0)
    assert [len(first), len(second)] == [3, 2]
    assert not {grant.run_id for grant in first} & {grant.run_id for grant in second}
    assert len({grant.lease for grant in first + second}) == 5


async def test_a_claim_passes_over_what_another_one_is_taking(pool, conn):
    runs = sorted([(await free_run(conn)).id for _ in range(4)])
    async with pool.acquire() as other, other.transaction():
        taken = [grant.run_id for grant in await work.claim(other, ["other"] * 2, [""], 15.0)]
        async with asyncio.timeout(30):
            mine = [grant.run_id for grant in await work.claim(conn, ["mine"] * 4, [""], 15.0)]
    assert sorted(taken) == runs[:2]
    assert sorted(mine) == runs[2:]


async def test_concurrent_claimers_never_get_the_same_run(pool, conn):
    runs = [new_run() for _ in range(300)]
    await start(conn, *runs, leased=False)

    async def claim_all(name):
        taken = []
        async with pool.acquire() as own:
            while grants := await work.claim(own, [name] * 7, [""], 15.0):
                taken += [grant.run_id for grant in grants]
        return taken

    taken = await asyncio.gather(*(claim_all(f"worker {n}") for n in range(4)))
    everything = [run_id for part in taken for run_id in part]
    assert len(everything) == len(set(everything)) == 300


async def test_a_grant_counts_the_leases_of_its_run_and_tells_the_time_left(conn):
    run = await free_run(conn, deadline_in=60.0)
    (first,) = await work.claim(conn, ["worker"], [""], 15.0)
    await expire(conn)
    await work.take_back(conn, 10)
    (second,) = await work.claim(conn, ["worker"], [""], 15.0)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.lease != second.lease
    assert second.run_id == run.id
    assert 50 < second.deadline_in <= 60


async def test_extending_keeps_the_leases_that_are_good_and_names_them(conn):
    held, freed, ended = [await leased_run(conn) for _ in range(3)]
    await expire(conn, freed.run_id)
    await work.take_back(conn, 10)
    async with guarded(conn):
        await finals.end(conn, ended.run_id, RunStatus.CANCELLED, None)
    grants = [held, freed, ended]
    kept = await work.extend(conn, [g.run_id for g in grants], [g.lease for g in grants], 60.0)
    assert kept == {held.lease}
    left = await conn.fetchval("SELECT lease_expires_at - now() FROM work_items WHERE run_id = $1", held.run_id)
    assert 50 < left.total_seconds() <= 60


async def test_an_expired_lease_that_nobody_took_back_can_be_extended(conn):
    grant = await leased_run(conn)
    await expire(conn)
    assert await work.extend(conn, [grant.run_id], [grant.lease], 15.0) == {grant.lease}
    assert await work.take_back(conn, 10) == []


async def test_only_expired_leases_are_taken_back_and_their_tokens_end(conn):
    live, dead = await leased_run(conn), await leased_run(conn)
    await expire(conn, dead.run_id)
    assert await work.take_back(conn, 10) == [(dead.run_id, 1)]
    assert await place(conn, dead.run_id) == ("pending", "free")
    assert await place(conn, live.run_id) == ("pending", "leased")
    assert await work.extend(conn, [dead.run_id], [dead.lease], 15.0) == set()


async def test_a_lease_that_is_being_extended_is_not_taken_back(pool, conn):
    grant = await leased_run(conn)
    await expire(conn)
    async with pool.acquire() as other, other.transaction():
        await work.extend(other, [grant.run_id], [grant.lease], 15.0)
        async with asyncio.timeout(30):
            assert await work.take_back(conn, 10) == []
    assert await work.take_back(conn, 10) == []


async def park(conn, grant, wake_in, **fields):
    settle = Settle(RunStatus.SLEEPING, wake_in=wake_in, **fields)
    assert set(await journal.write(conn, [entry(grant, 1, settle=settle)], 15.0)) == {grant.run_id}


async def test_only_parked_runs_whose_time_has_come_are_unparked(conn):
    due, later = await leased_run(conn), await leased_run(conn)
    await park(conn, due, 0.0)
    await park(conn, later, 60.0)
    assert await place(conn, later.run_id) == ("sleeping", "parked")
    assert await unpark(conn, 10) == [due.run_id]
    assert await place(conn, due.run_id) == ("pending", "free")
    assert await place(conn, later.run_id) == ("sleeping", "parked")
    assert 50 < await parked.next_wake_in(conn) <= 60


async def test_two_instances_unpark_at_once_and_each_run_becomes_due_once(pool, conn):
    runs = []
    for _ in range(6):
        grant = await leased_run(conn)
        await park(conn, grant, 0.0)
        runs.append(grant.run_id)
    async with pool.acquire() as other, other.transaction():
        first = await unpark(other, 4)
        async with asyncio.timeout(30):
            second = await unpark(conn, 10)
    assert sorted(first + second) == sorted(runs)
    assert await unpark(conn, 10) == []


async def test_the_deadline_wakes_a_sleeper_and_makes_it_overdue(conn):
    run = await free_run(conn, deadline_in=0.0)
    (grant,) = await work.claim(conn, ["worker"], [""], 15.0)
    await park(conn, grant, 3600.0)
    assert await unpark(conn, 10) == [run.id]
    assert await work.overdue(conn, 10) == [run.id]


@pytest.mark.parametrize("state", ["free", "leased", "parked"])
async def test_ending_from_outside_works_in_every_place_and_once(conn, state):
    grant = await leased_run(conn)
    if state == "free":
        await expire(conn)
        await work.take_back(conn, 1)
    if state == "parked":
        await park(conn, grant, 60.0)
    async with guarded(conn):
        ended = await finals.end(conn, grant.run_id, RunStatus.FAILED, {"code": "x\x00"})
    assert not ended.before.final
    row = await conn.fetchrow("SELECT status, error::text, finished_at, attempt FROM runs WHERE id = $1", grant.run_id)
    assert (row["status"], row["error"], row["attempt"]) == ("failed", '{"code":"x\\u0000"}', 1)
    async with guarded(conn):
        assert await finals.end(conn, grant.run_id, RunStatus.CANCELLED, None) == Final(RunStatus.FAILED)
    assert await place(conn, grant.run_id) == ("failed", "nowhere")


async def test_ending_a_run_that_is_not_there_answers_nothing(conn):
    async with guarded(conn):
        assert await finals.end(conn, uuid4(), RunStatus.CANCELLED, None) is None


async def test_a_released_run_can_be_claimed_with_a_new_lease(conn):
    grant = await leased_run(conn)
    await journal.write(conn, [entry(grant, 1, settle=RELEASED)], 15.0)
    (again,) = await work.claim(conn, ["other"], [""], 15.0)
    assert (again.run_id, again.attempt) == (grant.run_id, 2)
    assert again.lease != grant.lease
