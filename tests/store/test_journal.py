"""The one statement that records steps and ends leases: fenced, repeatable, whole for each run."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Settle
from melagent.store import journal, work
from tests.builders import COMPLETED, RELEASED, entry, expire, free_run, leased_run, misplaced, place, step

LEASE_SECONDS = 15.0


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as conn:
        yield conn
        assert await misplaced(conn) == []


async def write(conn, *entries):
    return set(await journal.write(conn, entries, LEASE_SECONDS))


async def statuses(conn, run_id):
    rows = await conn.fetch("SELECT step_key, status FROM steps WHERE run_id = $1 ORDER BY seq", run_id)
    return {row["step_key"]: row["status"] for row in rows}


async def pass_on(conn, grant):
    """The lease expires, and another worker gets the run."""
    await expire(conn, grant.run_id)
    await work.take_back(conn, 10)
    (again,) = await work.claim(conn, ["another"], [""], LEASE_SECONDS)
    return again


async def test_what_was_recorded_is_read_back_byte_for_byte_and_in_order(conn):
    grant = await leased_run(conn)
    large = b'"' + b"large " * 10_000 + b'"'
    records = [
        step("a", 1, output=b'{"x":1.50,"y":"\xc3\xbc"}', handle="true"),
        step("b", 2, output=large),
        step("c", 3, status=StepStatus.FAILED, handle=None, output=None, error={"code": "x", "message": "y"}),
        step("d", 4, status=StepStatus.SLEEPING, finished_at=None, handle=None, output=b"7", due_in=60.0),
    ]
    await write(conn, entry(grant, 1, *records[:2]), entry(await leased_run(conn), 1, step("a")))
    await write(conn, entry(grant, 2, *records[2:]))
    read = await journal.journal(conn, grant.run_id)
    assert 50 < read[3].due_in <= 60
    assert [replace(record, due_in=None) for record in read] == [replace(record, due_in=None) for record in records]


async def test_a_write_is_a_sign_of_life(conn):
    grant = await leased_run(conn)
    await expire(conn)
    await write(conn, entry(grant, 1, step()))
    assert await work.take_back(conn, 10) == []


async def test_a_lease_that_passed_on_writes_nothing_at_all(conn):
    grant = await leased_run(conn)
    await write(conn, entry(grant, 1, step("a", 1)))
    again = await pass_on(conn, grant)
    large = b'"' + b"x" * 50_000 + b'"'
    assert await write(conn, entry(grant, 2, step("b", 2, output=large), settle=COMPLETED)) == set()
    assert await statuses(conn, grant.run_id) == {"a": "completed"}
    assert await conn.fetchval("SELECT count(*) FROM payloads") == 0
    assert await place(conn, grant.run_id) == ("pending", "leased")
    assert await write(conn, entry(again, 1, settle=COMPLETED)) == {grant.run_id}


async def test_a_lost_lease_in_a_batch_keeps_nobody_else_from_writing(conn):
    lost, good = await leased_run(conn), await leased_run(conn)
    await pass_on(conn, lost)
    assert await write(conn, entry(lost, 1, step(), settle=COMPLETED), entry(good, 1, step(), settle=COMPLETED)) == {
        good.run_id
    }
    assert await statuses(conn, lost.run_id) == {}
    assert await place(conn, good.run_id) == ("completed", "nowhere")


async def test_an_expired_lease_that_nobody_took_back_may_still_write(conn):
    grant = await leased_run(conn)
    await expire(conn)
    assert await write(conn, entry(grant, 1, step(), settle=COMPLETED)) == {grant.run_id}


async def test_an_entry_sent_again_counts_as_held_and_changes_nothing(conn):
    grant = await leased_run(conn)
    await write(conn, entry(grant, 1, step("a", 1, output=b"1")))
    assert await write(conn, entry(grant, 1, step("a", 1, output=b"2"), step("b", 2))) == {grant.run_id}
    assert [record.output for record in await journal.journal(conn, grant.run_id)] == [b"1"]


@pytest.mark.parametrize(
    "settle", [COMPLETED, RELEASED, Settle(RunStatus.SLEEPING, wake_in=60.0)], ids=["final", "released", "parked"]
)
async def test_a_settlement_sent_again_is_recognised_as_written(conn, settle):
    grant = await leased_run(conn)
    last = entry(grant, 3, step(), settle=settle)
    await write(conn, last)
    after = await place(conn, grant.run_id)
    assert await write(conn, last) == set()
    assert await journal.settled_by(conn, [last]) == {grant.run_id}
    assert await journal.settled_by(conn, [replace(last, seq=4)]) == set()
    assert await place(conn, grant.run_id) == after


async def test_a_final_step_is_never_overwritten_and_an_open_one_is(conn):
    grant = await leased_run(conn)
    await write(
        conn,
        entry(
            grant,
            1,
            step("done", 1, output=b"1"),
            step("open", 2, status=StepStatus.PENDING, finished_at=None, handle=None, error={"code": "x"}, due_in=1.0),
        ),
    )
    await write(conn, entry(grant, 2, step("done", 3, output=b"2"), step("open", 4, output=b"3", attempt=2)))
    done, was_open = await journal.journal(conn, grant.run_id)
    assert (done.seq, done.output) == (1, b"1")
    assert (was_open.seq, was_open.output, was_open.attempt, was_open.error, was_open.due_in) == (
        4,
        b"3",
        2,
        None,
        None,
    )


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
async def test_a_final_settlement_ends_the_run_and_its_lease(conn, status):
    grant = await leased_run(conn)
    await write(
        conn, entry(grant, 1, step(), settle=Settle(status, output=b"[1]", error={"code": "e", "message": "m"}))
    )
    assert await place(conn, grant.run_id) == (status, "nowhere")
    row = await conn.fetchrow("SELECT output, finished_at, started_at, attempt FROM runs WHERE id = $1", grant.run_id)
    assert (row["output"], row["attempt"]) == (b"[1]", 1)
    assert row["started_at"] <= row["finished_at"]


async def test_a_sleeping_settlement_parks_the_run_until_its_timer_or_its_deadline(conn):
    runs = [await free_run(conn, deadline_in=deadline) for deadline in (None, 10.0)]
    grants = await work.claim(conn, ["worker"] * 2, [""], LEASE_SECONDS)
    await write(conn, *(entry(grant, 1, settle=Settle(RunStatus.SLEEPING, wake_in=60.0)) for grant in grants))
    rows = await conn.fetch("SELECT run_id, extract(epoch FROM wake_at - now())::float8 AS left FROM parked")
    left = {row["run_id"]: row["left"] for row in rows}
    assert 50 < left[runs[0].id] <= 60
    assert 5 < left[runs[1].id] <= 10
    assert [await place(conn, run.id) for run in runs] == [("sleeping", "parked")] * 2


async def test_a_recorded_step_forgives_the_expiries_before_it(conn):
    grant = await leased_run(conn)
    for expiries in (1, 2):
        await expire(conn)
        assert await work.take_back(conn, 10) == [(grant.run_id, expiries)]
        (grant,) = await work.claim(conn, ["worker"], [""], LEASE_SECONDS)
    await write(conn, entry(grant, 1, step()))
    await expire(conn)
    assert await work.take_back(conn, 10) == [(grant.run_id, 1)]


async def test_nul_comes_back_unchanged_from_values_errors_and_logs(conn):
    grant = await leased_run(conn)
    error = {"code": "x", "message": "a\x00b"}
    logs = ({"level": "info", "message": "c\x00d"},)
    await write(
        conn,
        entry(
            grant,
            1,
            step("a", output=b'"e\\u0000f"', logs=logs, error=error),
            settle=Settle(RunStatus.FAILED, output=b'"g\\u0000h"', error=error),
        ),
    )
    (record,) = await journal.journal(conn, grant.run_id)
    assert (record.output, record.error) == (b'"e\\u0000f"', error)
    row = await conn.fetchrow("SELECT s.logs, r.error, r.output FROM steps s JOIN runs r ON r.id = s.run_id")
    assert row["logs"] == '[{"level":"info","message":"c\\u0000d"}]'
    assert (row["error"], row["output"]) == ('{"code":"x","message":"a\\u0000b"}', b'"g\\u0000h"')


async def test_a_value_that_a_text_column_cannot_hold_refuses_the_whole_statement(conn):
    grant = await leased_run(conn)
    with pytest.raises(asyncpg.DataError):
        await write(conn, entry(grant, 1, step("a", 1), step("b", 2, handle="x\x00y")))
    assert await statuses(conn, grant.run_id) == {}
