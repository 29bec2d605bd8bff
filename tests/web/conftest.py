"""The editor as people meet it: built, served by real instances behind nginx, in Debian's Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from uuid import uuid4

import pytest
import pytest_asyncio

from deploy.local.topology import topology
from melagent.cli import credentials
from tests.conftest import in_database

ROOT = Path(__file__).parents[2]
ADA, BO, PASSWORD = "ada@example.com", "bo@example.com", "correct horse battery"


@dataclass(frozen=True)
class Served:
    """Where the editor is. `link` is what the server has printed for setting up, if there was no administrator."""

    url: str
    key: str
    link: str | None = None


@pytest.fixture(scope="session")
def built():
    """The editor is built, and the browser's driver is installed."""
    subprocess.run([sys.executable, "web/build.py", "--again"], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "web/build.py", "run", "browser", "--version"], cwd=ROOT, check=True)
    return ROOT / "melagent" / "web_dist"


@pytest.fixture(scope="session")
def serve(built, admin, server_url, template, tmp_path_factory):
    """Runs `server server` on a database of its own."""

    @contextmanager
    def serve(**settings):
        name, folder = f"mel_web_{uuid4().hex}", tmp_path_factory.mktemp("data")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("MEL_", "DATABASE_", "DB_"))
        }
        ours = {"DATABASE_URL": in_database(server_url, name), "MEL_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "melagent", "server", "--port", "0"],
                env=inherited | ours | settings, cwd=ROOT, stdout=out, stderr=err,
            )  # fmt: skip  # one process
            try:
                yield started(process, folder)
            finally:
                process.terminate()
                process.wait(timeout=60)
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return serve


def started(process, folder):
    deadline = time.monotonic() + 120
    while (known := credentials.read(folder)) is None or not is_told(folder):
        assert process.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    link = re.search(r"Make the first administrator: (\S+)", (folder / "out").read_text())
    return Served(known.server_url, known.api_key, link and link[1])


def is_told(folder):
    """Whether the set-up link is there, or an administrator who makes one needless."""
    return "administrator" in (folder / "out").read_text() + (folder / "err").read_text()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(built):
    """Two instances and a worker behind nginx, in turns. Ada administers, Bo edits; nodes may call this machine."""
    settings = {
        "MEL_ADMIN_EMAIL": ADA, "MEL_ADMIN_PASSWORD": PASSWORD, "MEL_HTTP_ALLOW": "127.0.0.1",
        "MEL_ENCRYPTION_KEYS": token_hex(32),
    }  # fmt: skip
    async with topology(apis=2, workers=1, redis=False, **settings) as made:
        [ada] = (await made.call("GET", "/api/users"))["users"]
        await made.call("PUT", f"/api/users/{ada['id']}", {"name": "Ada Lovelace"})
        await made.call("POST", "/api/users", {"email": BO, "name": "Bo Sandberg", "password": PASSWORD})
        yield Served(made.url, made.api_key)


@pytest.fixture
def play():
    """Plays a scenario of web/browser; what it finds wrong fails the test."""

    def play(scenario, served):
        given = {
            "URL": served.url, "KEY": served.key, "LINK": served.link or "", "EMAIL": ADA, "BO": BO,
            "PASSWORD": PASSWORD,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "web/build.py", "run", "browser", f"browser/{scenario}.mjs"],
            cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip  # one process
        assert done.returncode == 0, done.stderr

    return play
