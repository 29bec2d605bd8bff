import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from melagent import migrate
from melagent.errors import Conflict, Internal, TimedOut, Unavailable
from melagent.schema import known_ids

COUNT_OF_PROCESSES = 10


def command(dsn, *arguments):
    return [sys.executable, "-m", "melagent", "migrate", *arguments, "--database-url", dsn]


SCHEMA = (
    """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
       WHERE table_schema = 'public' AND table_name NOT LIKE '%yoyo%' ORDER BY 1, 2""",
    """SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef NOT LIKE '%yoyo%' ORDER BY 1""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '%yoyo%' ORDER BY 1, 2""",
    """SELECT proname, pg_get_functiondef(oid) FROM pg_proc
       WHERE pronamespace = 'public'::regnamespace ORDER BY 1""",
)


def schema(dsn):
    """All that the migrations made: columns, indexes, constraints and functions."""
    with psycopg.connect(dsn) as connection:
        return [connection.execute(query).fetchall() for query in SCHEMA]


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_up_applies_everything_once_and_says_so(empty_database_url):
    told = []
    assert migrate.status(empty_database_url).pending == known_ids()
    assert migrate.up(empty_database_url, told.append) == known_ids()
    assert told == [f"Applying {id}" for id in known_ids()]
    assert migrate.up(empty_database_url, told.append) == ()
    assert migrate.status(empty_database_url) == migrate.Status(known_ids(), (), ())


def test_nothing_is_printed(empty_database_url, capfd):
    migrate.up(empty_database_url)
    migrate.down(empty_database_url, 99)
    assert capfd.readouterr() == ("", "")


def test_plan_shows_the_sql_and_changes_nothing(empty_database_url):
    planned = migrate.plan(empty_database_url)
    assert tuple(migration.id for migration in planned) == known_ids()
    assert "CREATE TABLE workflows" in planned[0].sql
    assert migrate.status(empty_database_url).applied == ()


def test_ten_processes_migrating_an_empty_database_end_in_one_schema(empty_database_url, database_url):
    processes = [
        subprocess.Popen(command(empty_database_url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(COUNT_OF_PROCESSES)
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * COUNT_OF_PROCESSES, answers
    assert sum("applied" in answer for answer, _ in answers) == 1
    assert schema(empty_database_url) == schema(database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM _yoyo_migration").fetchone() == (len(known_ids()),)


def test_kill_in_the_middle_of_migrating_leaves_nothing_blocked(empty_database_url, database_url):
    last = known_ids()[-1]
    migrate.up(empty_database_url)
    migrate.down(empty_database_url, 1)
    with (
        psycopg.connect(empty_database_url) as blocker,
        psycopg.connect(empty_database_url, autocommit=True) as watcher,
    ):
        blocker.execute("LOCK TABLE _yoyo_migration IN EXCLUSIVE MODE")  # the note that it was applied has to wait
        process = subprocess.Popen(command(empty_database_url), stderr=subprocess.PIPE)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        wait_until(lambda: watcher.execute(waiting).fetchone() == (1,))
        assert watcher.execute("SELECT count(*) FROM yoyo_lock").fetchone() == (1,)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert watcher.execute("SELECT count(*) FROM yoyo_lock").fetchone() == (1,)
    assert migrate.up(empty_database_url) == (last,)
    assert schema(empty_database_url) == schema(database_url)


def test_stale_row_of_yoyo_is_cleared(database_url):
    migrate.down(database_url, 1)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert len(migrate.up(database_url)) == 1


def test_migration_that_cannot_get_its_lock_gives_up_whole(database_url, monkeypatch):
    monkeypatch.setattr(migrate, "SESSION", "SET lock_timeout = '50ms'")
    migrate.down(database_url, 1)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE _yoyo_migration IN EXCLUSIVE MODE")
        with pytest.raises(Internal, match="failed and changed nothing"):
            migrate.up(database_url)
    assert len(migrate.up(database_url)) == 1


def test_newer_schema_is_fine_but_is_not_rolled_back_by_us(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO _yoyo_migration VALUES ('h', '9999.future', now())")
    assert migrate.status(database_url) == migrate.Status(known_ids(), (), ("9999.future",))
    assert migrate.up(database_url) == ()
    with pytest.raises(Conflict, match=r"9999\.future"):
        migrate.down(database_url, 1)


def test_wait_returns_when_another_process_has_migrated(empty_database_url):
    with pytest.raises(TimedOut, match="pending"):
        migrate.wait(empty_database_url, 0)
    migrate.wait(empty_database_url, 0, until="reachable")
    waiter = threading.Thread(target=migrate.wait, args=(empty_database_url, 30))
    waiter.start()
    migrate.up(empty_database_url)
    waiter.join(timeout=30)
    assert not waiter.is_alive()


def test_database_that_is_away_is_unavailable():
    with pytest.raises(Unavailable, match="cannot be reached"):
        migrate.status("postgresql://nobody@127.0.0.1:1/none")


async def test_event_loop_goes_on_while_a_thread_migrates(empty_database_url):
    ticks = 0
    migrating = asyncio.create_task(asyncio.to_thread(migrate.up, empty_database_url))
    while not migrating.done():
        ticks += 1
        await asyncio.wait([migrating], timeout=0.005)
    assert await migrating == known_ids()
    assert ticks > 1


def test_weekly_partitions_are_kept_ahead_even_when_nothing_is_pending(database_url):
    furthest = "SELECT max(relname) FROM pg_class WHERE relname ~ '^runs_[0-9]{4}w[0-9]{2}$'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        (name,) = connection.execute(furthest).fetchone()
        connection.execute(f"DROP TABLE {name}")
        migrate.up(database_url)
        assert connection.execute(furthest).fetchone() == (name,)
