"""A client of the wire, as the tests are: it holds the draft as every client does, by applying edits in order.

One that joins with `since` and no state of its own only looks at what comes.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.draft_state import DraftState
from melagent.domain.operations import replay

if TYPE_CHECKING:
    import aiohttp


@dataclass
class Client:
    """A client of the wire. `frames` are all that came, `state` is what its edits have made of the draft."""

    socket: aiohttp.ClientWebSocketResponse
    name: str
    joined: dict[str, Any] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)
    state: DraftState | None = None
    people: dict[str, Any] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: itertools.count(1))
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None

    async def join(self, since=None, state=None):
        await self.send({"type": "join", "client": self.name, **({} if since is None else {"since": since})})
        frame = orjson.loads((await self.socket.receive(timeout=20)).data)
        assert frame["type"] == "joined", frame
        self.joined, self.people = frame, frame["presence"]
        if "definition" in frame:
            self.state = DraftState.load(frame["definition"], frame["seq"])
        else:
            self.state = state
            for edit in frame["edits"]:
                self.apply(edit)
        assert self.state is None or self.state.seq == frame["seq"]
        self.reading = asyncio.create_task(self.read())
        return self

    async def read(self):
        async for message in self.socket:
            frame = orjson.loads(message.data)
            self.frames.append(frame)
            if frame["type"] == "edit":
                self.apply(frame)
            elif frame["type"] == "presence":
                for peer, person in frame["changes"].items():
                    if person is None:
                        self.people.pop(peer, None)
                    else:
                        self.people[peer] = person
            self.arrived.set()
        self.arrived.set()

    def apply(self, frame):
        if self.state is None or frame["seq"] <= self.state.seq:  # a repetition is answered to its author alone
            return
        assert frame["seq"] == self.state.seq + 1, (frame["seq"], self.state.seq)
        replay(self.state, frame["ops"], frame["seq"])

    async def send(self, frame):
        await self.socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def edit(self, *ops):
        """Send an edit; its id."""
        edit_id = next(self.ids)
        await self.send({"type": "edit", "id": edit_id, "ops": list(ops)})
        return edit_id

    async def answer(self, edit_id):
        """What became of an edit of ours."""

        def found():
            return next(
                (
                    f for f in self.frames
                    if f.get("id") == edit_id and (f["type"] == "refused" or f.get("client") == self.name)
                ),
                None,
            )  # fmt: skip

        return await self.until(found)

    async def frame(self, kind, after=0):
        return await self.until(lambda: next((f for f in self.frames[after:] if f["type"] == kind), None))

    async def until(self, condition, seconds=60):
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                assert not (self.reading and self.reading.done()), f"closed: {self.socket.close_code}"
                self.arrived.clear()
                await self.arrived.wait()
        return value

    async def close_code(self, seconds=60):
        async with asyncio.timeout(seconds):
            if self.reading is None:
                while not self.socket.closed:
                    await self.socket.receive()
            else:
                await self.reading
        return self.socket.close_code

    async def close(self):
        await self.socket.close()
        if self.reading is not None:
            await self.reading

    def content(self):
        return self.state.definition()


def put(name, node="done"):
    """The operation that gives a node another name."""
    return {"op": "node.set", "id": node, "path": ["name"], "value": name}
