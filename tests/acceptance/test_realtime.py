"""`server realtime` beside `server api-server`, as processes: one room, and nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import orjson
import pytest

from deploy.local.topology import free_port
from tests.builders import eventually
from tests.realtime.clients import Client, put

ROOT = Path(__file__).parents[2]
KEY = "the-key-of-the-tests"
DEFINITION = {"nodes": [{"id": "start", "type": "manual_trigger"}, {"id": "done", "type": "noop"}], "edges": []}


class Server:
    """One process of the program."""

    def __init__(self, role, database_url, log):
        self.role, self.database_url, self.log, self.port = role, database_url, log, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEL_", "DATABASE_"))}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "melagent", self.role, "--host", "127.0.0.1", "--port", str(self.port), cwd=ROOT,
                env={**kept, "DATABASE_URL": self.database_url, "MEL_API_KEY": KEY, "MEL_SHUTDOWN_GRACE_SECONDS": "4"},
                stdout=log, stderr=log,
            )  # fmt: skip
        await eventually(self.is_ready)

    async def is_ready(self):
        assert self.process.returncode is None, self.log.read_text()[-3000:]
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def end(self, number):
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 60)


@pytest.fixture
async def servers(database_url, tmp_path):
    started = [Server(role, database_url, tmp_path / f"{role}.log") for role in ("api-server", "realtime")]
    await asyncio.gather(*(server.start() for server in started))
    yield started
    for server in started:
        await server.end(signal.SIGKILL)


@asynccontextmanager
async def joined(session, server, workflow_id, **given):
    name = given.pop("name", None) or uuid4().hex
    socket = await session.ws_connect(f"{server.url}/api/ws/workflows/{workflow_id}", max_msg_size=0)
    client = await Client(socket, name).join(**given)
    try:
        yield client
    finally:
        await client.close()


async def test_sockets_of_both_are_one_room_and_a_killed_one_loses_nothing_acknowledged(servers):
    api, realtime = servers
    headers = {"X-API-Key": KEY}
    async with aiohttp.ClientSession(headers=headers) as http:
        assert (await http.get(f"{realtime.url}/api/workflows")).status == 404
        made = await http.post(f"{api.url}/api/workflows", json={"name": "orders", "definition": DEFINITION})
        workflow_id = (await made.json())["id"]
        async with joined(http, api, workflow_id) as ben:
            ada = await Client(
                await http.ws_connect(f"{realtime.url}/api/ws/workflows/{workflow_id}"), uuid4().hex
            ).join()
            await ben.until(lambda: len(ben.people) == 2)
            people = await (await http.get(f"{realtime.url}/api/workflows/{workflow_id}/presence")).json()
            assert len(people["peers"]) >= 1
            await ada.answer(await ada.edit(put("By Ada")))
            assert (await ben.frame("edit"))["ops"][0]["value"] == "By Ada"
            for number in range(40):
                await ada.edit(put(f"{number}"))
            await ada.until(lambda: len([f for f in ada.frames if f["type"] == "edit"]) > 5)
            assert await realtime.end(signal.SIGKILL) == -signal.SIGKILL
            await ada.reading
            acknowledged = [f["id"] for f in ada.frames if f["type"] == "edit"]
            async with joined(http, api, workflow_id, name=ada.name, since=ada.state.seq, state=ada.state) as again:
                assert again.joined["last_id"] >= max(acknowledged)
                for number in range(again.joined["last_id"] + 1, 42):
                    await again.send({"type": "edit", "id": number, "ops": [put(f"{number - 2}")]})
                await again.until(lambda: again.state.seq == 42)
                draft = await (await http.get(f"{api.url}/api/workflows/{workflow_id}/draft")).json()
                assert (draft["revision"], draft["definition"]["nodes"][1]["name"]) == (42, "39")
                assert orjson.dumps(again.content()["nodes"]) == orjson.dumps(draft["definition"]["nodes"])
                await ben.until(lambda: ben.state.seq == 42)
                await ben.until(lambda: len(ben.people) == 2, seconds=15)
                me = again.joined["you"]["peer"]
                assert not [f for f in ben.frames if f["type"] == "presence" and f["changes"].get(me, 1) is None]


async def test_a_realtime_server_that_is_told_to_stop_sends_its_peers_away_and_ends(servers):
    api, realtime = servers
    async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as http:
        made = await http.post(f"{api.url}/api/workflows", json={"name": "orders", "definition": DEFINITION})
        workflow_id = (await made.json())["id"]
        async with joined(http, realtime, workflow_id) as ada:
            ended = asyncio.create_task(realtime.end(signal.SIGTERM))
            assert await ada.close_code() == 1012
            assert [f["type"] for f in ada.frames][-1] == "reconnect"
            assert await ended == 0
        cluster = await (await http.get(f"{api.url}/api/cluster")).json()
        assert [instance["role"] for instance in cluster["instances"]] == ["api-server"]
