import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from melagent import embedded
from melagent.errors import Unavailable

START_AND_HOLD = """
import sys, pathlib
from melagent import embedded
server = embedded.start(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder():
    """A data folder; whatever server is left in it is stopped."""
    parent = Path(tempfile.mkdtemp(prefix="mel-embedded-"))
    yield parent / "postgres"
    for pid in postmasters(parent):
        psutil.Process(pid).kill()
    shutil.rmtree(parent)


@pytest.fixture
def started(folder):
    """A server that is stopped by the test's end."""
    server = embedded.start(folder)
    yield server
    if not server.users_lock.closed:
        server.stop()


def postmasters(under):
    pids = []
    for pidfile in under.rglob("postmaster.pid"):
        pid = int(pidfile.read_text().split("\n")[0])
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE:
                pids.append(pid)
    return pids


def ask(server, query):
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone() if cursor.description else None


def hold(folder):
    """Another process that has started the server of this folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", START_AND_HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def run_until_cut_off(connection, query):
    with pytest.raises(psycopg.OperationalError):
        connection.execute(query)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"


def end(process):
    process.communicate()
    assert process.returncode == 0


def test_what_was_written_is_there_after_a_stop_and_a_start(folder):
    told = []
    server = embedded.start(folder, on_progress=told.append)
    ask(server, "CREATE TABLE t AS SELECT 42 AS n")
    server.stop()
    assert postmasters(folder) == []
    server = embedded.start(folder, on_progress=told.append)
    assert ask(server, "SELECT n FROM t") == (42,)
    server.stop()
    assert told == [f"Making a PostgreSQL database in {folder}"]


def test_answered_means_durable_and_only_the_socket_listens(started):
    for name, value in {"fsync": "on", "synchronous_commit": "on", "listen_addresses": ""}.items():
        assert ask(started, f"SHOW {name}") == (value,)


def test_socket_is_for_this_user_alone(started, folder):
    assert folder.stat().st_mode & 0o077 == 0
    assert ask(started, "SHOW unix_socket_permissions") == ("0700",)


def test_server_that_outlived_our_killed_process_is_used_again(folder):
    first = hold(folder)
    before = postmasters(folder)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert postmasters(folder) == before
    server = embedded.start(folder)
    assert postmasters(folder) == before
    server.stop()
    assert postmasters(folder) == []


def test_server_that_was_killed_too_is_started_again_over_its_stale_pid_file(folder):
    first = hold(folder)
    for pid in postmasters(folder):
        os.kill(pid, signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert (folder / "data" / "postmaster.pid").exists()
    server = embedded.start(folder)
    assert ask(server, "SELECT 1") == (1,)
    server.stop()


def test_query_that_outlived_its_killed_server_does_not_keep_us_from_starting(started, folder):
    (postmaster,) = postmasters(folder)
    connection = psycopg.connect(started.dsn, autocommit=True)
    pid = connection.info.backend_pid
    busy = threading.Thread(
        target=run_until_cut_off, args=(connection, "SELECT sum(n) FROM generate_series(1, 1e12) n")
    )
    busy.start()
    wait_until(lambda: ask(started, f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") == ("active",))
    os.kill(postmaster, signal.SIGKILL)
    started.process.wait()
    assert psutil.pid_exists(pid)
    server = embedded.start(folder)
    assert not psutil.pid_exists(pid)
    assert ask(server, "SELECT 1") == (1,)
    busy.join()
    started.users_lock.close()
    server.stop()


def test_pid_file_that_names_another_process_does_not_keep_us_from_starting(folder):
    embedded.start(folder).stop()
    pidfile = folder / "data" / "postmaster.pid"
    pidfile.write_text(f"{os.getpid()}\n{folder / 'data'}\n0\n5432\n{folder}\n\n  0 0\nready   \n")
    server = embedded.start(folder)
    assert ask(server, "SELECT 1") == (1,)
    server.stop()


def test_two_processes_share_the_server_and_the_last_one_stops_it(folder):
    first, second = hold(folder), hold(folder)
    assert len(postmasters(folder)) == 1
    end(first)
    assert len(postmasters(folder)) == 1
    end(second)
    assert postmasters(folder) == []


def test_interrupted_initdb_is_done_again(folder):
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    server = embedded.start(folder)
    assert ask(server, "SELECT 1") == (1,)
    server.stop()


def test_path_too_long_for_a_socket_gets_a_short_one(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
    deep = folder / ("x" * 100)
    server = embedded.start(deep)
    assert ask(server, "SELECT 1") == (1,)
    server.stop()


def test_server_that_cannot_run_says_why(folder):
    with pytest.raises(Unavailable, match="no_such_setting"):
        embedded.start(folder, settings={**embedded.SETTINGS, "no_such_setting": "1"})


def test_start_on_an_existing_database_takes_well_under_a_second(folder):
    embedded.start(folder).stop()
    assert embedded.POLL_SECONDS <= 0.01
    server = embedded.start(folder)
    assert ask(server, "SELECT extract(epoch FROM now() - pg_postmaster_start_time()) < 1") == (True,)
    server.stop()


def test_missing_extra_is_said_in_so_many_words(folder, monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="DATABASE_URL"):
        embedded.start(folder)


def test_deleted_socket_of_a_running_server_is_named(started, folder):
    (folder / embedded.SOCKET_NAME).unlink()
    with pytest.raises(Unavailable, match="socket was deleted"):
        embedded.start(folder)
