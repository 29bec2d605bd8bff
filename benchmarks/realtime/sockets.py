"""One socket of the swarm. Its `data_received` is what the load generator spends its time in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from benchmarks.realtime import frames
from benchmarks.realtime.dialects import MARK, SENDERS, mark

if TYPE_CHECKING:
    from benchmarks.realtime.dialects import Dialect, Seat

SLOT_US = 20
SLOTS = 100_000
"""Latencies are counted in slots of 20 µs up to two seconds; the last slot is for all that took longer."""


def clock_us() -> int:
    """A clock that all processes of this machine share."""
    return time.monotonic_ns() // 1000


@dataclass(slots=True)
class Tally:
    """What all sockets of a process count together. Latencies are counted from `from_us` on, when updates were due."""

    from_us: int = 0
    same: list[int] = field(default_factory=lambda: [0] * SLOTS)
    cross: list[int] = field(default_factory=lambda: [0] * SLOTS)
    got: int = 0
    lost: int = 0
    """Sockets that were closed by the other side."""

    faults: list[str] = field(default_factory=list)

    def begin(self, from_us: int) -> None:
        self.from_us, self.same, self.cross = from_us, [0] * SLOTS, [0] * SLOTS


class Socket(asyncio.Protocol):
    """Opens, joins the room of its seat (`joined` then has a result), and counts what it gets."""

    __slots__ = (
        "_closing",
        "_dialect",
        "_host",
        "_rest",
        "_tally",
        "_transport",
        "_upgrading",
        "arrivals",
        "joined",
        "lost",
        "seat",
    )

    def __init__(self, seat: Seat, host: str, dialect: Dialect, tally: Tally, arrivals: dict[int, int] | None) -> None:
        loop = asyncio.get_running_loop()
        self.seat = seat
        self.joined: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.arrivals = arrivals
        """With it, when each update came first, by its number; what comes twice is counted once."""

        self._host = host
        self._dialect = dialect
        self._tally = tally
        self._rest = b""
        self._upgrading = True
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self._transport.write(self._dialect.open(self._host, self.seat))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._tally.lost += 1
        if not self.joined.done():
            self.joined.set_exception(ConnectionError(f"{self.seat.name} was closed before it had joined: {exc}"))
            self.joined.exception()  # whoever waits for it is told; maybe nobody does
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = clock_us()
        if self._rest:
            data = self._rest + data
        at = self._upgraded(data) if self._upgrading else 0
        if self._upgrading:
            self._rest = data
            return
        while (found := frames.bounds(data, at)) is not None and found[1] <= len(data):
            start, stop = found
            if data[at] & 0x8:
                self._control(data[at] & 0xF, data[start:stop])
            else:
                marks = MARK.findall(data, start, stop)
                if marks:
                    self._count(marks, now)
                if not marks or self.arrivals is not None or not self.joined.done():
                    self._hear(data[start:stop])
            at = stop
        self._rest = data[at:]

    def update(self, at_us: int) -> None:
        """Send the next update, which was due at a time."""
        seat = self.seat
        seat.number += 1
        payload = self._dialect.update(seat, mark(seat.index, seat.number, at_us))
        if self.arrivals is not None:
            seat.sent.append(payload)
        self.send(payload)

    def send(self, payload: bytes) -> None:
        self._transport.write(frames.sent(self._dialect.opcode, payload))

    def close(self) -> None:
        self._closing = True
        self._transport.write(frames.sent(frames.CLOSE, b"\x03\xe8"))
        self._transport.close()

    def _upgraded(self, data: bytes) -> int:
        """Where the answer to the request ends; `_upgrading` as long as it does not."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        if data[9:12] != b"101":
            self._fail(f"not upgraded: {data[:300].decode(errors='replace')}")
            return 0
        self._upgrading = False
        self._dialect.greet(self.seat, self.send)
        return end + 4

    def _count(self, marks: list[tuple[bytes, bytes]], now: int) -> None:
        seat, tally, index = self.seat, self._tally, self.seat.index
        for ident, at in marks:
            who = int(ident)
            if self.arrivals is not None:
                self.arrivals.setdefault(who, now)
            elif who % SENDERS == index:
                seat.echoes += 1
            else:
                seat.got += 1
                seat.sum += who
                tally.got += 1
                sent_at = int(at)
                if sent_at >= tally.from_us:
                    slots = tally.cross if (who ^ index) & 1 else tally.same
                    slots[min((now - sent_at) // SLOT_US, SLOTS - 1)] += 1

    def _hear(self, payload: bytes) -> None:
        try:
            if self.joined.done():
                self._dialect.heard(self.seat, payload, self.send)
            elif self._dialect.joining(self.seat, payload, self.send):
                self.seat.joined_before = True
                self.joined.set_result(None)
        except RuntimeError as error:
            self._fail(str(error))

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            self._transport.write(frames.sent(frames.PONG, payload))
        elif opcode == frames.CLOSE and not self._closing:
            self._fail(f"closed: {int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}")

    def _fail(self, fault: str) -> None:
        self._tally.faults.append(fault)
        self._transport.close()
