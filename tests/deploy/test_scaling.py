"""`./test-scaling.sh`: its door, and that it leaves nothing behind when it is interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.deploy.proxy_server import ROOT


def of_folder(folder):
    """The processes that have the folder in their command or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(folder) in text for text in told):
            found.append(process)
    return found


async def test_an_unknown_option_is_told():
    process = await asyncio.create_subprocess_exec(
        str(ROOT / "test-scaling.sh"), "--everywhere", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert b"usage:" in output


@pytest.fixture
def folder():
    """With a short name, since Unix sockets are made in it, and open to the account of PostgreSQL."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_the_local_form_leaves_nothing_behind_when_it_is_interrupted(folder):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local.scaling",
        cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        while not (line := await process.stdout.readline()).startswith(b"ok    load balancing"):
            assert line, "it ended before it had begun"
    assert len(of_folder(folder)) > 5
    for number in (signal.SIGTERM, signal.SIGINT):  # the second is the impatient user's
        process.send_signal(number)
    await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 1
    assert of_folder(folder) == []
    assert list(folder.iterdir()) == []
