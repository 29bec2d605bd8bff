"""Load: a number of keep-alive connections, each with one call under way, and every answer checked.

A process of its own and cheap to run, because it shares the machine with what it measures: raw sockets, a request that
is formatted but for its number, no HTTP library. It posts `{"n": N}` with another N each time and expects `2 * N` in a
field of the JSON answer, so an answer that belongs to another call is a fault.

The loop is closed: a connection waits for its answer before it calls again. The rate is answers a second; latencies are
what a caller sees. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import uvloop

from benchmarks.figures import latencies_ms

PATIENCE_SECONDS = 35.0
"""How long to wait for the last answers: longer than the server holds a call (30 s)."""

FIRST_NUMBER = 10_000_000
"""All numbers have eight digits, so that all requests have the same length."""

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What happened: the latency of each right answer in seconds, and the number of faults by kind."""

    latencies: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    last_answer_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What all connections share: the request with a place for its number, where `2 * N` is expected, when to stop."""

    request: bytes
    path: tuple[str, ...]
    stop_at: float
    numbers: count[int] = field(default_factory=lambda: count(FIRST_NUMBER))


class Caller(asyncio.Protocol):
    """One connection: calls, checks the answer, calls again until it is time to stop. `done` then has a result."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._tally = tally
        self._number = 0
        self._sent_at = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self._call()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = CONTENT_LENGTH.search(self._received, 0, head_end)
        if length is None:
            self._end(fault="answer without a length")
            return
        end = head_end + 4 + int(length[1])
        if len(self._received) < end:
            return
        self._count(self._fault(self._received[9:12], self._received[head_end + 4 : end]))
        self._received = self._received[end:]
        self._call()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it with one
        self._end(fault="connection lost")

    def _call(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._plan.stop_at:
            self._end()
            return
        self._number = next(self._plan.numbers)
        self._transport.write(self._plan.request % self._number)

    def _fault(self, status: bytes, body: bytes) -> str | None:
        """What is wrong with an answer, in words that are the same for all answers with this fault."""
        if status != b"200":
            return f"status {status.decode('latin-1')}"
        try:
            value = orjson.loads(body)
            for name in self._plan.path:
                value = value[name]
        except (ValueError, TypeError, KeyError):
            return "field missing"
        return None if value == 2 * self._number else "wrong value"

    def _count(self, fault: str | None) -> None:
        if fault is not None:
            self._tally.faults[fault] += 1
            return
        self._tally.last_answer_at = time.perf_counter()
        self._tally.latencies.append(self._tally.last_answer_at - self._sent_at)

    def _end(self, fault: str | None = None) -> None:
        if self.done.done():
            return
        if fault is not None:
            self._tally.faults[fault] += 1
        self.done.set_result(None)
        self._transport.close()


async def load(url: str, field_path: str, connections: int, seconds: float) -> dict[str, Any]:
    """Call `url` over so many connections for so long; the figures. `field_path` is dotted: `body.total`."""
    address, loop, tally = urlsplit(url), asyncio.get_running_loop(), Tally()
    started_at = time.perf_counter()
    plan = Plan(_request(url), tuple(field_path.split(".")), started_at + seconds)
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(
            lambda: Caller(plan, tally), address.hostname or "", address.port or 80
        )
        callers.append(caller)
    _, silent = await asyncio.wait([caller.done for caller in callers], timeout=seconds + PATIENCE_SECONDS)
    if silent:
        tally.faults["no answer"] += len(silent)
    return _figures(tally, connections, elapsed=tally.last_answer_at - started_at)


def _request(url: str) -> bytes:
    """The request; formatting it with eight digits gives it its number."""
    address = urlsplit(url)
    body = b'{"n": %d}'
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body % FIRST_NUMBER)}\r\n\r\n"
    )
    return head.replace("%", "%%").encode() + body


def _figures(tally: Tally, connections: int, elapsed: float) -> dict[str, Any]:
    """`elapsed` lasts from the first connection to the last answer, in seconds; without answers it means nothing."""
    answers, usage = len(tally.latencies), resource.getrusage(resource.RUSAGE_SELF)
    return {
        "connections": connections,
        "answers": answers,
        "faults": dict(tally.faults),
        "rate": round(answers / elapsed, 1) if answers else 0.0,
        **latencies_ms(tally.latencies),
        "load_cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("url")
    parser.add_argument("--field", default="total", help="dotted path of the field that must hold 2 * N")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    figures = uvloop.run(load(given.url, given.field, given.connections, given.seconds))
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
