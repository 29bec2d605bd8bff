"""People who edit one workflow at random: through sockets, with a copy of their own, and through REST.

The client of the wire is that of the documentation, examples/live_client.py, which is written from the pages about the
wire alone and knows nothing of our code.
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

from examples.live_client import Draft, Live

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


class Editor(Live):
    """Somebody at a socket, with the client that the documentation shows, who believes nothing.

    `acknowledged` are the numbers of edits that were shown to be durable, by their ids. `instance` is where the socket
    is at the moment. `history` is what every seq that was ever seen stood for. `unseen` is how often each other peer
    was shown as gone.
    """

    def __init__(
        self, url: str, key: str, workflow_id: str, dice: random.Random | None = None, *, writes: bool = True
    ) -> None:
        super().__init__(url, key, workflow_id)
        self.dice, self.writes = dice or random.Random(), writes
        self.peer: str | None = None
        self.instance: str | None = None
        self.people: dict[str, Any] = {}
        self.unseen: Counter[str] = Counter()
        self.acknowledged: dict[int, int] = {}
        self.refusals: Counter[str] = Counter()
        self.closes: Counter[int | None] = Counter()
        self.joins: Counter[str] = Counter()
        self.history: dict[int, tuple[str, int]] = {}

    async def live(self, pause: float) -> None:
        """Stay connected, and edit every so often, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.run())
            group.create_task(self._edit_now_and_then(pause))

    def vanish(self) -> None:
        """Die with everything that was not sent yet."""
        if self.socket is not None and (line := self.socket.get_extra_info("socket")) is not None:
            line.shutdown(socket.SHUT_RDWR)

    async def leave(self) -> None:
        """Close the socket as a browser does whose page is closed or loaded again."""
        assert self.socket is not None
        await self.socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)

    async def visit(self, session: aiohttp.ClientSession, *, leaves: bool) -> int | None:
        try:
            code = await super().visit(session, leaves=leaves)
        finally:
            self.instance = None
        self.closes[code] += 1
        if code not in COMES_BACK:
            raise Misbehaved(f"closed with {code}")
        return code

    async def take(self, frame: Frame, socket: aiohttp.ClientWebSocketResponse) -> bool:
        if (frame["type"] == "joined") != (self.socket is None):
            raise Misbehaved(f"joined comes first, and once: {frame}")
        before = self.draft.seq
        in_step = await super().take(frame, socket)
        match frame["type"]:
            case "joined":
                self.instance = socket._response.headers["X-Mel-Instance"]  # of the 101
                self._joined(frame, before)
            case "presence":
                for peer, person in frame["changes"].items():
                    self._seen(peer, person)
            case "error":
                raise Misbehaved(f"{frame}")
        return in_step

    def shown(self, edit: Frame) -> bool:
        seq, author = edit["seq"], (edit["client"], edit["id"])
        if self.history.setdefault(seq, author) != author:
            raise Misbehaved(f"{seq} was {self.history[seq]} and is {author}")
        if edit["client"] == self.client and self.acknowledged.setdefault(edit["id"], seq) != seq:
            raise Misbehaved(f"edit {edit['id']} was {self.acknowledged[edit['id']]} and is {seq}")
        return super().shown(edit)

    async def refused(self, frame: Frame) -> None:
        self.refusals[frame["error"]] += 1
        if frame["id"] in self.acknowledged:
            raise Misbehaved(f"edit {frame['id']} was shown and is refused: {frame}")
        if frame["error"] not in {*UNLUCKY, "unavailable"}:
            raise Misbehaved(f"{frame} for {self.pending.get(frame['id'])}")
        await super().refused(frame)

    def content(self) -> Any:
        return self.draft.definition()

    async def _edit_now_and_then(self, pause: float) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * pause)
            if self.writes and self.draft.seq and len(self.pending) < 50:
                await self.edit(*marked(random_ops(self.dice, self.draft)))

    def _joined(self, frame: Frame, before: int) -> None:
        if not before <= frame["seq"] == self.draft.seq:
            raise Misbehaved(
                f"joined says {frame['seq']} and leads to {self.draft.seq}, after {before} was shown as durable"
            )
        self.peer, self.people = frame["you"]["peer"], frame["presence"]
        self.joins["definition" if "definition" in frame else "edits"] += 1

    def _seen(self, peer: str, person: Any) -> None:
        if person is None:
            self.unseen[peer] += 1
            self.people.pop(peer, None)
        else:
            self.people[peer] = person


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
        draft = await self._draft(session)
        if draft is not None and draft["definition"]["nodes"]:
            mark, node = new_mark(), self.dice.choice(draft["definition"]["nodes"])
            await self._send(session, "PUT", f"/nodes/{node['id']}", {"name": mark}, mark)

    async def _replace(self, session: aiohttp.ClientSession) -> None:
        draft = await self._draft(session)
        if draft is None:
            return
        mark, definition = new_mark(), draft["definition"]
        definition["notes"] = [{"text": mark}]
        self.dice.shuffle(definition["nodes"])
        await self._send(session, "PUT", "/draft", {"definition": definition, "revision": draft["revision"]}, mark)

    async def _draft(self, session: aiohttp.ClientSession) -> Any:
        async with session.get(f"{self.url}/api/workflows/{self.workflow_id}/draft") as answer:
            if answer.status == 200:
                return await answer.json()
            self.answers[answer.status] += 1
            return None

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


def random_ops(dice: random.Random, draft: Draft) -> Ops:
    """Something that somebody would do who sees this draft, mostly possible."""
    node, other = dice.choice(IDS), dice.choice([*IDS, "start"])
    make = dice.choices(
        (_set_name, _move, _set_field, _unset_field, _type, _add, _remove, _rename, _connect, _disconnect),
        (4, 6, 6, 2, 8, 4, 1, 1, 3, 2),
    )[0]
    return make(dice, draft, node, other)


def _set_name(dice: random.Random, _draft: Draft, node: str, _other: str) -> Ops:
    return [_set(node, ["name"], f"Name {dice.randrange(1000)}")]


def _move(dice: random.Random, _draft: Draft, node: str, _other: str) -> Ops:
    return [_set(node, ["position"], {"x": dice.randrange(2000) / 4, "y": dice.randrange(1000)})]


def _set_field(dice: random.Random, _draft: Draft, node: str, _other: str) -> Ops:
    return [_set(node, ["config", "fields", f"f{dice.randrange(9)}"], dice.choice([1, 1.5, None, "é", [1, {"a": 2}]]))]


def _unset_field(dice: random.Random, _draft: Draft, node: str, _other: str) -> Ops:
    return [{"op": "node.unset", "id": node, "path": ["config", "fields", f"f{dice.randrange(9)}"]}]


def _type(dice: random.Random, draft: Draft, node: str, other: str) -> Ops:
    """Type into a text, or take away a piece of it."""
    if node not in draft.nodes:
        return _add(dice, draft, node, other)
    text = str(draft.nodes[node]["config"].get("text", ""))
    lengths = list(itertools.accumulate((len(character.encode("utf-16-le")) // 2 for character in text), initial=0))
    start = dice.randrange(len(lengths))
    end = min(start + dice.choice([0, 0, 0, 3, 40]), len(text))
    word = dice.choice(["night ", "🌒", "a\nb", ""])
    change = [lengths[end] - lengths[start], *(word.split("\n") if word else [])]
    around = [lengths[start]] if start else []
    left = lengths[-1] - lengths[end]
    changes = [*around, change, *([left] if left else [])] if change != [0] else ([lengths[-1]] if text else [])
    return [{"op": "text.edit", "id": node, "path": ["config", "text"], "version": draft.seq, "changes": changes}]


def _add(dice: random.Random, _draft: Draft, node: str, other: str) -> Ops:
    return [
        {"op": "node.add", "id": node, "type": "set", "config": {"text": f"{dice.randrange(10)}"}},
        {"op": "edge.add", "source": "start", "target": node},
    ]


def _remove(_dice: random.Random, _draft: Draft, node: str, _other: str) -> Ops:
    return [{"op": "node.remove", "id": node}]


def _rename(_dice: random.Random, _draft: Draft, node: str, other: str) -> Ops:
    return [{"op": "node.rename", "id": node, "to": other}]


def _connect(_dice: random.Random, _draft: Draft, node: str, other: str) -> Ops:
    return [{"op": "edge.add", "source": other, "target": node}]


def _disconnect(dice: random.Random, draft: Draft, node: str, other: str) -> Ops:
    return (
        [{"op": "edge.remove", "id": dice.choice(list(draft.edges))}]
        if draft.edges
        else _connect(dice, draft, node, other)
    )


def _set(node: str, path: list[Any], value: Any) -> dict[str, Any]:
    return {"op": "node.set", "id": node, "path": path, "value": value}
