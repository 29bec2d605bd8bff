"""A server of our own for the commands to talk to, and a way to call them as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from melagent.cli import credentials, main

ROOT = Path(__file__).parents[2]
HELLO = """
name: {name}
nodes:
  - {{id: start, type: manual_trigger}}
  - {{id: greet, type: set, config: {{fields: {{text: "hello {{{{ input.name | default('world') }}}}"}}}}}}
edges:
  - {{source: start, target: greet}}
"""


@dataclass
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def running(admin, server_url, template, tmp_path_factory):
    """`server server` in a process of its own; the data directory, where its cli.json lies."""
    name = f"mel_cli_{uuid4().hex}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    data_dir = tmp_path_factory.mktemp("data")
    environ = environment(data_dir, DATABASE_URL=server_url.replace("/postgres?", f"/{name}?"))
    log = (data_dir / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "melagent", "server", "--port", "0"], env=environ, stderr=log, cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while credentials.read(data_dir) is None:
        assert process.poll() is None, (data_dir / "log").read_text()
        assert time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.02)
    yield data_dir
    process.terminate()
    assert process.wait(timeout=30) == 0
    log.close()
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def environment(data_dir, **more):
    """The environment of a shell where nothing of ours is set."""
    ours = ("MEL_", "DATABASE_", "DB_", "PORT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(data_dir), "MEL_DATA_DIR": str(data_dir), **more}


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Calls a command in this process: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [*os.environ]:
        if name.startswith(("MEL_", "DATABASE_", "DB_", "PORT")):
            monkeypatch.delenv(name)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["server", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Answer(ended.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def remote(cli, running, monkeypatch):
    """Calls a command in a shell where the running server is the one to talk to."""
    monkeypatch.setenv("MEL_DATA_DIR", str(running))
    return cli


@pytest.fixture
def workflow_file(tmp_path):
    """A valid workflow with a name of its own."""
    path = tmp_path / "hello.yaml"
    path.write_text(HELLO.format(name=f"hello {uuid4().hex[:8]}"))
    return path
