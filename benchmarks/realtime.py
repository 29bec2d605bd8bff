"""Live editing under load: rooms of 10, 100 and 1,000 connections over two instances, by steps of the rate.

    python -m benchmarks.realtime --dsn postgresql://… [--redis redis://…] [--rooms 10 100] [--connections 1000] \
        [--rates 1000 2000 …] [--seconds 10] [--out realtime.json]

Two `server realtime` processes; connections are spread evenly over both, rooms over all connections. Each step sends
edits (130 bytes, durable before they are shown) at a rate of deliveries a second, and takes the time from sending an
edit to its arrival at every connection of the room, apart for the sender's instance and the other one. Afterwards the
database must hold as many edits as were acknowledged, and every connection the same number as the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import socket
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import asyncpg
import uvloop

from benchmarks.machine import machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

ROOT = Path(__file__).parents[1]
KEY = "the-key-of-the-benchmark"
SEQ = re.compile(rb'^\{"type":"edit","seq":(\d+)')
SENT_AT = re.compile(rb'"value":"t(\d+) (\d)')
"""When, on the clock of the load generator, and on which instance an edit was sent: part of the value that it sets."""

NODES = 10


@dataclass(slots=True)
class Measured:
    """The times from sending to arrival, in seconds."""

    same: list[float] = field(default_factory=list)
    cross: list[float] = field(default_factory=list)
    deliveries: int = 0


@dataclass(slots=True)
class Connection:
    """One client in a room, on the instance with this number."""

    socket: aiohttp.ClientWebSocketResponse[Any]
    instance: int
    seq: int
    sent: int = 0
    reading: asyncio.Task[None] | None = None

    async def send(self) -> None:
        self.sent += 1
        node, at = random.randrange(NODES), time.perf_counter_ns()
        await self.socket.send_str(
            f'{{"type":"edit","id":{self.sent},"ops":[{{"op":"node.set","id":"n{node}","path":["name"],'
            f'"value":"t{at} {self.instance} {"x" * 16}"}}]}}'
        )

    async def read(self, measured: Measured) -> None:
        async for message in self.socket:
            text = message.data
            if not (found := SEQ.match(text)):
                continue
            now = time.perf_counter_ns()
            self.seq = int(found[1])
            sent = SENT_AT.search(text)
            if sent is not None:
                times = measured.same if int(sent[2]) == self.instance else measured.cross
                times.append((now - int(sent[1])) / 1e9)
                measured.deliveries += 1


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    results = []
    async with (
        instances(options.dsn, options.redis) as urls,
        aiohttp.ClientSession(headers={"X-API-Key": KEY}, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        for size in options.rooms:
            results += [each async for each in steps(http, urls, options, size)]
    return {"machine": machine(), "bus": "redis" if options.redis else "postgres", "results": results}


async def steps(
    http: aiohttp.ClientSession, urls: Sequence[str], options: argparse.Namespace, size: int
) -> AsyncIterator[dict[str, Any]]:
    """Each rate in turn, with rooms of one size, until an instance does not keep up."""
    rooms = [await room(http, urls, options.dsn, size) for _ in range(max(1, options.connections // size))]
    connections = [connection for _, members in rooms for connection in members]
    for rate in options.rates:
        measured = Measured()
        for connection in connections:
            connection.reading = asyncio.create_task(connection.read(measured))
        started = time.perf_counter()
        await drive(connections, rate / size, options.seconds)
        await settled(connections, rooms)
        seconds = time.perf_counter() - started
        for connection in connections:
            assert connection.reading is not None
            connection.reading.cancel()
            await asyncio.gather(connection.reading, return_exceptions=True)
        result = {
            "room": size,
            "connections": len(connections),
            "asked_per_second": rate,
            "deliveries_per_second": round(measured.deliveries / seconds),
            "same": percentiles(measured.same),
            "cross": percentiles(measured.cross),
        }
        print(result, file=sys.stderr)
        yield result
        if result["deliveries_per_second"] < rate * 0.8:
            break
    await prove(options.dsn, rooms)
    for connection in connections:
        await connection.socket.close()


async def drive(connections: Sequence[Connection], edits_per_second: float, seconds: float) -> None:
    """Send edits at a rate, each from some connection; what is late is sent at once."""
    loop = asyncio.get_running_loop()
    began, sent, total = loop.time(), 0, int(edits_per_second * seconds)
    while sent < total:
        due = min(total, int((loop.time() - began) * edits_per_second))
        for _ in range(due - sent):
            await random.choice(connections).send()
        sent = due
        await asyncio.sleep(0.001)


async def settled(connections: Sequence[Connection], rooms: Sequence[tuple[str, list[Connection]]]) -> None:
    """Wait until all connections of each room have come equally far."""
    async with asyncio.timeout(60):
        while True:
            before = [connection.seq for connection in connections]
            await asyncio.sleep(0.2)
            after = [connection.seq for connection in connections]
            level = all(len({c.seq for c in members}) == 1 for _, members in rooms)
            if before == after and level:
                return


async def room(http: aiohttp.ClientSession, urls: Sequence[str], dsn: str, size: int) -> tuple[str, list[Connection]]:
    """A workflow, and its connections spread over the instances."""
    workflow_id = str(uuid4())
    nodes = [{"id": f"n{number}", "type": "noop"} for number in range(NODES)]
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("INSERT INTO workflows (id, name) VALUES ($1, 'benchmark')", workflow_id)
        definition = json.dumps({"nodes": nodes, "edges": []})
        statement = "INSERT INTO drafts (workflow_id, definition) VALUES ($1, $2)"
        await connection.execute(statement, workflow_id, definition)
    finally:
        await connection.close()
    return workflow_id, [await join(http, urls, number % len(urls), workflow_id) for number in range(size)]


async def join(http: aiohttp.ClientSession, urls: Sequence[str], instance: int, workflow_id: str) -> Connection:
    url = f"{urls[instance]}/api/ws/workflows/{workflow_id}"
    opened = await http.ws_connect(url, max_msg_size=0, decode_text=False)
    await opened.send_json({"type": "join", "client": uuid4().hex})
    joined = json.loads((await opened.receive()).data)
    return Connection(opened, instance, joined["seq"])


async def prove(dsn: str, rooms: Sequence[tuple[str, list[Connection]]]) -> None:
    """Everything that was sent is stored, and everybody is where the database is."""
    connection = await asyncpg.connect(dsn)
    try:
        for workflow_id, members in rooms:
            seq = await connection.fetchval("SELECT seq FROM drafts WHERE workflow_id = $1", workflow_id)
            stored = await connection.fetchval("SELECT count(*) FROM edits WHERE workflow_id = $1", workflow_id)
            assert stored == sum(member.sent for member in members), (stored, "edits are stored")
            assert {member.seq for member in members} == {seq}, "somebody is behind"
    finally:
        await connection.close()


def percentiles(times: list[float]) -> dict[str, float]:
    """In milliseconds."""
    if not times:
        return {}
    ordered = sorted(times)
    return {f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1000, 2) for p in (50, 95, 99)}


@asynccontextmanager
async def instances(dsn: str, redis: str | None) -> AsyncIterator[list[str]]:
    """Two realtime servers on free ports."""
    ports, processes = free_ports(2), []
    environment = {**os.environ, "DATABASE_URL": dsn, "MEL_API_KEY": KEY, "MEL_LOG_LEVEL": "warning"}
    environment |= {"REDIS_URL": redis} if redis else {}
    try:
        for port in ports:
            command = (sys.executable, "-m", "melagent", "realtime", "--host", "127.0.0.1", "--port", str(port))
            processes.append(await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            await ready(url)
        yield urls
    finally:
        for process in processes:
            process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


async def ready(url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def free_ports(count: int) -> list[int]:
    lines = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [line.getsockname()[1] for line in lines]
    for line in lines:
        line.close()
    return ports


def doubling(first: int, last: int) -> Iterator[int]:
    yield from (first * 2**power for power in range(20) if first * 2**power <= last)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True, help="a migrated database")
    parser.add_argument("--redis", help="with it Redis carries what goes between the instances")
    parser.add_argument("--rooms", type=int, nargs="+", default=[10, 100, 1000], help="connections in a room")
    parser.add_argument("--connections", type=int, default=1000, help="connections in all")
    parser.add_argument("--rates", type=int, nargs="+", default=[9_000, *doubling(18_000, 144_000)])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--out", help="where the results go besides standard output")
    found = parser.parse_args()
    assert all(one < other for one, other in pairwise(found.rates)), "rates rise"
    return found


if __name__ == "__main__":
    given = options()
    report = json.dumps(uvloop.run(measure(given)), indent=1)
    if given.out:
        Path(given.out).write_text(report)
    print(report)
