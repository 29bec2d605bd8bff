"""`python -m benchmarks.realtime.floor DSN REDIS_PORT PORT`: what sockets, a statement and a broker cost, without hub.

It numbers updates, stores them, and passes them on when they are stored, over the product's own broker, and what
gathers while a commit is under way goes with the next. What is missing is the hub: no draft, no checks, nothing that
could be undone, nobody signed in, no presence, no limits, no slow peers, no catching up. So the ratio of the two rates
is what the hub costs. Two of these over one Redis speak as much of the product's wire as the swarm needs.

Nothing here is meant for use: an update whose statement fails is lost.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import orjson
import uvloop
from aiohttp import WSMsgType, web

from melagent.broker.redis import redis_broker
from melagent.realtime.frames import encoded
from melagent.store.pool import create_pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from melagent.broker import Broker
    from melagent.store.pool import Pool

MAX_BATCH = 1_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS floor_rooms (room text PRIMARY KEY, seq bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS floor_updates (room text, seq bigint, told text NOT NULL, PRIMARY KEY (room, seq))
"""
STORE = """
WITH wanted AS (
    SELECT room, updates FROM unnest($1::text[], $2::int[]) AS w(room, updates)
), held AS (
    SELECT r.room, w.updates FROM floor_rooms r JOIN wanted w USING (room) ORDER BY r.room FOR UPDATE OF r
), moved AS (
    UPDATE floor_rooms r SET seq = r.seq + h.updates FROM held h WHERE r.room = h.room
 RETURNING r.room, r.seq - h.updates AS base
), made AS (
    INSERT INTO floor_updates (room, seq, told)
    SELECT m.room, m.base + u.number, u.told
      FROM unnest($3::text[], $4::int[], $5::text[]) AS u(room, number, told) JOIN moved m USING (room)
)
SELECT room, base FROM moved
"""


class Floor:
    """One of two instances."""

    def __init__(self, pool: Pool, broker: Broker) -> None:
        self._pool = pool
        self._broker = broker
        self._peers: dict[str, set[asyncio.WriteTransport]] = defaultdict(set)
        self._waiting: list[tuple[str, str]] = []
        self._some = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/ws/workflows/{room}", self.connect)
        return app

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """A peer: its first frame joins the room, all others are updates."""
        room, socket = request.match_info["room"], web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert request.transport is not None
        await socket.receive()
        await self._open(room)
        self._peers[room].add(request.transport)
        request.transport.write(encoded(b'{"type":"joined","seq":0,"definition":{}}'))
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            orjson.loads(message.data)
            self._waiting.append((room, message.data))
            self._some.set()
        self._peers[room].discard(request.transport)
        return socket

    async def commit(self) -> None:
        """Store what waits, in one statement after the other, and show it."""
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            by_room: dict[str, list[str]] = defaultdict(list)
            for room, told in batch:
                by_room[room].append(told)
            for room, base in (await self._store(by_room)).items():
                self._tell(room, [_frame(seq, told) for seq, told in enumerate(by_room[room], base + 1)])
            if self._waiting:
                self._some.set()

    async def _open(self, room: str) -> None:
        if room not in self._peers:
            await self._pool.execute("INSERT INTO floor_rooms (room) VALUES ($1) ON CONFLICT DO NOTHING", room)
            await self._broker.open(room, partial(self._show_one, room))

    async def _store(self, by_room: dict[str, list[str]]) -> dict[str, int]:
        rows = [(room, number, told) for room, some in by_room.items() for number, told in enumerate(some, 1)]
        counts = [len(some) for some in by_room.values()]
        stored = await self._pool.fetch(STORE, list(by_room), counts, *map(list, zip(*rows, strict=True)))
        return {row["room"]: row["base"] for row in stored}

    def _tell(self, room: str, shown: list[bytes]) -> None:
        for frame in shown:
            self._broker.send(room, frame)
        self._show(room, shown)

    def _show_one(self, room: str, frame: bytes) -> None:
        self._show(room, [frame])

    def _show(self, room: str, shown: Iterable[bytes]) -> None:
        sent = b"".join(map(encoded, shown))
        for transport in self._peers[room]:
            transport.write(sent)


def _frame(seq: int, told: str) -> bytes:
    return b'{"seq":%d,"told":%b}' % (seq, told.encode())


async def serve(dsn: str, redis_port: int, port: int) -> None:
    pool, broker = await create_pool(dsn), redis_broker(f"redis://127.0.0.1:{redis_port}/0")
    await pool.execute(f"SELECT pg_advisory_lock(1); {SCHEMA}; SELECT pg_advisory_unlock(1)")
    await broker.start()
    floor = Floor(pool, broker)
    runner = web.AppRunner(floor.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await floor.commit()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realtime.floor")
    parser.add_argument("dsn")
    parser.add_argument("redis_port", type=int)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    uvloop.run(serve(given.dsn, given.redis_port, given.port))


if __name__ == "__main__":
    main()
