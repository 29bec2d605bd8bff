"""`server status` shows who is there and what waits."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from melagent.cli import credentials
from tests.builders import eventually
from tests.cli.conftest import ROOT, environment
from tests.proxy import relay_to


def test_status_shows_instances_workers_and_the_queue(remote):
    answer = remote("status")
    assert answer.code == 0
    assert "embedded-" in answer.out
    assert "queue: 0 waiting" in answer.out


def test_status_as_json_is_what_the_api_answers(remote):
    found = json.loads(remote("status", "--json").out)
    (instance,) = found["instances"]
    (worker,) = found["workers"]
    assert (instance["role"], instance["status"], worker["embedded"]) == ("server", "active", True)
    assert worker["instance"] == instance["id"]
    load = instance["load"]
    counts = {"callers", "streams", "asks", "connections", "connections_in_use", "loop_lag_seconds", "rooms", "peers"}
    assert counts == load.keys()
    assert load["connections_in_use"] <= load["connections"]
    assert load["loop_lag_seconds"] >= 0


def test_status_without_a_server_is_exit_code_3(cli):
    assert cli("status", "--server", "http://127.0.0.1:1", "--api-key", "x").code == 3


def test_a_run_that_nobody_can_take_is_shown_with_the_reason(remote, tmp_path):
    path = tmp_path / "far.yaml"
    path.write_text("settings: {labels: [region=moon]}\nnodes: [{id: start, type: manual_trigger}]")
    run_id = remote("workflow", "run", path).out.split()[0]
    assert "waiting_for: no worker matches label region=moon\n" in remote("run", "show", run_id).out
    assert "  region=moon: 1 waiting" in remote("status").out
    assert remote("run", "cancel", run_id).code == 0


class Watching:
    """`server status --watch` in a process of its own, and what it has written so far."""

    def __init__(self, process):
        self.process = process
        self.out = self.err = ""

    async def read(self):
        async def from_out():
            while data := await self.process.stdout.read(4096):
                self.out += data.decode()

        async def from_err():
            while data := await self.process.stderr.read(4096):
                self.err += data.decode()

        await asyncio.gather(from_out(), from_err())


@pytest.fixture
def watching(running):
    @asynccontextmanager
    async def watching(port, *arguments):
        key = credentials.read(running).api_key
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "melagent", "status", "--watch", *arguments, cwd=ROOT,
            env=environment(running, MEL_SERVER_URL=f"http://127.0.0.1:{port}", MEL_API_KEY=key),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        watch = Watching(process)
        reading = asyncio.create_task(watch.read())
        try:
            yield watch
        finally:
            if process.returncode is None:
                process.kill()
            await reading
            await process.wait()

    return watching


async def test_watching_goes_on_when_the_instance_goes_away_and_another_comes(running, watching):
    address = urlsplit(credentials.read(running).server_url)
    async with relay_to({"host": address.hostname, "port": str(address.port)}) as relay, watching(relay.port) as watch:
        await eventually(lambda: "queue:" in watch.out)
        relay.away = True
        relay.cut()
        await eventually(lambda: "Trying again." in watch.err)
        shown = watch.out.count("queue:")
        relay.away = False
        await eventually(lambda: watch.out.count("queue:") > shown)
        watch.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(watch.process.wait(), 60) == 130
    assert "Traceback" not in watch.err


async def test_watching_as_json_prints_one_answer_after_another(running, watching):
    address = urlsplit(credentials.read(running).server_url)
    async with watching(address.port, "--json") as watch:
        await eventually(lambda: watch.out.count('"queue"') >= 2)
    first, _ = json.JSONDecoder().raw_decode(watch.out)
    assert first["instances"]
