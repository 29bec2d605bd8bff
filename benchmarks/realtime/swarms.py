"""The swarm of a measurement as it is led: its processes, and what they counted, put together."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.figures import quantile
from benchmarks.processes import ROOT, environment
from benchmarks.realtime.dialects import ROOM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.realtime.contenders import Contender

SOCKETS_OF_A_PROCESS = 5_000
PROCESSES = 2
SUMS = ("sent", "delivered", "missing", "lost", "echoes", "sent_in_all", "cpu_seconds")
ANSWER_SECONDS = 180.0
"""Beyond the length of what is asked for, a swarm answers within this time."""


@dataclass(frozen=True, slots=True)
class Swarms:
    """Processes with the rooms of each."""

    processes: tuple[asyncio.subprocess.Process, ...]

    async def ask(self, within: float = 0.0, **command: Any) -> list[dict[str, Any]]:
        """Let all do something; their answers. Raises RuntimeError for what one of them could not do."""
        return await self._ask([command] * len(self.processes), within)

    async def connect(self, rooms: Sequence[str], addresses: Sequence[str]) -> float:
        """Ten sockets for each room, spread over all processes and addresses; how long it took, in seconds."""
        share = -(-len(rooms) // len(self.processes))
        commands = [
            {"do": "connect", "first": at * ROOM, "rooms": rooms[at : at + share], "addresses": addresses}
            for at in range(0, share * len(self.processes), share)
        ]
        return max(float(answer["seconds"]) for answer in await self._ask(commands, 0.0))

    async def deliver(self, rate: float, seconds: float, warm: float = 1.0) -> dict[str, Any]:
        """All processes together send `rate` updates a second; the figures of them all.

        Raises RuntimeError when somebody got what was not sent, or twice what was.
        """
        parts = await self.ask(
            seconds + warm, do="deliver", rate=rate / len(self.processes), seconds=seconds, warm=warm
        )
        if any(part["wrong"] for part in parts):
            raise RuntimeError(f"what was delivered is not what was sent: {[_brief(part) for part in parts]}")
        sums = {name: sum(part[name] for part in parts) for name in SUMS}
        took = max(part["seconds"] for part in parts)
        same, cross = (_merged(part[name] for part in parts) for name in ("same", "cross"))
        return {
            "wanted_deliveries": round(rate * (ROOM - 1)),
            "deliveries": round(sums["sent"] * (ROOM - 1) / took),
            **sums,
            "behind_ms": max(part["behind_ms"] for part in parts),
            "faults": [fault for part in parts for fault in part["faults"]][:5],
            "all": _latencies(same + cross),
            "same": _latencies(same),
            "cross": _latencies(cross),
        }

    async def _ask(self, commands: Sequence[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
        async with asyncio.timeout(seconds * 1.5 + ANSWER_SECONDS):
            answers = await asyncio.gather(*map(_told, self.processes, commands))
        if errors := [answer["error"] for answer in answers if "error" in answer]:
            raise RuntimeError(f"{commands[0]['do']}: {errors}, {answers[0].get('faults')}")
        return answers


@asynccontextmanager
async def swarms(contender: Contender, sockets: int) -> AsyncIterator[Swarms]:
    """Processes for so many sockets, without any yet. They end, with their sockets, whatever happens."""
    count = 1 if sockets <= 2 * ROOM else max(PROCESSES, -(-sockets // SOCKETS_OF_A_PROCESS))
    processes = [await _started(contender) for _ in range(count)]
    try:
        yield Swarms(tuple(processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in processes))


async def _started(contender: Contender) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.realtime.swarm", contender.dialect,
        env=environment(), cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip  # what is run, then how
    assert process.stdin is not None
    process.stdin.write(contender.key.encode() + b"\n")
    return process


async def _told(process: asyncio.subprocess.Process, command: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(orjson.dumps(command) + b"\n")
    answer = await process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a process of the swarm ended during {command['do']}")
    told: dict[str, Any] = orjson.loads(answer)
    return told


def _merged(parts: Any) -> Counter[int]:
    merged: Counter[int] = Counter()
    for part in parts:
        merged.update({int(latency): count for latency, count in part.items()})
    return merged


def _latencies(counts: Counter[int]) -> dict[str, float]:
    """p50, p95, p99 and the maximum in milliseconds, of latencies in microseconds."""
    shares = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(quantile(counts, share) / 1000, 2) for name, share in shares.items()} if counts else {}


def _brief(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in {"same", "cross"}}
