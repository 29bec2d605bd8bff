"""Proves live editing over instances: two people on different ones, and the instance of one of them is killed.

It needs nothing but aiohttp and a way to the balancer, so it runs in a container of the image as well. As a program,
`python editing.py URL` with the key in MEL_API_KEY, it says `kill INSTANCE` and waits for a line; then `ok` and what it
saw, or `FAIL` and why.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NODE = "shared"
EDITS = 40
"""Of each, while the instance dies."""

LANDINGS = 20
"""Sockets after which two must have landed on different instances."""

SECONDS = 30.0


class Broken(Exception):
    """Something that must hold does not; the message says what was seen."""


@dataclass
class Person:
    """Somebody who adds fields to one node, and keeps a copy of its fields by the edits that are shown.

    `pending` are edits that were neither shown nor refused: they are sent again on every new socket.
    """

    http: aiohttp.ClientSession
    url: str
    client: str = field(default_factory=lambda: uuid4().hex)
    peer: str = ""
    instance: str = ""
    seq: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    people: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    """Peers that were shown as gone."""
    sockets: int = 0
    pending: dict[int, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    """The fields whose edits were shown: they are durable."""
    _ids: Any = field(default_factory=lambda: count(1))
    _socket: aiohttp.ClientWebSocketResponse | None = None

    async def live(self) -> None:
        """Be there, and come back whenever the socket breaks, until cancelled."""
        while True:
            try:
                await self._one_socket()
            except aiohttp.ClientError:
                pass
            finally:
                self._socket = None
            await asyncio.sleep(0.1)

    async def add(self, name: str) -> None:
        """Add a field, now or on the next socket."""
        edit_id = next(self._ids)
        self.pending[edit_id] = name
        if self._socket is not None:
            await self._send_edit(self._socket, edit_id)

    async def leave(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    @property
    def is_there(self) -> bool:
        return self._socket is not None

    async def _one_socket(self) -> None:
        async with self.http.ws_connect(self.url, max_msg_size=0) as socket:
            since = {} if self.seq is None else {"since": self.seq}
            await socket.send_json({"type": "join", "client": self.client, **since})
            async for message in socket:
                frame = json.loads(message.data)
                if frame["type"] == "joined":
                    self._joined(frame)
                    self.instance = socket._response.headers["X-Mel-Instance"]  # noqa: SLF001  # of the upgrade
                    for edit_id in list(self.pending):
                        await self._send_edit(socket, edit_id)
                    self._socket, self.sockets = socket, self.sockets + 1
                elif not self._take(frame):
                    return

    async def _send_edit(self, socket: aiohttp.ClientWebSocketResponse, edit_id: int) -> None:
        op = {"op": "node.set", "id": NODE, "path": ["config", "fields", self.pending[edit_id]], "value": self.client}
        try:
            await socket.send_json({"type": "edit", "id": edit_id, "ops": [op]})
        except ConnectionError:  # the reader notices it too
            pass

    def _joined(self, frame: dict[str, Any]) -> None:
        self.peer, self.people = frame["you"]["peer"], set(frame["presence"])
        if "definition" in frame:
            self.fields = fields_of(frame["definition"])
            self.seq = frame["seq"]
        for edit in frame.get("edits", []):
            self._take(edit)

    def _take(self, frame: dict[str, Any]) -> bool:
        """Take in a frame. False when edits before it are missing."""
        if frame["type"] == "refused":
            raise Broken(f"an edit was refused: {frame}")
        if frame["type"] == "presence":
            gone = {peer for peer, person in frame["changes"].items() if person is None}
            self.people = (self.people | frame["changes"].keys()) - gone
            self.missed |= gone
        if frame["type"] != "edit":
            return True
        assert self.seq is not None  # the first frame is `joined`
        if frame["seq"] > self.seq + 1:
            return False
        if frame["seq"] == self.seq + 1:
            self.seq += 1
            self.fields |= {op["path"][2]: op["value"] for op in frame["ops"]}
        if frame["client"] == self.client:
            self.shown |= {op["path"][2] for op in frame["ops"]}
            self.pending.pop(frame["id"], None)
        return True


@dataclass
class Proof:
    """`kill` ends the instance of this name at once."""

    http: aiohttp.ClientSession
    url: str
    kill: Callable[[str], Awaitable[None]]
    workflow: str = ""

    async def run(self) -> str:
        """Raise Broken when something does not hold; else say what was seen."""
        definition = {"nodes": [{"id": NODE, "type": "set", "config": {"fields": {}}}], "edges": []}
        made = await self._call("POST", "/api/workflows", {"name": "edited together", "definition": definition})
        self.workflow = f"/api/workflows/{made['id']}"
        socket_url = f"{self.url}/api/ws/workflows/{made['id']}"
        async with asyncio.TaskGroup() as group:
            ada = Person(self.http, socket_url)
            tasks = [group.create_task(ada.live())]
            await until(lambda: ada.is_there, "the first socket to be joined")
            ben, task = await self._elsewhere(ada, socket_url, group)
            tasks.append(task)
            await self._see_one_another(ada, ben)
            lost = ben.instance
            await self._edit_while_it_dies(ada, ben)
            await self._nothing_is_lost(ada, ben)
            for task in tasks:
                task.cancel()
        return (
            f"two sockets on two instances saw each other and each other's edits; {lost} was killed, its socket came "
            f"back elsewhere, was never shown as gone, and all {2 * EDITS + 2} edits are there once"
        )

    async def _elsewhere(self, ada: Person, url: str, group: asyncio.TaskGroup) -> tuple[Person, asyncio.Task[None]]:
        """Somebody whose socket is on another instance, by way of the balancer alone."""
        for _ in range(LANDINGS):
            ben = Person(self.http, url)
            task = group.create_task(ben.live())
            await until(lambda ben=ben: ben.is_there, "another socket to be joined")  # type: ignore[misc]
            if ben.instance != ada.instance:
                return ben, task
            await ben.leave()
            task.cancel()
        raise Broken(f"{LANDINGS} sockets all landed on {ada.instance}")

    async def _see_one_another(self, ada: Person, ben: Person) -> None:
        both = {ada.peer, ben.peer}
        await until(lambda: ada.people == ben.people == both, "both to see each other and nobody else")
        told = (await self._call("GET", f"{self.workflow}/presence"))["peers"]
        seats = {peer["peer"]: peer["instance"] for peer in told}
        expect(seats == {ada.peer: ada.instance, ben.peer: ben.instance}, f"presence is {seats}")
        await asyncio.gather(ada.add("first_of_ada"), ben.add("first_of_ben"))
        await until(
            lambda: ada.fields.keys() == ben.fields.keys() == {"first_of_ada", "first_of_ben"}, "the first edits"
        )

    async def _edit_while_it_dies(self, ada: Person, ben: Person) -> None:
        async def type_away(person: Person, name: str) -> None:
            for number in range(EDITS):
                await person.add(f"{name}_{number}")
                await asyncio.sleep(0.03)

        ada.missed, sockets, instance = set(), ben.sockets, ben.instance
        async with asyncio.TaskGroup() as group:
            group.create_task(type_away(ada, "ada"))
            group.create_task(type_away(ben, "ben"))
            await asyncio.sleep(0.3)
            group.create_task(self.kill(instance))
        await until(lambda: ben.sockets > sockets and ben.is_there and ada.is_there, "the socket to come back")
        expect(ben.instance != instance, f"it came back on {instance}, which was killed")

    async def _nothing_is_lost(self, ada: Person, ben: Person) -> None:
        await until(lambda: not ada.pending and not ben.pending and ada.seq == ben.seq, "all edits to be shown to both")
        draft = await self._call("GET", f"{self.workflow}/draft")
        stored, shown = fields_of(draft["definition"]), ada.shown | ben.shown
        expect(ada.fields == ben.fields == stored, "the copies and the draft differ")
        expect(shown == stored.keys(), f"shown and not there: {shown - stored.keys()}")
        expect(len(stored) == 2 * EDITS + 2 == draft["revision"] - 1, f"{len(stored)} fields at {draft['revision']}")
        both = {ada.peer, ben.peer}
        await until(lambda: ada.people == ben.people == both, "both to see each other again")
        expect(ben.peer not in ada.missed, "who came back was shown as gone")

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, f"{self.url}{path}", json=body) as answer:
            if answer.status >= 300:
                raise Broken(f"{method} {path} answered {answer.status}: {await answer.text()}")
            return await answer.json()


async def prove(url: str, key: str, kill: Callable[[str], Awaitable[None]]) -> str:
    """What was seen when all holds, through a balancer at this URL. Raises Broken."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
        try:
            return await Proof(http, url, kill).run()
        except* (Broken, aiohttp.ClientError) as problems:
            raise Broken("; ".join(map(str, problems.exceptions))) from None


def fields_of(definition: dict[str, Any]) -> dict[str, Any]:
    return dict(definition["nodes"][0]["config"]["fields"])


def expect(holds: object, seen: str) -> None:
    if not holds:
        raise Broken(seen)


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(int(SECONDS / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise Broken(f"waited {SECONDS:.0f} s for {what}")


async def ask_for_its_end(instance: str) -> None:
    print(f"kill {instance}", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    try:
        print("ok", asyncio.run(prove(sys.argv[1], os.environ["MEL_API_KEY"], ask_for_its_end)), flush=True)
    except Broken as problem:
        sys.exit(f"FAIL {problem}")
