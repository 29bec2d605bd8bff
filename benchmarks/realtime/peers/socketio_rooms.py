"""One instance of python-socketio with its Redis manager, on aiohttp and uvloop.

`socketio_rooms.py PORT REDIS_PORT`; it runs in an environment of its own.
"""

from __future__ import annotations

import sys

import socketio  # type: ignore[import-not-found]  # it is not installed where the types are checked
import uvloop
from aiohttp import web


class Rooms:
    """Hands every update to the others of its sender's room."""

    def __init__(self, redis_port: int) -> None:
        manager = socketio.AsyncRedisManager(f"redis://127.0.0.1:{redis_port}/0")
        self.server = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)
        self._room_of: dict[str, str] = {}
        self.server.on("join", self.join)
        self.server.on("update", self.update)
        self.server.on("disconnect", self.disconnect)

    async def join(self, socket: str, room: str) -> bool:
        await self.server.enter_room(socket, room)
        self._room_of[socket] = room
        return True

    async def update(self, socket: str, text: str) -> None:
        await self.server.emit("update", text, room=self._room_of[socket], skip_sid=socket)

    async def disconnect(self, socket: str, _reason: str) -> None:
        self._room_of.pop(socket, None)


async def _application(redis_port: int) -> web.Application:
    application = web.Application()
    Rooms(redis_port).server.attach(application)
    return application


if __name__ == "__main__":
    port, redis = map(int, sys.argv[1:])
    uvloop.install()
    web.run_app(_application(redis), host="127.0.0.1", port=port, access_log=None, print=None)
