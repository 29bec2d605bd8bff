"""One instance of python-socketio with its Redis manager, on aiohttp and uvloop: `socketio_rooms.py PORT REDIS_PORT`."""

import sys

import socketio
import uvloop
from aiohttp import web

port, redis = map(int, sys.argv[1:])
manager = socketio.AsyncRedisManager(f"redis://127.0.0.1:{redis}/0")
sio = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)
rooms: dict[str, str] = {}
"""The room of each socket here."""


@sio.event
async def join(sid, room):
    await sio.enter_room(sid, room)
    rooms[sid] = room
    return True


@sio.event
async def update(sid, text):
    await sio.emit("update", text, room=rooms[sid], skip_sid=sid)


@sio.event
async def disconnect(sid, reason):
    rooms.pop(sid, None)


async def app():
    application = web.Application()
    sio.attach(application)
    return application


uvloop.install()
web.run_app(app(), host="127.0.0.1", port=port, access_log=None, print=None)
