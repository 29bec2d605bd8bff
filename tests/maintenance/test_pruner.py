"""Old weeks are dropped as a whole: never under a live run, from wherever another left off, and in nobody's way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from melagent.domain.ids import time_of, uuid7
from melagent.domain.run import RunStatus
from melagent.domain.work import Settle
from melagent.engine.metrics import REGISTRY
from melagent.maintenance.pruner import RETRY_SECONDS, Pruner
from melagent.store import journal, partitions, remains, retention
from melagent.store.pool import single_connection
from tests.bouncer import bouncer
from tests.builders import COMPLETED, chain, entry, eventually, leased_run, misplaced, new_run, place, step, stored
from tests.instances import Stage, instance

LARGE = b'"' + b"x" * 20_000 + b'"'
OLD = datetime(2020, 1, 8, 12, tzinfo=UTC)
WEEK = "2020w02"
PARENTS = ("runs", "steps", "payloads")


def id_at(moment, n=0):
    return uuid7(int(moment.timestamp() * 1000), n.to_bytes(10, "big"))


async def old_run(pool, moment=OLD, n=0, settle=COMPLETED):
    """A run of an old week with a step and a large value, ended or parked; its id."""
    async with pool.acquire() as conn:
        await partitions.create(conn, moment)
        grant = await leased_run(conn, id=id_at(moment, n))
        await journal.write(conn, [entry(grant, 1, step(output=LARGE), settle=settle)], 15.0)
    return grant.run_id


SLEEPING = Settle(RunStatus.SLEEPING, wake_in=3600.0)


async def weeks(pool):
    """The tables that there are of each week, attached or not."""
    async with pool.acquire() as conn:
        found = {}
        for table in await retention.tables(conn):
            found.setdefault(table.week, []).append(table)
        return found


async def state(pool, week=WEEK):
    """Of each table of a week whether it is attached, pending or detached."""
    return {
        table.parent: "pending" if table.pending else "attached" if table.attached else "detached"
        for table in (await weeks(pool)).get(week, [])
    }


WHOLE = dict.fromkeys(PARENTS, "attached")


async def passes(pruner):
    """Passes until nothing is left to do at once; what the last one answered."""
    while (due := await pruner.one_pass()) == 0.0:
        pass
    return due


@pytest.fixture
def pruner(pool, database_url):
    return Pruner(pool, database_url, 30)


async def test_old_weeks_are_dropped_the_oldest_first_and_all_others_stay(pool, pruner):
    before = set(await weeks(pool))
    for back in (0, 7, 14):
        await old_run(pool, OLD + timedelta(days=back))
    assert await pruner.one_pass() == 0.0
    assert set(await weeks(pool)) == before | {"2020w03", "2020w04"}
    assert await passes(pruner) is None
    assert set(await weeks(pool)) == before
    assert await pool.fetchval("SELECT count(*) FROM steps") == 0


async def test_a_week_goes_when_all_of_it_is_older_than_asked_for(pool, database_url):
    now = await pool.fetchval("SELECT now()")
    moments = [now - timedelta(days=days) for days in (30, 37)]
    names = [moment.strftime("%Gw%V") for moment in moments]
    for moment in moments:
        await old_run(pool, moment)
    await passes(Pruner(pool, database_url, 30))
    left = await weeks(pool)
    assert names[0] in left
    assert names[1] not in left


async def test_zero_keeps_everything_for_ever(pool, database_url):
    await old_run(pool)
    assert await Pruner(pool, database_url, 0).one_pass() is None
    assert await state(pool) == WHOLE


@pytest.mark.parametrize("kind", ["asleep", "leased"])
async def test_a_week_with_a_live_run_is_left_whole_and_told_once(pool, pruner, kind):
    ended = await old_run(pool, n=1)
    await old_run(pool, OLD + timedelta(days=7))
    if kind == "asleep":
        live = await old_run(pool, n=2, settle=SLEEPING)
    else:
        async with pool.acquire() as conn:
            live = (await leased_run(conn, id=id_at(OLD, 2))).run_id
    with capture_logs() as lines:
        for _ in range(3):
            await passes(pruner)
    assert await state(pool) == WHOLE
    assert await state(pool, "2020w03") == {}
    assert await pool.fetch("SELECT id FROM runs ORDER BY id") == [(ended,), (live,)]
    kept = [line for line in lines if line["event"].startswith("week kept")]
    assert [(line["week"], line["live_runs"]) for line in kept] == [(WEEK, 1)]
    assert REGISTRY.get_sample_value("mel_weeks_kept") == 1
    await pool.execute("DELETE FROM work_items; DELETE FROM parked")  # as if the run had ended
    await passes(pruner)
    assert await state(pool) == {}
    assert REGISTRY.get_sample_value("mel_weeks_kept") == 0


async def test_a_sleeper_of_an_old_week_wakes_and_ends_while_other_weeks_are_dropped(pool, database_url, pruner):
    await old_run(pool, OLD - timedelta(days=7))
    definition = chain(("start", "manual_trigger"), {"id": "nap", "type": "delay", "config": {"duration": "1h"}})
    version, stage = await stored(pool, definition), Stage()
    async with pool.acquire() as conn:
        await partitions.create(conn, OLD)
    async with instance(database_url, stage) as one:
        run = new_run(version, id=id_at(OLD))
        await one.engine.start(run)

        async def is_at(status, where):
            return await place(pool, run.id) == (status, where)

        await eventually(lambda: is_at("sleeping", "parked"))
        await passes(pruner)
        assert await state(pool) == WHOLE
        await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at > now()")
        await one.unparker.one_pass()
        await eventually(lambda: is_at("completed", "nowhere"))
    await passes(pruner)
    assert await state(pool) == {}


@asynccontextmanager
async def reading(database_url, table):
    """Somebody whose transaction has read a table, and goes on."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch(f"SELECT FROM {table} LIMIT 1")
    yield
    await transaction.rollback()
    await connection.close()


async def test_a_pass_that_is_killed_while_it_detaches_is_finished_by_the_next(pool, database_url, pruner):
    run_id = await old_run(pool)
    killer = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE steps%'"
    async with reading(database_url, "steps"):
        killed = asyncio.create_task(pruner.one_pass())
        await eventually(lambda: detaching(pool, "steps"))
        assert await pool.fetchval("SELECT count(*) FROM runs WHERE id = $1", run_id) == 0
        await pool.execute(killer)
        assert await killed == RETRY_SECONDS
        assert await state(pool) == {"runs": "detached", "steps": "pending", "payloads": "attached"}
    other = Pruner(pool, database_url, 0)  # whatever it may keep itself
    assert await passes(other) is None
    assert await state(pool) == {}


async def detaching(pool, parent):
    return (await state(pool)).get(parent) == "pending"


async def test_a_pass_that_is_killed_between_detaching_and_dropping_is_finished_by_the_next(pool, database_url, pruner):
    await old_run(pool)
    async with single_connection(database_url) as conn:
        for table in await retention.tables(conn, WEEK):
            await retention.detach(conn, table)
    assert await state(pool) == dict.fromkeys(PARENTS, "detached")
    assert await passes(pruner) is None
    assert await state(pool) == {}


async def test_a_pass_that_is_killed_between_two_drops_is_finished_by_the_next(pool, database_url, pruner):
    await old_run(pool)
    async with single_connection(database_url) as conn:
        tables = await retention.tables(conn, WEEK)
        for table in tables:
            await retention.detach(conn, table)
        await retention.drop(conn, tables[0])
    assert await passes(pruner) is None
    assert await state(pool) == {}


async def test_a_week_in_which_a_run_was_started_at_the_last_moment_is_attached_again(pool, database_url, pruner):
    """As by a clock that is weeks behind, after the first look and before the week was detached."""
    live = await old_run(pool, settle=SLEEPING)
    async with single_connection(database_url) as conn:
        for table in await retention.tables(conn, WEEK):
            await retention.detach(conn, table)
    with capture_logs() as lines:
        assert await passes(pruner) is None
    assert "week kept, a run was started in it" in [line["event"] for line in lines]
    assert await state(pool) == WHOLE
    assert await place(pool, live) == ("sleeping", "parked")
    assert await pool.fetchval("SELECT count(*) FROM payloads WHERE run_id = $1", live) == 1
    await old_run(pool, n=7)  # the week is as good as before
    await pool.execute("DELETE FROM parked")
    await passes(pruner)
    assert await state(pool) == {}


async def test_what_somebody_detached_by_hand_is_kept(pool, pruner):
    await old_run(pool)
    await pool.execute(f"ALTER TABLE steps DETACH PARTITION steps_{WEEK}")
    assert await passes(pruner) is None
    assert await state(pool) == {"steps": "detached"}
    assert await pool.fetchval(f"SELECT count(*) FROM steps_{WEEK}") == 1


async def test_a_table_that_is_in_use_is_left_for_later_and_nobody_else_waits(pool, database_url, pruner):
    run_id = await old_run(pool)
    async with reading(database_url, f"runs_{WEEK}"):  # a dump of this partition, say
        with capture_logs() as lines:
            dropping = asyncio.create_task(pruner.one_pass())
            while not dropping.done():
                async with asyncio.timeout(1), pool.acquire() as conn:
                    await leased_run(conn)
                    assert await conn.fetchval("SELECT count(*) FROM runs WHERE id > $1", run_id) > 0
        assert await dropping == RETRY_SECONDS
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["week not dropped yet"]
    assert await passes(pruner) is None
    assert await state(pool) == {}


async def test_two_at_once_do_not_get_in_each_others_way(pool, database_url):
    for back in range(4):
        await old_run(pool, OLD + timedelta(days=7 * back))
    with capture_logs() as lines:
        answers = await asyncio.gather(*(Pruner(pool, database_url, 30).one_pass() for _ in range(4)))
        assert set(answers) <= {0.0, RETRY_SECONDS, None}
        assert 0.0 in answers
        while RETRY_SECONDS in await asyncio.gather(*(passes(Pruner(pool, database_url, 30)) for _ in range(3))):
            pass
    assert [line["week"] for line in lines] == ["2020w02", "2020w03", "2020w04", "2020w05"]
    assert [week for week in await weeks(pool) if week.startswith("2020")] == []


async def test_whoever_holds_the_claim_drops_alone(pool, database_url, pruner):
    await old_run(pool)
    async with single_connection(database_url) as other:
        assert await retention.claim(other)
        assert await pruner.one_pass() == RETRY_SECONDS
        assert await state(pool) == WHOLE
    await eventually(lambda: claimed_and_dropped(pruner))
    assert await passes(pruner) is None
    assert await state(pool) == {}


async def claimed_and_dropped(pruner):
    """A session that has just ended may hold its claim for a moment."""
    return await pruner.one_pass() == 0.0


async def test_behind_a_pooler_nothing_is_claimed(pool, database_url):
    await old_run(pool)
    async with bouncer(database_url) as pooler:
        with capture_logs() as lines:
            assert await Pruner(pool, pooler.url, 30).one_pass() == RETRY_SECONDS
    assert "DATABASE_DIRECT_URL" in lines[-1]["error"]
    assert await state(pool) == WHOLE


async def test_weeks_are_dropped_while_runs_start_at_full_speed(pool, database_url):
    for back in range(6):
        await old_run(pool, OLD + timedelta(days=7 * back))
    version = await stored(pool, chain(("start", "manual_trigger"), ("a", "noop")))
    started, longest, dropped = [], 0.0, asyncio.Event()
    clock = asyncio.get_running_loop().time

    async with instance(database_url, Stage()) as one:

        async def start_runs():
            nonlocal longest
            while not dropped.is_set():
                run, began = new_run(version), clock()
                await one.engine.start(run)
                longest = max(longest, clock() - began)
                started.append(run.id)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(start_runs())
            await eventually(lambda: len(started) > 50)
            for _ in range(6):
                assert await Pruner(one.engine.pool, database_url, 30).one_pass() == 0.0
            dropped.set()
        ended = "SELECT count(*) FROM runs WHERE status = 'completed'"

        async def all_ended():
            return await pool.fetchval(ended) == len(started)

        await eventually(all_ended)
    assert longest < 2.0  # less than the pruner would wait for a lock, with others behind it
    assert [week for week in await weeks(pool) if week.startswith("2020")] == []
    assert await misplaced(pool) == []


async def test_what_runs_left_outside_their_week_goes_with_it(pool, pruner):
    gone, stays = await old_run(pool), id_at(OLD + timedelta(days=7))
    await pool.execute(
        "INSERT INTO payload_parts (run_id, hash, start, total, data)"
        " SELECT run_id, '', n, 1, '' FROM unnest($1::uuid[]) run_id, generate_series(1, 6000) n", [gone, stays],
    )  # fmt: skip  # the statement, then its values
    await passes(pruner)
    assert await pool.fetch("SELECT run_id, count(*) FROM payload_parts GROUP BY 1") == [(stays, 6000)]


async def test_every_table_with_rows_of_runs_ends_with_them(pool):
    """A table that is new here belongs into `store.remains`, or its rows stay for ever."""
    found = await pool.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE column_name = 'run_id' AND table_schema = 'public' AND table_name !~ '_[0-9]{4}w[0-9]{2}$'"
    )
    end_with_the_run = {"work_items", "parked"}
    assert {name for (name,) in found} == {"steps", "payloads", *end_with_the_run, *remains.TABLES}


async def test_the_loop_drops_by_itself(pool, pruner):
    await old_run(pool)
    await old_run(pool, OLD + timedelta(days=7))
    pruner.loop.start()

    async def nothing_left():
        return not [week for week in await weeks(pool) if week.startswith("2020")]

    await eventually(nothing_left)
    await pruner.loop.stop()


def test_the_old_week_is_the_week_of_the_old_moment():
    assert (OLD.strftime("%Gw%V"), time_of(retention.ids_of(WEEK)[0])) == (WEEK, datetime(2020, 1, 6, tzinfo=UTC))
