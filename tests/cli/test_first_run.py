"""The first start: a link on standard output, or an administrator from the settings."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from melagent.cli import credentials
from tests.cli.conftest import ROOT, environment

PASSWORD = "correct horse battery"


@pytest.fixture
def start(database_url, tmp_path):
    """Runs `server server` or `server api-server` until it has begun, then stops it; its address, and how to stop."""
    running = []

    def start(command="server", **more):
        data_dir = tmp_path / f"data-{len(running)}"
        data_dir.mkdir()
        with (data_dir / "out").open("wb") as out, (data_dir / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "melagent", command, "--port", "0"],
                env=environment(data_dir, DATABASE_URL=database_url, **more),
                cwd=ROOT, stdout=out, stderr=err,
            )  # fmt: skip  # one process
        running.append(process)
        deadline = time.monotonic() + 120
        while b"API server listening" not in (data_dir / "err").read_bytes() or (
            command == "server" and credentials.read(data_dir) is None
        ):
            assert process.poll() is None, (data_dir / "err").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

        def stop():
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            return (data_dir / "out").read_text(), (data_dir / "err").read_text()

        return credentials.read(data_dir), stop

    yield start
    for process in running:
        process.kill()
        process.wait()


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_link_of_the_first_start_works_after_a_restart_and_once(start):
    _, stop = start()
    out, err = stop()
    address, token = re.fullmatch(r"Make the first administrator: (\S+)/setup#(\S+)\n", out).groups()
    assert address.startswith("http://127.0.0.1:")
    assert token not in err, "the log holds no secret"
    here, stop = start()
    body = {"token": token, "email": "root@example.com", "password": PASSWORD}
    assert post(f"{here.server_url}/api/auth/setup", body) == 201
    assert post(f"{here.server_url}/api/auth/setup", body) == 410
    stop()
    _, stop = start()
    assert stop()[0] == "", "there is an administrator"


def test_the_settings_make_the_first_administrator_and_no_link_is_shown(start):
    named = {"MEL_ADMIN_EMAIL": "root@example.com", "MEL_ADMIN_PASSWORD": PASSWORD}
    start("api-server", **named)[1]()
    here, stop = start(**named)
    login = {"email": "root@example.com", "password": PASSWORD}
    assert post(f"{here.server_url}/api/auth/login", login) == 200
    out, err = stop()
    assert out == ""
    assert PASSWORD not in err
    assert os.environ.get("MEL_ADMIN_PASSWORD") is None
