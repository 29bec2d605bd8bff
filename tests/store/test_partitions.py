"""Weekly partitions: made when needed, and the statements of the engine touch only those of the runs they are given.

The plans are those of the statements as they run: `auto_explain` sends each plan of the session to this client.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from melagent.domain.ids import uuid7
from melagent.domain.run import RunStatus
from melagent.domain.work import Settle
from melagent.store import ends, finals, journal, partitions, payloads, purge, work
from melagent.store.pool import PoolLimits, create_pool, guarded
from tests.builders import COMPLETED, claimed, entry, free_run, leased_run, new_run, step, unpark

if TYPE_CHECKING:
    from uuid import UUID

PARENTS = ("runs", "steps", "payloads")
LARGE = b'"' + b"x" * 20_000 + b'"'


def id_at(moment: datetime, n: int = 0) -> UUID:
    return uuid7(int(moment.timestamp() * 1000), n.to_bytes(10, "big"))


def suffix(moment: datetime) -> str:
    return moment.strftime("_%Gw%V")


async def partitions_of(conn, parent):
    rows = await conn.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass", parent
    )
    return {row["name"] for row in rows}


async def test_a_week_runs_from_monday_to_monday_in_utc(pool):
    monday = datetime(2030, 7, 1, tzinfo=UTC)
    async with pool.acquire() as conn:
        assert await partitions.create(conn, monday + timedelta(days=3)) == 3
        for moment in (monday, monday + timedelta(days=7, milliseconds=-1)):
            await free_run(conn, id=id_at(moment), input=LARGE)
        names = {parent: await conn.fetchval(f"SELECT DISTINCT tableoid::regclass::text FROM {parent}")
                 for parent in ("runs", "payloads")}  # fmt: skip
        assert names == {"runs": "runs_2030w27", "payloads": "payloads_2030w27"}
        for outside in (monday - timedelta(milliseconds=1), monday + timedelta(days=7)):
            with pytest.raises(asyncpg.CheckViolationError) as missing:
                await free_run(conn, id=id_at(outside))
            assert partitions.is_missing(missing.value)


async def test_other_violations_are_not_taken_for_a_missing_partition(pool):
    async with pool.acquire() as conn:
        await free_run(conn)
        with pytest.raises(asyncpg.CheckViolationError) as violation:
            await conn.execute("UPDATE runs SET status = 'nonsense'")
    assert not partitions.is_missing(violation.value)


async def test_weeks_follow_each_other_without_a_gap_over_the_turn_of_the_year(pool):
    async with pool.acquire() as conn:
        assert await partitions.create(conn, datetime(2031, 12, 20, tzinfo=UTC), 4) == 12
        moment = datetime(2031, 12, 15, tzinfo=UTC)
        while moment < datetime(2032, 1, 12, tzinfo=UTC):
            await free_run(conn, id=id_at(moment))
            moment += timedelta(hours=12)


async def test_making_partitions_again_and_by_many_at_once_makes_each_once(pool):
    async def make():
        async with pool.acquire() as conn:
            return await partitions.create_ahead(conn, 12)

    made = await asyncio.gather(*(make() for _ in range(4)))
    assert len([count for count in made if count]) == 1
    async with pool.acquire() as conn:
        for parent in PARENTS:
            assert len(await partitions_of(conn, parent)) == 13  # one week back, this one, and eleven ahead


NOW = datetime.now(UTC)
OTHER_WEEK = NOW - timedelta(days=7)


@pytest.fixture
async def plans(database_url):
    """A connection as the program uses it, with runs of two weeks, and a list that gets the plan of each statement."""
    pool = await create_pool(database_url, PoolLimits(max_open=3))
    async with pool.acquire() as conn:
        try:
            await conn.execute("LOAD 'auto_explain'")
        except asyncpg.PostgresError as error:
            pytest.skip(f"no auto_explain on this server: {error}")
        for moment in (NOW, OTHER_WEEK):
            await work.start(conn, [new_run(id=id_at(moment, n)) for n in range(300)], [None] * 300, 15.0)
        for grant in await work.claim(conn, ["filler"] * 600, [""], 15.0):
            await journal.write(conn, [entry(grant, 1, step(output=LARGE), settle=COMPLETED)], 15.0)
        await conn.execute("ANALYZE")
        seen = []

        def note(_, message):
            seen.append(message.message)

        conn.add_log_listener(note)
        await conn.execute(
            "SET random_page_cost = 1.1; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;"
            "SET auto_explain.log_timing = off; SET auto_explain.log_format = json; SET client_min_messages = log"
        )
        yield conn, seen
        conn.remove_log_listener(note)
    await pool.close()


def scanned(seen):
    """The nodes of the plans so far that were executed on a partitioned table: `(partition, kind of scan)`."""
    plans = [json.loads(text[text.index("{") :])["Plan"] for text in seen if "plan:" in text]
    seen.clear()
    assert plans
    touched = set()
    while plans:
        node = plans.pop()
        plans += node.get("Plans", ())
        relation = node.get("Relation Name", "")
        if relation.startswith(PARENTS) and "Scan" in node["Node Type"] and node["Actual Loops"]:
            touched.add((relation, node["Node Type"]))
    return touched


def assert_only(seen, *relations):
    """Nothing but these tables in the partition of this week was scanned, through an index, and at least that."""
    touched = scanned(seen)
    assert {name for name, _ in touched} == {relation + suffix(NOW) for relation in relations}
    assert {kind for _, kind in touched} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan"}


async def test_a_write_touches_the_partitions_of_its_runs_only(plans):
    conn, seen = plans
    grants = [await leased_run(conn) for _ in range(3)]
    seen.clear()
    await journal.write(conn, [entry(grant, 1, step(output=LARGE)) for grant in grants], 15.0)
    assert {name for name, _ in scanned(seen)} <= {f"runs{suffix(NOW)}"}  # no settlement, so no run is locked
    settles = [COMPLETED, Settle(RunStatus.SLEEPING, wake_in=0.0), Settle(RunStatus.PENDING)]
    entries = [entry(grant, 2, settle=settle) for grant, settle in zip(grants, settles, strict=True)]
    await journal.write(conn, entries, 15.0)
    assert_only(seen, "runs")
    await journal.settled_by(conn, entries)
    assert_only(seen, "runs")


async def test_reading_for_a_claim_touches_the_partitions_of_its_runs_only(plans):
    conn, seen = plans
    grant = await leased_run(conn, input=LARGE)
    await journal.write(conn, [entry(grant, 1, step(output=LARGE), settle=Settle(RunStatus.PENDING))], 15.0)
    seen.clear()

    class OneConnection:
        """A pool that only has the connection whose plans are read."""

        async def acquire(self, **_limits):
            return conn

        async def release(self, connection):
            pass

    (item,) = await claimed(OneConnection(), "worker", 5)
    assert item.journal[0].output == LARGE
    assert_only(seen, "runs", "steps", "payloads")


async def test_unparking_touches_the_partitions_of_its_runs_only(plans):
    conn, seen = plans
    grant = await leased_run(conn)
    await journal.write(conn, [entry(grant, 1, settle=Settle(RunStatus.SLEEPING, wake_in=0.0))], 15.0)
    seen.clear()
    assert await unpark(conn, 500) == [grant.run_id]
    assert_only(seen, "runs")


async def test_ending_a_run_touches_its_partitions_only(plans):
    conn, seen = plans
    grant = await leased_run(conn)
    await journal.write(conn, [entry(grant, 1, step())], 15.0)
    seen.clear()
    async with guarded(conn):
        await finals.end(conn, grant.run_id, RunStatus.CANCELLED, None)
    assert_only(seen, "runs", "steps")


async def test_purging_runs_touches_their_partitions_only(plans):
    conn, seen = plans
    grants = [await leased_run(conn) for _ in range(3)]
    await journal.write(conn, [entry(grant, 1, step(output=LARGE), settle=COMPLETED) for grant in grants], 15.0)
    seen.clear()
    async with guarded(conn):
        assert await purge.delete(conn, [grant.run_id for grant in grants]) == 3
    assert_only(seen, "runs", "steps", "payloads")


async def test_asking_how_runs_ended_touches_their_partitions_only(plans):
    conn, seen = plans
    grants = [await leased_run(conn) for _ in range(3)]
    await journal.write(conn, [entry(grant, 1, step(node_type="answers"), settle=COMPLETED) for grant in grants], 15.0)
    seen.clear()
    assert len(await ends.ends(conn, [grant.run_id for grant in grants], ["answers"])) == 3
    assert_only(seen, "runs", "steps")


async def test_loading_values_touches_the_partition_of_the_run_only(plans):
    conn, seen = plans
    run = await free_run(conn, input=LARGE)
    digest = await conn.fetchval("SELECT input_hash FROM runs WHERE id = $1", run.id)
    seen.clear()
    assert await payloads.load(conn, run.id, [digest]) == {digest: LARGE}
    assert_only(seen, "payloads")


async def test_runs_of_two_weeks_in_one_write_touch_these_two_weeks_only(plans):
    conn, seen = plans
    grants = [await leased_run(conn, id=id_at(moment, 5000)) for moment in (NOW, OTHER_WEEK)]
    seen.clear()
    await journal.write(conn, [entry(grant, 1, step(), settle=COMPLETED) for grant in grants], 15.0)
    assert {name for name, _ in scanned(seen)} == {f"runs{suffix(NOW)}", f"runs{suffix(OTHER_WEEK)}"}
