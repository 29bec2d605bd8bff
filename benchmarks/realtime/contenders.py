"""Those that are measured, each as two instances with what they need, on one machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from benchmarks.processes import end_of, environment
from benchmarks.product import database, metrics_of
from benchmarks.realtime.dialects import ROOM
from deploy.local.topology import Topology, free_port, nginx_conf, required, topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from benchmarks.realtime.setting_up import Peers

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
CALLS_AT_ONCE = 20
PING_SECONDS = 0.05


@dataclass(slots=True)
class Contender:
    """Two instances that run, at `addresses`; `nginx` leads to both in turn. `cluster` is ours."""

    name: str
    dialect: str
    addresses: list[str]
    nginx: str
    pids: list[int]
    key: str = ""
    cluster: Topology | None = None
    dsn: str = ""
    """Of the floor: the database in which it stores updates."""

    made: int = field(default=0)

    def rss_bytes(self) -> int:
        """Of both instances."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids)

    def cpu_seconds(self) -> list[float]:
        """Of each instance."""
        return [sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids]

    async def rooms(self, count: int) -> list[str]:
        """So many new rooms."""
        first, self.made = self.made, self.made + count
        if self.cluster is None:
            return [f"room-{number}" for number in range(first, first + count)]
        gate = asyncio.Semaphore(CALLS_AT_ONCE)
        url, headers = f"http://{self.addresses[0]}/api/workflows", {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def make(number: int) -> str:
                body = {"name": f"room {number}", "definition": DEFINITION}
                async with gate, session.post(url, json=body) as answer:
                    if answer.status >= 300:
                        raise RuntimeError(f"no workflow was made: {answer.status} {await answer.text()}")
                    return str((await answer.json())["id"])

            return list(await asyncio.gather(*map(make, range(first, first + count))))

    async def counts(self) -> dict[str, float]:
        """What both instances of ours have counted of their rooms; nothing of the others."""
        if self.cluster is None:
            return {}
        shown = [await metrics_of(f"http://{address}") for address in self.addresses]
        return {name: sum(metrics[of] for metrics in shown) for name, of in COUNTS.items()}

    async def kill_second(self) -> None:
        """SIGKILL of the second instance."""
        os.kill(self.pids[1], signal.SIGKILL)


COUNTS = {
    "rooms": "mel_rooms",
    "peers": "mel_peers",
    "committed": "mel_edits_committed_total",
    "commits": "mel_edit_commit_seconds_count",
    "commit_seconds": "mel_edit_commit_seconds_sum",
    "races_lost": "mel_edit_races_lost_total",
    "catch_ups": "mel_room_catch_ups_total",
}

DEFINITION: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        *({"id": f"n{place}", "type": "noop", "position": {"x": 200 * place, "y": 0}} for place in range(ROOM)),
    ],
    "edges": [{"source": "start", "target": f"n{place}"} for place in range(ROOM)],
}


@asynccontextmanager
async def ours(*, redis: bool) -> AsyncIterator[Contender]:
    """The product as it is deployed, with Redis or with PostgreSQL alone; the clients' key may edit."""
    async with topology(apis=2, workers=0, redis=redis) as cluster:
        made = await cluster.call("POST", "/api/tokens", {"name": "benchmark", "role": "editor"})
        members = cluster.of_kind("api-")
        yield Contender(
            "ours" if redis else "ours, PostgreSQL alone",
            "ours",
            [f"127.0.0.1:{member.port}" for member in members],
            f"127.0.0.1:{cluster.port}",
            [member.process.pid for member in members if member.process],
            made["token"],
            cluster,
        )


@asynccontextmanager
async def peer(name: str, command: Callable[[int, int], list[str]], folder: Path) -> AsyncIterator[Contender]:
    """Two instances of another program, with a Redis and an nginx of their own. `command` takes both ports."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    redis_port, port, ports = free_port(), free_port(), [free_port(), free_port()]
    options = ["--port", str(redis_port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    (folder / "nginx.conf").write_text(nginx_conf(folder, port, ports))
    nginx = [required("nginx", "nginx-light"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    async with AsyncExitStack() as stack:
        redis = [required("redis-server", "redis-server"), *options, "--dir", str(folder)]
        await stack.enter_async_context(program(redis, redis_port, folder / "redis.log"))
        pids = [
            await stack.enter_async_context(program(command(each, redis_port), each, folder / f"{name}-{each}.log"))
            for each in ports
        ]
        await stack.enter_async_context(program(nginx, port, folder / "nginx.log"))
        yield Contender(name, name, [f"127.0.0.1:{each}" for each in ports], f"127.0.0.1:{port}", pids)


@asynccontextmanager
async def floor(folder: Path) -> AsyncIterator[Contender]:
    """Two instances of a program that stores and passes on, and does nothing else."""
    async with database(folder / "data") as dsn:

        def command(port: int, redis_port: int) -> list[str]:
            return [sys.executable, "-m", "benchmarks.realtime.floor", dsn, str(redis_port), str(port)]

        async with peer("floor", command, folder) as contender:
            contender.dialect, contender.dsn = "ours", dsn
            yield contender


@asynccontextmanager
async def program(command: list[str], port: int, log: Path) -> AsyncIterator[int]:
    """Run a program until it listens, and stop it by SIGTERM; its process id. RuntimeError when it does not come up."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, cwd=log.parent, env=environment()
        )
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{command[0]} has ended:\n{end_of(log)}")
                await asyncio.sleep(PING_SECONDS)
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def contenders(peers: Peers, folder: Path) -> dict[str, Callable[[], AbstractAsyncContextManager[Contender]]]:
    """By name, how each is started."""
    return {
        "ours": lambda: ours(redis=True),
        "ours, PostgreSQL alone": lambda: ours(redis=False),
        "floor": lambda: floor(folder / "floor"),
        "hocuspocus": lambda: peer("hocuspocus", peers.hocuspocus, folder / "hocuspocus"),
        "socketio": lambda: peer("socketio", peers.socketio, folder / "socketio"),
    }


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
