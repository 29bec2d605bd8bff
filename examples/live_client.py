"""Rename a node while others edit the same workflow: python live_client.py URL WORKFLOW_ID NODE_ID NAME.

The key is in the environment variable MEL_API_KEY. The edit is done once, however often the line breaks.
"""

import asyncio
import os
import random
import sys
from uuid import uuid4

import aiohttp


class Live:
    """A draft that stays in step: `nodes` by id, and the edits of ours that were not acknowledged yet."""

    def __init__(self, url: str, key: str, workflow_id: str) -> None:
        self.url, self.headers = f"{url}/api/ws/workflows/{workflow_id}", {"X-API-Key": key}
        self.client, self.seq, self.last_id = uuid4().hex, 0, 0
        self.nodes: dict[str, dict] = {}
        self.pending: dict[int, list[dict]] = {}

    def edit(self, *ops: dict) -> None:
        self.last_id += 1
        self.pending[self.last_id] = list(ops)

    async def run(self) -> None:
        """Stay in the room until all of our edits are stored."""
        async with aiohttp.ClientSession(headers=self.headers) as session:
            while self.pending:
                async with session.ws_connect(self.url, max_msg_size=0) as socket:
                    await socket.send_json({"type": "join", "client": self.client})
                    async for message in socket:
                        await self.take(message.json(), socket)
                        if not self.pending:
                            return
                if 4400 <= (socket.close_code or 0) < 4500:
                    raise SystemExit(f"closed for good: {socket.close_code}")
                await asyncio.sleep(random.uniform(0.5, 2))  # noqa: S311  # jitter, not a secret

    async def take(self, frame: dict, socket: aiohttp.ClientWebSocketResponse) -> None:
        if frame["type"] == "joined":
            self.nodes, self.seq = {node["id"]: node for node in frame["definition"]["nodes"]}, frame["seq"]
            self.pending = {number: ops for number, ops in self.pending.items() if number > frame["last_id"]}
            for number, ops in self.pending.items():
                await socket.send_json({"type": "edit", "id": number, "ops": ops})
        elif frame["type"] == "edit" and frame["seq"] == self.seq + 1:
            self.seq = frame["seq"]
            print(f"{frame['seq']}: {frame['by']['name']} {[op['op'] for op in frame['ops']]}")
            for op in frame["ops"]:  # a client that shows more applies the other operations as well
                if op["op"] == "node.set" and op["path"] == ["name"]:
                    self.nodes[op["id"]]["name"] = op["value"]
        elif frame["type"] == "refused":
            raise SystemExit(f"{frame['error']}: {frame['message']}")
        if frame["type"] == "edit" and frame["client"] == self.client:
            self.pending.pop(frame["id"], None)


if __name__ == "__main__":
    live = Live(sys.argv[1], os.environ["MEL_API_KEY"], sys.argv[2])
    live.edit({"op": "node.set", "id": sys.argv[3], "path": ["name"], "value": sys.argv[4]})
    asyncio.run(live.run())
