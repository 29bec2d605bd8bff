"""People who edit one workflow at random: through sockets, with a copy of their own, and through REST.

The client of the wire is written from its description alone, as anybody's would be: it joins with what it has, sends
again what was neither shown nor refused, joins again after a hole or a close, and believes nothing but edits in order.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from melagent.domain.draft_state import DraftState
from melagent.domain.operations import replay

Frame = dict[str, Any]
Ops = list[dict[str, Any]]

IDS = [f"step_{number}" for number in range(12)]
"""Few, so that people meet on the same nodes, take ids that are taken and edit what is gone."""

DEFINITION: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        *({"id": name, "type": "set", "config": {"fields": {}, "text": "It was a dark 🌒 night."}} for name in IDS[:6]),
    ],
    "edges": [{"source": "start", "target": name} for name in IDS[:3]],
}

UNLUCKY = {"conflict", "gone", "not_found"}
"""How an edit may be refused for what others did meanwhile."""

COMES_BACK = {1000, 1001, 1006, 1011, 1012, None} | set(range(4500, 4600))
PAUSE_SECONDS = (0.05, 0.5)


class Misbehaved(Exception):
    """The server said something that the description of the wire does not allow."""


@dataclass
class Editor:
    """Somebody at a socket. `acknowledged` are the numbers of edits that were shown to be durable, by their ids.

    `instance` is where the socket is at the moment. `history` is what every seq that was ever seen stood for.
    """

    url: str
    key: str
    workflow_id: str
    dice: random.Random = field(default_factory=random.Random)
    name: str = field(default_factory=lambda: uuid4().hex)
    state: DraftState | None = None
    peer: str | None = None
    instance: str | None = None
    last_instance: str | None = None
    people: dict[str, Any] = field(default_factory=dict)
    unseen: Counter[str] = field(default_factory=Counter)
    """How often each other peer was shown as gone."""
    pending: dict[int, Ops] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    closes: Counter[int | None] = field(default_factory=Counter)
    joins: Counter[str] = field(default_factory=Counter)
    history: dict[int, tuple[str, int]] = field(default_factory=dict)
    writes: bool = True
    _ids: Any = field(default_factory=lambda: itertools.count(1))
    _socket: aiohttp.ClientWebSocketResponse | None = None
    _session: aiohttp.ClientSession | None = None

    async def live(self, pause: float) -> None:
        """Stay connected, and edit every so often, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.present())
            group.create_task(self._edit_now_and_then(pause))

    async def present(self) -> None:
        """Stay connected, until cancelled."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.key}"}) as self._session:
            await self._stay_connected()

    def vanish(self) -> None:
        """Die with everything that was not sent yet."""
        if self._socket is not None and (line := self._socket.get_extra_info("socket")) is not None:
            line.shutdown(socket.SHUT_RDWR)

    async def leave(self) -> None:
        """Close the socket as a browser does whose page is closed or loaded again."""
        assert self._socket is not None
        await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)

    async def edit(self, ops: Ops) -> int:
        """Send an edit now or when there is a socket; its id."""
        edit_id = next(self._ids)
        self.pending[edit_id] = ops
        if self._socket is not None:
            await self._send({"type": "edit", "id": edit_id, "ops": ops})
        return edit_id

    def content(self) -> Any:
        assert self.state is not None
        return self.state.definition()

    async def _edit_now_and_then(self, pause: float) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pause)
            if self.writes and self.state is not None and len(self.pending) < 50:
                await self.edit(marked(random_ops(self.dice, self.state)))

    async def _stay_connected(self) -> None:
        while True:
            code = None
            try:
                code = await self._one_socket()
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                code = getattr(error, "status", None) and 1006
            finally:
                self._socket = self.instance = None
            self.closes[code] += 1
            if code not in COMES_BACK:
                raise Misbehaved(f"closed with {code}")
            await asyncio.sleep(self.dice.uniform(*PAUSE_SECONDS))

    async def _one_socket(self) -> int | None:
        """From the opening of a socket to its end; the code of the close."""
        assert self._session is not None
        url = f"{self.url}/api/ws/workflows/{self.workflow_id}"
        async with asyncio.timeout(20):
            opened = await self._session.ws_connect(url, max_msg_size=0, timeout=aiohttp.ClientWSTimeout(ws_close=1))
        async with opened:
            since = {} if self.state is None else {"since": self.state.seq}
            await opened.send_str(orjson.dumps({"type": "join", "client": self.name, **since}).decode())
            async with asyncio.timeout(20):
                first = await opened.receive()
            if first.type is not aiohttp.WSMsgType.TEXT:
                return opened.close_code
            self._joined(orjson.loads(first.data))
            self._socket = opened
            self.instance = self.last_instance = opened._response.headers["X-Mel-Instance"]  # of the 101
            for edit_id, ops in list(self.pending.items()):
                await self._send({"type": "edit", "id": edit_id, "ops": ops})
            while (message := await opened.receive(timeout=40)).type is aiohttp.WSMsgType.TEXT:
                if not await self._take(orjson.loads(message.data)):
                    break
            return opened.close_code

    def _joined(self, frame: Frame) -> None:
        if frame["type"] != "joined":
            raise Misbehaved(f"the first frame is {frame}")
        self.peer, self.people = frame["you"]["peer"], frame["presence"]
        self.joins["definition" if "definition" in frame else "edits"] += 1
        if "definition" in frame:
            if self.state is not None and frame["seq"] < self.state.seq:
                raise Misbehaved(f"{frame['seq']} is behind what was shown as durable: {self.state.seq}")
            self.state = DraftState.load(frame["definition"], frame["seq"])
        else:
            for edit in frame["edits"]:
                if not self._apply(edit):
                    raise Misbehaved("joined has a hole")
        if self.state is None or self.state.seq != frame["seq"]:
            raise Misbehaved("joined does not lead to its seq")

    async def _take(self, frame: Frame) -> bool:
        """Take in a frame. False when the socket is to be closed and joined anew."""
        match frame["type"]:
            case "edit":
                return self._apply(frame)
            case "refused":
                await self._refused(frame)
            case "presence":
                for peer, person in frame["changes"].items():
                    if person is None:
                        self.unseen[peer] += 1
                        self.people.pop(peer, None)
                    else:
                        self.people[peer] = person
            case "tick":
                assert self.state is not None
                return bool(frame["seq"] <= self.state.seq)
            case "error":
                raise Misbehaved(f"{frame}")
        return True

    def _apply(self, frame: Frame) -> bool:
        """Apply an edit if it is the next one; false when something is missing before it."""
        assert self.state is not None
        seq, author = frame["seq"], (frame["client"], frame["id"])
        if self.history.setdefault(seq, author) != author:
            raise Misbehaved(f"{seq} was {self.history[seq]} and is {author}")
        if seq > self.state.seq + 1:
            return False
        if seq == self.state.seq + 1:
            replay(self.state, frame["ops"], seq)
        if frame["client"] == self.name:
            self.pending.pop(frame["id"], None)
            if self.acknowledged.setdefault(frame["id"], seq) != seq:
                raise Misbehaved(f"edit {frame['id']} was {self.acknowledged[frame['id']]} and is {seq}")
        return True

    async def _refused(self, frame: Frame) -> None:
        edit_id, error = frame["id"], frame["error"]
        self.refused[error] += 1
        ops = self.pending.pop(edit_id, None)
        if edit_id in self.acknowledged:
            raise Misbehaved(f"edit {edit_id} was shown and is refused: {frame}")
        if error == "unavailable" and ops is not None:
            await self.edit(ops)
        elif error not in UNLUCKY and error != "unavailable":
            raise Misbehaved(f"{frame} for {ops}")

    async def _send(self, frame: Frame) -> None:
        assert self._socket is not None
        try:
            await self._socket.send_str(orjson.dumps(frame).decode())
        except ConnectionError:  # the reader notices the same, and comes back
            pass


@dataclass
class Caller:
    """Somebody who edits through REST. `acknowledged` are the marks of edits that were answered with success."""

    url: str
    key: str
    workflow_id: str
    dice: random.Random
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter[int | str] = field(default_factory=Counter)
    writes: bool = True
    waits: bool = False

    async def live(self, pause: float) -> None:
        """Edit every so often, until cancelled."""
        headers = {"Authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pause)
                if self.writes:
                    await self._edit(session)

    async def _edit(self, session: aiohttp.ClientSession) -> None:
        self.waits = True
        try:
            await self.dice.choice([self._rename, self._replace])(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.answers[type(error).__name__] += 1
        finally:
            self.waits = False

    async def _rename(self, session: aiohttp.ClientSession) -> None:
        mark = new_mark()
        await self._send(session, "PUT", f"/nodes/{self.dice.choice(IDS)}", {"name": mark}, mark)

    async def _replace(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self.url}/api/workflows/{self.workflow_id}/draft") as answer:
            if answer.status != 200:
                self.answers[answer.status] += 1
                return
            draft = await answer.json()
        mark, definition = new_mark(), draft["definition"]
        definition["notes"] = [{"text": mark}]
        self.dice.shuffle(definition["nodes"])
        await self._send(session, "PUT", "/draft", {"definition": definition, "revision": draft["revision"]}, mark)

    async def _send(self, session: aiohttp.ClientSession, method: str, path: str, body: Any, mark: str) -> None:
        url = f"{self.url}/api/workflows/{self.workflow_id}{path}"
        async with session.request(method, url, json=body) as answer:
            self.answers[answer.status] += 1
            if answer.status == 200:
                self.acknowledged.add(mark)
            elif answer.status not in {404, 409, 410, 502, 503, 504}:
                raise Misbehaved(f"{method} {path}: {answer.status} {await answer.text()}")


def new_mark() -> str:
    return f"mark-{uuid4().hex}"


def marked(ops: Ops) -> Ops:
    """With the mark of this edit, in a place that cannot be taken away: so each can be told from all others."""
    return [*ops, {"op": "meta.set", "path": ["notes"], "value": [{"text": new_mark()}]}]


def random_ops(dice: random.Random, state: DraftState) -> Ops:
    """Something that somebody would do who sees this draft, mostly possible."""
    node, other = dice.choice(IDS), dice.choice([*IDS, "start"])
    make = dice.choices(
        (_set_name, _move, _set_field, _unset_field, _type, _add, _remove, _rename, _connect, _disconnect),
        (4, 6, 6, 2, 8, 4, 1, 1, 3, 2),
    )[0]
    return make(dice, state, node, other)


def _set_name(dice: random.Random, _state: DraftState, node: str, _other: str) -> Ops:
    return [_set(node, ["name"], f"Name {dice.randrange(1000)}")]


def _move(dice: random.Random, _state: DraftState, node: str, _other: str) -> Ops:
    return [_set(node, ["position"], {"x": dice.randrange(2000) / 4, "y": dice.randrange(1000)})]


def _set_field(dice: random.Random, _state: DraftState, node: str, _other: str) -> Ops:
    return [_set(node, ["config", "fields", f"f{dice.randrange(9)}"], dice.choice([1, 1.5, None, "é", [1, {"a": 2}]]))]


def _unset_field(dice: random.Random, _state: DraftState, node: str, _other: str) -> Ops:
    return [{"op": "node.unset", "id": node, "path": ["config", "fields", f"f{dice.randrange(9)}"]}]


def _type(dice: random.Random, state: DraftState, node: str, other: str) -> Ops:
    """Type into a text, or take away a piece of it."""
    if node not in state.nodes:
        return _add(dice, state, node, other)
    text = str(state.nodes[node]["config"].get("text", ""))
    lengths = list(itertools.accumulate((len(character.encode("utf-16-le")) // 2 for character in text), initial=0))
    start = dice.randrange(len(lengths))
    end = min(start + dice.choice([0, 0, 0, 3, 40]), len(text))
    word = dice.choice(["night ", "🌒", "a\nb", ""])
    change = [lengths[end] - lengths[start], *(word.split("\n") if word else [])]
    around = [lengths[start]] if start else []
    left = lengths[-1] - lengths[end]
    changes = [*around, change, *([left] if left else [])] if change != [0] else ([lengths[-1]] if text else [])
    return [{"op": "text.edit", "id": node, "path": ["config", "text"], "version": state.seq, "changes": changes}]


def _add(dice: random.Random, _state: DraftState, node: str, other: str) -> Ops:
    return [
        {"op": "node.add", "id": node, "type": "set", "config": {"text": f"{dice.randrange(10)}"}},
        {"op": "edge.add", "source": "start", "target": node},
    ]


def _remove(_dice: random.Random, _state: DraftState, node: str, _other: str) -> Ops:
    return [{"op": "node.remove", "id": node}]


def _rename(_dice: random.Random, _state: DraftState, node: str, other: str) -> Ops:
    return [{"op": "node.rename", "id": node, "to": other}]


def _connect(_dice: random.Random, _state: DraftState, node: str, other: str) -> Ops:
    return [{"op": "edge.add", "source": other, "target": node}]


def _disconnect(dice: random.Random, state: DraftState, node: str, other: str) -> Ops:
    return (
        [{"op": "edge.remove", "id": dice.choice(list(state.edges))}]
        if state.edges
        else _connect(dice, state, node, other)
    )


def _set(node: str, path: list[Any], value: Any) -> dict[str, Any]:
    return {"op": "node.set", "id": node, "path": path, "value": value}
