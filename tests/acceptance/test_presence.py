"""Who is in a room, over instances that are killed and stopped: the same people everywhere, and nobody for too long."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from deploy.local.topology import topology
from tests.acceptance.editing import instance_of, made_workflow
from tests.acceptance.editors import Editor
from tests.builders import eventually

KINDS = pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
EXPIRED_SECONDS = 15.0
RELOADED_SECONDS = 1.0
LARGE_EDITS, LARGE_BYTES = 20, 150 * 1024
"""Of each person: more than the buffers of a system and an outbox take, and no more than their pace allows."""


class Room:
    """People who are in one room and edit nothing, and what the instances tell of it."""

    def __init__(self, cluster, workflow_id, http, stalling):
        self.cluster = cluster
        self.workflow_id = workflow_id
        self.people = []
        self._http = http
        self._stalling = stalling
        self._tasks = {}

    async def enter(self):
        person = Editor(self.cluster.url, self.cluster.api_key, self.workflow_id, writes=False)
        self._tasks[id(person)] = asyncio.create_task(person.run())
        self.people.append(person)
        await eventually(lambda: self.nobody_failed() and person.instance)
        return person

    def remove(self, person):
        """Let somebody never come back."""
        self._tasks.pop(id(person)).cancel()
        self.people.remove(person)

    def nobody_failed(self):
        return not any(task.done() and task.result() for task in self._tasks.values())

    async def stall(self):
        """Let somebody enter, without nginx and its buffers, who reads nothing after the first frame."""
        url = f"http://127.0.0.1:{self.cluster.members['api-1'].port}/api/ws/workflows/{self.workflow_id}"
        opened = await self._stalling.ws_connect(url, max_msg_size=0, autoping=False)
        await opened.send_json({"type": "join", "client": "reads nothing"})
        return (await opened.receive_json())["you"]["peer"]

    async def end(self):
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def told(self):
        """Who is there by each instance that runs."""
        return [await self.told_by(member) for member in self.cluster.of_kind("api-")]

    async def told_by(self, member):
        url = f"http://127.0.0.1:{member.port}/api/workflows/{self.workflow_id}/presence"
        async with self._http.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return {peer["peer"] for peer in (await answer.json())["peers"]}

    def shown(self):
        """Who is there by each socket."""
        return [set(person.people) for person in self.people]

    async def all_agree(self):
        """Everybody is shown everywhere, and nobody else."""
        self.nobody_failed()
        there = {person.peer for person in self.people}
        return all(shown == there for shown in self.shown()) and all(told == there for told in await self.told())

    async def of(self, name):
        """The people on an instance."""
        instance = await instance_of(self.cluster, name)
        return [person for person in self.people if person.instance == instance]

    async def fill(self, name, wanted):
        """Let people enter until there are so many on an instance."""
        while len(await self.of(name)) < wanted:
            await self.enter()


@pytest.fixture
async def room(redis):
    async with topology(apis=3, workers=0, redis=redis) as cluster:
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        narrow = aiohttp.TCPConnector(socket_factory=narrow_socket)
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            aiohttp.ClientSession(headers=headers, connector=narrow) as stalling,
        ):
            made = Room(cluster, await made_workflow(cluster), http, stalling)
            yield made
            await made.end()


def narrow_socket(address):
    """One that takes little of what is not read."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)  # noqa: FBT003  # as its author named it
    return made


@asynccontextmanager
async def never_missing(room, people):
    """Until the end of the block none of these people is missing in what any instance tells, or was shown as gone."""
    peers = {person.peer for person in people}
    others = [person for person in room.people if person not in people]
    before = [person.unseen.copy() for person in others]
    ended, polls = asyncio.Event(), 0

    async def poll():
        nonlocal polls
        while not ended.is_set():
            for member in room.cluster.of_kind("api-"):
                try:
                    told = await room.told_by(member)
                except aiohttp.ClientError:  # it is just being killed
                    continue
                assert peers <= told
                polls += 1
            await asyncio.sleep(0.05)

    polling = asyncio.create_task(poll())
    yield
    ended.set()
    await polling
    assert polls > 10
    for person, seen in zip(others, before, strict=True):
        assert not peers & (person.unseen - seen).keys()


@KINDS
async def test_people_of_a_killed_instance_are_gone_within_15_s_but_for_those_who_come_back(room):
    await room.fill("api-1", 4)
    await room.fill("api-2", 1)
    await eventually(room.all_agree)
    dying, coming_back = (await room.of("api-1"))[:2], (await room.of("api-1"))[2:]
    async with never_missing(room, coming_back):
        killed_at = time.monotonic()
        for person in dying:
            person.vanish()
            room.remove(person)
        await room.cluster.kill("api-1")
        await eventually(room.all_agree)
        assert time.monotonic() - killed_at < EXPIRED_SECONDS


@KINDS
async def test_people_who_reload_or_whose_instance_stops_come_back_in_order(room):
    """The old entry of a page that was loaded again is gone within a second, and who comes back is never missing."""
    await room.fill("api-1", 3)
    await room.fill("api-2", 1)
    await eventually(room.all_agree)
    await reload(room, room.people[0])
    people = list(room.people)
    async with never_missing(room, await room.of("api-1")):
        assert await room.cluster.stop("api-1") == 0
        await eventually(room.all_agree)
    assert room.people == people


async def reload(room, person):
    room.remove(person)
    await person.leave()
    left_at = time.monotonic()
    await room.enter()
    await eventually(room.all_agree)
    assert time.monotonic() - left_at < RELOADED_SECONDS


@pytest.mark.prove
@KINDS
async def test_whoever_reads_nothing_is_removed_within_15_s_and_nobody_else_notices(room):
    """More is waiting for them than the systems of both sides and their outbox take."""
    await room.fill("api-1", 2)
    await room.fill("api-2", 1)
    stalled = await room.stall()
    await eventually(lambda: all(stalled in shown for shown in room.shown()))
    large = {"op": "node.set", "id": "start", "path": ["config", "large"], "value": "x" * LARGE_BYTES}
    for person in room.people:
        for _ in range(LARGE_EDITS):
            await person.edit(large)
    assert any(stalled in shown for shown in room.shown())
    await eventually(lambda: not any(person.pending for person in room.people))
    waiting_since = time.monotonic()
    await eventually(room.all_agree)
    assert time.monotonic() - waiting_since < EXPIRED_SECONDS
    assert not any(person.closes for person in room.people)
