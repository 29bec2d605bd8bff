"""The database breaks off sessions, dies and comes back in the middle of running work: all that was accepted ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from melagent import embedded, migrate
from melagent.engine.lifecycle.cancel import cancel
from melagent.errors import Unavailable
from tests.builders import chain, eventually, free_run, leased_run, misplaced, new_run, place, stored
from tests.instances import Stage, instance

NODES = [("start", "manual_trigger"), ("a", "effect"), ("b", "pure"), ("c", "effect")]


async def start_all(engine, runs):
    await asyncio.gather(*map(engine.start, runs))


async def test_sessions_that_are_broken_off_lose_nothing(database_url, pool):
    version = await stored(pool, chain(*NODES))
    stage = Stage()
    runs = [new_run(version) for _ in range(60)]
    async with instance(database_url, stage, concurrency=20) as one:
        starting = asyncio.create_task(start_all(one.engine, runs))
        for _ in range(4):
            seen = len(stage.started)
            await eventually(lambda seen=seen: len(stage.started) > seen or starting.done())
            await pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await starting
        await all_end(pool, one, runs)
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == len(runs)
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE status = 'completed'") == len(NODES) * len(runs)
    assert await misplaced(pool) == []


async def all_end(pool, one, runs):
    """What a lost answer left leased to nobody is waited for, with its lease shortened."""

    async def ended():
        await pool.execute(
            "UPDATE work_items SET lease_expires_at = now() WHERE lease_expires_at > now() + interval '5 s'"
            " AND run_id <> ALL($1::uuid[])",
            list(one.worker._held),
        )
        await one.rescuer.one_pass()
        return await pool.fetchval("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL") == len(runs)

    await eventually(ended, seconds=30)


@pytest.fixture
async def own_server():
    """The URL of a PostgreSQL of this test alone, and how to kill it and start it again."""
    folder = Path(tempfile.mkdtemp(prefix="mel-outage-"))
    servers = [await asyncio.to_thread(embedded.start, folder)]
    await asyncio.to_thread(migrate.up, servers[0].dsn)

    async def restart():
        servers[-1].process.send_signal(signal.SIGQUIT)  # ends at once, without a checkpoint
        await asyncio.to_thread(servers[-1].process.wait)
        servers.append(await asyncio.to_thread(embedded.start, folder))

    yield servers[0].dsn, restart
    for server in servers:
        await asyncio.to_thread(server.stop)
    shutil.rmtree(folder)


async def test_a_database_that_is_killed_and_started_again_loses_nothing_that_was_accepted(own_server):
    dsn, restart = own_server
    stage = Stage()
    async with instance(dsn, stage, concurrency=20) as one:
        version = await stored(one.engine.pool, chain(*NODES))
        runs = [new_run(version) for _ in range(200)]
        accepted = []

        async def start(run):
            await one.engine.start(run)
            accepted.append(run.id)

        starting = [asyncio.create_task(start(run)) for run in runs]
        await eventually(lambda: len(stage.ended) >= 30)
        await restart()
        results = await asyncio.gather(*starting, return_exceptions=True)
        assert [result for result in results if result is not None] == []
        await all_end(one.engine.pool, one, runs)
        rows = await one.engine.pool.fetch("SELECT id, status FROM runs")
        assert {row["id"] for row in rows} == set(accepted)
        assert {row["status"] for row in rows} == {"completed"}
        assert await one.engine.pool.fetchval("SELECT count(*) FROM steps") == len(NODES) * len(runs)
        assert await misplaced(one.engine.pool) == []


STOPPED = """
import asyncio, os, signal, sys
from uuid import UUID
import asyncpg
from melagent.domain.run import RunStatus
from melagent.store import finals
from melagent.store.pool import guarded

async def main():
    conn = await asyncpg.connect(sys.argv[1])
    async with guarded(conn):
        await finals.end(conn, UUID(sys.argv[2]), RunStatus.FAILED, None)
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(main())
"""


NOTE_END = """
CREATE TABLE noted (ended_at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO noted VALUES (clock_timestamp()); RETURN NULL; END';
CREATE TRIGGER note AFTER UPDATE ON runs FOR EACH ROW WHEN (NEW.status = 'cancelled') EXECUTE FUNCTION note()
"""
STOPPED_AT = """
SELECT state_change FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()
"""


@pytest.mark.parametrize("state", [free_run, leased_run])
async def test_a_process_stopped_inside_a_transaction_delays_others_by_six_seconds_at_most(database_url, pool, state):
    """By the clock of the database, from the last word of the process that stopped: this one may be slow itself."""
    made = await state(pool)
    run_id = getattr(made, "run_id", None) or made.id
    await pool.execute(NOTE_END)
    stopped = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED, database_url, str(run_id),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    try:
        assert (await asyncio.wait_for(stopped.stdout.readline(), 20)).strip() == b"stopping"
        stopped_at = await pool.fetchval(STOPPED_AT)
        await asyncio.wait_for(cancel(pool, run_id), 20)
        delay = await pool.fetchval("SELECT ended_at - $1 FROM noted", stopped_at)
        assert 4 < delay.total_seconds() <= 6
        assert await place(pool, run_id) == ("cancelled", "nowhere")
    finally:
        stopped.kill()
        await stopped.communicate()


async def test_a_lock_that_nobody_lets_go_is_answered_within_the_time_limit(pool, monkeypatch):
    """Somebody's own transaction on the table, without our limits: the caller is told, and not kept for ever."""
    monkeypatch.setattr("melagent.engine.lifecycle.cancel.GIVE_UP_SECONDS", 0.1)
    run = await free_run(pool)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM runs WHERE id = $1 FOR UPDATE", run.id)
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await cancel(pool, run.id)
        assert time.monotonic() - before < 15
    assert await place(pool, run.id) == ("pending", "free")
