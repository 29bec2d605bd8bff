"""Rename a node while others edit the same workflow: python live_client.py URL WORKFLOW_ID NODE_ID NAME.

The key is in the environment variable MEL_API_KEY. The edit is done once, however often the line breaks. `Live` and
`Draft` are all of a client: written from docs/collaboration.md, docs/collaboration-wire.md and docs/asyncapi.yaml.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import sys
from typing import Any
from uuid import uuid4

import aiohttp

Json = dict[str, Any]


class SentAway(Exception):
    """There is no use in coming back. Its argument is the close code."""


class Live:
    """A draft that stays in step, and by their ids the edits of ours that were neither shown nor refused yet."""

    def __init__(self, url: str, key: str, workflow_id: str) -> None:
        self.url, self.headers = f"{url}/api/ws/workflows/{workflow_id}", {"X-API-Key": key}
        self.client, self.last_id, self.sent_id, self.failures = uuid4().hex, 0, 0, 0
        self.pending: dict[int, list[Json]] = {}
        self.draft = Draft({"nodes": [], "edges": [], "settings": {}, "notes": []}, 0)
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def edit(self, *ops: Json) -> int:
        """Send an edit, now or with the next join; its id."""
        self.last_id += 1
        self.pending[self.last_id] = list(ops)
        await self.send_pending()
        return self.last_id

    async def run(self, *, leaves: bool = False) -> None:
        """Stay in the room, or if `leaves` until all of our edits are stored. Raises SentAway."""
        async with aiohttp.ClientSession(headers=self.headers, timeout=aiohttp.ClientTimeout(20)) as session:
            while self.pending or not leaves:
                code = await self.visit(session, leaves=leaves)
                if 4400 <= (code or 0) < 4500:
                    raise SentAway(code)
                self.failures += 1
                await asyncio.sleep(random.uniform(0.5, 1) * min(0.1 * 2**self.failures, 10))  # noqa: S311  # jitter

    async def visit(self, session: aiohttp.ClientSession, *, leaves: bool) -> int | None:
        """Open a socket, and stay on it for as long as that is of use; the code of its end, if there was one."""
        patience, code = aiohttp.ClientWSTimeout(ws_receive=40, ws_close=1), None  # a tick comes every 15 s
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with session.ws_connect(self.url, max_msg_size=0, timeout=patience) as socket:
                since = {"since": self.draft.seq} if self.draft.seq else {}
                await socket.send_json({"type": "join", "client": self.client, **since})
                async for message in socket:
                    if not await self.take(message.json(), socket) or (leaves and not self.pending):
                        break
            code = socket.close_code
        self.socket = None
        return code

    async def take(self, frame: Json, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Take in a frame. False when we missed something, and have to join again on a new socket."""
        if frame["type"] == "joined":
            if "definition" in frame:
                self.draft = Draft(frame["definition"], frame["seq"])
            self.socket, self.sent_id, self.failures = socket, 0, 0
            for edit in frame.get("edits", []):
                self.shown(edit)
            await self.send_pending()
            return frame["seq"] <= self.draft.seq
        if frame["type"] == "refused":
            await self.refused(frame)
        elif frame["type"] == "edit":
            return self.shown(frame)
        return frame["type"] != "tick" or frame["seq"] <= self.draft.seq

    def shown(self, edit: Json) -> bool:
        """Apply an edit if it is the next one: what is repeated only tells that it is stored. False after a hole."""
        if edit["client"] == self.client:
            self.pending.pop(edit["id"], None)
        if edit["seq"] == self.draft.seq + 1:
            self.draft.apply(edit["ops"], edit["seq"])
        return edit["seq"] <= self.draft.seq

    async def refused(self, frame: Json) -> None:
        """Forget an edit, unless only the database was away: then it is sent again as a new one."""
        ops = self.pending.pop(frame["id"], None)
        if ops and frame["error"] == "unavailable":
            await self.edit(*ops)

    async def send_pending(self) -> None:
        """Send in order what was not sent on this socket."""
        while self.socket and (left := [edit_id for edit_id in self.pending if edit_id > self.sent_id]):
            self.sent_id = left[0]
            with contextlib.suppress(ConnectionError):  # whoever reads notices the same, and comes back
                await self.socket.send_json({"type": "edit", "id": left[0], "ops": self.pending[left[0]]})


class Draft:
    """A copy of a draft. All who apply the same edits in order have equal ones."""

    def __init__(self, definition: Json, seq: int) -> None:
        self.seq = seq
        self.load(definition)

    def load(self, definition: Json) -> None:
        self.nodes = {node["id"]: node for node in definition["nodes"]}
        self.edges = {edge["id"]: edge for edge in definition["edges"]}
        self.meta = {"settings": definition["settings"], "notes": definition["notes"]}

    def definition(self) -> Json:
        return {"nodes": [*self.nodes.values()], "edges": [*self.edges.values()], **self.meta}

    def apply(self, ops: list[Json], seq: int) -> None:
        for op in ops:
            self.do(op)
        self.seq = seq

    def do(self, op: Json) -> None:
        match op:
            case {"op": "node.add", **node}:
                self.nodes[node["id"]] = node
            case {"op": "node.remove", "id": removed}:
                del self.nodes[removed]
                self.edges = {
                    edge_id: edge for edge_id, edge in self.edges.items()
                    if removed not in (edge["source"], edge["target"])
                }  # fmt: skip
            case {"op": "node.rename", "id": old, "to": new, "sets": sets}:
                self.rename(old, new)
                for each in sets:
                    put(self.nodes[each["id"]], each["path"], each["value"])
            case {"op": "node.set", "id": node_id, "path": path, "value": value}:
                put(self.nodes[node_id], path, value)
            case {"op": "node.unset", "id": node_id, "path": path}:
                take_away(self.nodes[node_id], path)
            case {"op": "text.edit", "id": node_id, "path": path, "changes": changes}:
                node = self.nodes[node_id]
                put(node, path, changed(look(node, path) or "", changes))
            case {"op": "edge.add", **edge}:
                self.edges[edge["id"]] = edge
            case {"op": "edge.remove", "id": removed}:
                del self.edges[removed]
            case {"op": "meta.set", "path": path, "value": value}:
                put(self.meta, path, value)
            case {"op": "draft.replace", "definition": definition}:
                self.load(definition)

    def rename(self, old: str, new: str) -> None:
        """The node and its edges stay where they are."""
        nodes = [{**node, "id": new} if node["id"] == old else node for node in self.nodes.values()]
        self.nodes = {node["id"]: node for node in nodes}
        for edge in self.edges.values():
            if old in (edge["source"], edge["target"]):
                edge |= {end: new for end in ("source", "target") if edge[end] == old}
                edge["id"] = edge_id(edge)
        self.edges = {edge["id"]: edge for edge in self.edges.values()}


def edge_id(edge: Json) -> str:
    name = ",".join(edge[part] for part in ("source", "source_handle", "target", "target_handle"))
    return "e_" + hashlib.sha256(name.encode()).hexdigest()[:16]


def keys(value: Any) -> Any:
    """What leads on from a value."""
    return value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def look(value: Any, path: list[Any]) -> Any:
    """What is at a path; None when there is nothing."""
    for key in path:
        if key not in keys(value):
            return None
        value = value[key]
    return value


def put(value: Any, path: list[Any], new: Any) -> None:
    """Put something at a path; objects that are missing on the way are made."""
    *way, last = path
    for key in way:
        if key not in keys(value):
            place(value, key, {})
        value = value[key]
    place(value, last, new)


def place(owner: Any, key: Any, new: Any) -> None:
    if isinstance(owner, list) and key == len(owner):
        owner.append(new)
    else:
        owner[key] = new


def take_away(value: Any, path: list[Any]) -> None:
    owner = look(value, path[:-1])
    if path[-1] in keys(owner):
        del owner[path[-1]]


def changed(text: str, changes: list[Any]) -> str:
    """The text after changes as CodeMirror writes them, which count units of UTF-16: two bytes each."""
    units, at, parts = text.encode("utf-16-le"), 0, []
    for change in changes:
        if isinstance(change, int):
            parts.append(units[at : at + 2 * change])
            at += 2 * change
        else:
            at += 2 * change[0]
            parts.append("\n".join(change[1:]).encode("utf-16-le"))
    return b"".join(parts).decode("utf-16-le")


class Renaming(Live):
    """Says what it sees, and ends when an edit is refused."""

    def shown(self, edit: Json) -> bool:
        print(f"{edit['seq']}: {edit['by']['name']} {[op['op'] for op in edit['ops']]}")
        return super().shown(edit)

    async def refused(self, frame: Json) -> None:
        if frame["error"] != "unavailable":
            raise SystemExit(f"{frame['error']}: {frame['message']}")
        await super().refused(frame)


async def rename(url: str, workflow_id: str, node_id: str, name: str) -> None:
    live = Renaming(url, os.environ["MEL_API_KEY"], workflow_id)
    await live.edit({"op": "node.set", "id": node_id, "path": ["name"], "value": name})
    try:
        await live.run(leaves=True)
    except SentAway as away:
        raise SystemExit(f"closed for good: {away}") from None


if __name__ == "__main__":
    asyncio.run(rename(*sys.argv[1:5]))
