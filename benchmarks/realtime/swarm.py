"""`python -m benchmarks.realtime.swarm DIALECT`: some hundreds or thousands of sockets, in a process of their own.

The key of the product, where one is needed, is the first line of its input. Then it takes one command a line, JSON, and
answers each with one line: `connect`, `deliver`, `follow`, `count`, `close`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import sys
import time
from collections import defaultdict
from itertools import cycle
from typing import TYPE_CHECKING, Any

import orjson
import uvloop

from benchmarks.realtime.dialects import ROOM, SENDERS, Seat, dialect
from benchmarks.realtime.sockets import SLOT_US, Socket, Tally, clock_us

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ONCE = 50
"""Sockets of this process that are opened at the same time."""

OPEN_SECONDS = 60.0
GRAIN_US = 2_000
"""An update that is sent later than that counts from when it was due; this much is the grain of the sender's clock."""

LEAST_SECONDS = 0.001
"""Between two looks at what is due: a busy sender sends several updates at once."""

SETTLE_SECONDS = 3.0
"""When nothing has come for so long, nothing will."""

DRAIN_SECONDS = 10.0
ALIVE_SECONDS = 20.0
AGAIN_SECONDS = 0.05
"""After so long a socket that was refused, or lost its instance, tries again."""


class Swarm:
    """Seats with their sockets. All peers of a room are in the same process, on all `addresses` in turn."""

    def __init__(self, name: str, key: str) -> None:
        self._dialect = dialect(name, key)
        self._tally = Tally()
        self._sockets: list[Socket] = []
        self._alive: asyncio.Task[None] | None = None

    async def connect(self, first: int, rooms: Sequence[str], addresses: Sequence[str]) -> dict[str, Any]:
        """Open ten sockets for each room, all peers from the number `first` on."""
        self._tally = Tally()
        seats = [Seat(first + number, rooms[number // ROOM]) for number in range(ROOM * len(rooms))]
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(seat: Seat) -> Socket:
            async with gate:
                return await self._open(seat, addresses[seat.index % len(addresses)], None)

        started = time.perf_counter()
        self._sockets = list(await asyncio.gather(*map(one, seats)))
        if self._dialect.keep_alive:
            self._alive = asyncio.create_task(self._keep_alive())
        gc.collect()
        gc.freeze()  # looking through all that is open takes milliseconds, which would count as the contender's
        return {"seconds": time.perf_counter() - started, **self.count()}

    def count(self) -> dict[str, Any]:
        """How many sockets are open, and what went wrong so far."""
        is_open = sum(not socket.lost.done() for socket in self._sockets)
        return {"open": is_open, "lost": self._tally.lost, "faults": self._tally.faults[:5]}

    async def close(self) -> dict[str, Any]:
        if self._alive is not None:
            self._alive.cancel()
        counted = self.count()
        for socket in self._sockets:
            if not socket.lost.done():
                socket.close()
        await asyncio.wait([asyncio.ensure_future(socket.lost) for socket in self._sockets], timeout=OPEN_SECONDS)
        self._sockets = []
        return counted

    async def deliver(self, rate: float, seconds: float, warm: float) -> dict[str, Any]:
        """Send `rate` updates a second, of which those of the first `warm` seconds are not timed."""
        begin = clock_us()
        self._tally.begin(begin + int(warm * 1e6))
        before, cpu = self._tally.got, _cpu_seconds()
        sent, behind_us = await self._send(begin, rate, warm + seconds)
        took = (clock_us() - begin) / 1e6
        await self._settle(before + sent * (ROOM - 1))
        missing, wrong = self._proved()
        return {
            "sent": sent,
            "seconds": took,
            "behind_ms": round(behind_us / 1000, 1),
            "delivered": self._tally.got - before,
            "missing": missing,
            "wrong": wrong,
            "echoes": sum(socket.seat.echoes for socket in self._sockets),
            "sent_in_all": sum(socket.seat.number for socket in self._sockets),
            "cpu_seconds": round(_cpu_seconds() - cpu, 3),
            "same": _sparse(self._tally.same),
            "cross": _sparse(self._tally.cross),
            **self.count(),
        }

    async def follow(self, rate: float, seconds: float, addresses: Sequence[str]) -> dict[str, Any]:
        """Send at a low rate while an instance dies: whoever loses its socket comes back at another address.

        Answers, in microseconds of the shared clock, when the last one had come back, and when everybody had all that
        was sent until then; and how many updates did not arrive at all.
        """
        for socket in self._sockets:
            socket.arrivals = {}
        watching = [asyncio.create_task(self._stay(place, addresses)) for place in range(len(self._sockets))]
        base = {socket.seat.index: socket.seat.number for socket in self._sockets}
        await self._send(clock_us(), rate, seconds)
        await asyncio.sleep(SETTLE_SECONDS)
        returns = [await _ended(task) for task in watching]
        sent = sum(socket.seat.number - base[socket.seat.index] for socket in self._sockets)
        return {"sent": sent, **self._in_step(base, [at for at in returns if at])}

    async def _open(self, seat: Seat, address: str, arrivals: dict[int, int] | None) -> Socket:
        host, port = address.split(":")
        socket = Socket(seat, address, self._dialect, self._tally, arrivals)
        async with asyncio.timeout(OPEN_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: socket, host, int(port))
            await socket.joined
        return socket

    async def _send(self, begin: int, rate: float, seconds: float) -> tuple[int, int]:
        """Send evenly, each seat in its turn; how many, and how far behind the plan at worst, in microseconds."""
        order = list(range(len(self._sockets)))
        random.Random(1).shuffle(order)  # the same for all
        turns = cycle(order)
        wanted, sent, behind = round(rate * seconds), 0, 0
        give_up_at = begin + int(seconds * 1.5e6)
        while sent < wanted and (now := clock_us()) < give_up_at:
            due = min(wanted, int((now - begin) * rate / 1e6) + 1)
            while sent < due:
                due_at = begin + int(sent * 1e6 / rate)
                socket = self._sockets[next(turns)]
                if not socket.lost.done() and socket.joined.done():
                    socket.update(now if now - due_at < GRAIN_US else due_at)
                behind = max(behind, now - due_at)
                sent += 1
            due_at = begin + int(sent * 1e6 / rate)
            await asyncio.sleep(max(LEAST_SECONDS, (due_at - clock_us()) / 1e6))
        return sent, behind

    async def _settle(self, expected: int) -> None:
        """Wait until everything has come, or nothing comes any more."""
        give_up_at, last, moved_at = time.monotonic() + DRAIN_SECONDS, -1, time.monotonic()
        while self._tally.got < expected and (now := time.monotonic()) < give_up_at:
            if self._tally.got != last:
                last, moved_at = self._tally.got, now
            if now - moved_at > SETTLE_SECONDS:
                return
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)  # what comes twice would come now

    def _proved(self) -> tuple[int, int]:
        """How many deliveries are missing, and how many sockets got too many, or enough, but not the right ones."""
        sent: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for seat in (socket.seat for socket in self._sockets):
            sent[seat.room][0] += seat.number
            sent[seat.room][1] += _sum_of(seat)
        missing = wrong = 0
        for seat in (socket.seat for socket in self._sockets):
            count, total = sent[seat.room][0] - seat.number, sent[seat.room][1] - _sum_of(seat)
            missing += max(0, count - seat.got)
            wrong += seat.got > count or (seat.got == count and seat.sum != total)
        return missing, wrong

    async def _stay(self, place: int, addresses: Sequence[str]) -> int:
        """Come back whenever the socket of a place is lost; when that was last, 0 for never."""
        at = 0
        try:
            while True:
                lost = self._sockets[place]
                await asyncio.shield(lost.lost)
                self._sockets[place] = await self._again(lost, addresses)
                at = clock_us()
        except asyncio.CancelledError:
            return at

    async def _again(self, lost: Socket, addresses: Sequence[str]) -> Socket:
        seat, turns = lost.seat, cycle(addresses)
        while True:
            try:
                socket = await self._open(seat, next(turns), lost.arrivals)
            except (OSError, TimeoutError):
                await asyncio.sleep(AGAIN_SECONDS * (0.5 + random.random()))
                continue
            if self._dialect.resends:
                for payload in seat.sent:
                    socket.send(payload)
            return socket

    def _in_step(self, base: dict[int, int], returns: list[int]) -> dict[str, Any]:
        back_at = max(returns, default=0)
        idents: dict[str, set[int]] = defaultdict(set)
        for seat in (socket.seat for socket in self._sockets):
            new = range(base[seat.index] + 1, seat.number + 1)
            idents[seat.room] |= {number * SENDERS + seat.index for number in new}
        in_step_at, missing = back_at, 0
        first_seen = _first_seen(self._sockets)
        for socket in self._sockets:
            assert socket.arrivals is not None
            own = {ident for ident in idents[socket.seat.room] if ident % SENDERS == socket.seat.index}
            missing += len(idents[socket.seat.room] - own - socket.arrivals.keys())
            for ident, at in socket.arrivals.items():
                if first_seen[ident] <= back_at:
                    in_step_at = max(in_step_at, at)
        return {"returned": len(returns), "back_at": back_at, "in_step_at": in_step_at, "missing": missing,
                "joined": self.count()["open"], "faults": self._tally.faults[:5]}  # fmt: skip

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            for socket in self._sockets:
                if not socket.lost.done():
                    socket.send(self._dialect.alive(socket.seat))


def _first_seen(sockets: Sequence[Socket]) -> dict[int, int]:
    """When each update came to whoever had it first."""
    seen: dict[int, int] = {}
    for socket in sockets:
        for ident, at in (socket.arrivals or {}).items():
            seen[ident] = min(at, seen.get(ident, at))
    return seen


async def _ended(task: asyncio.Task[int]) -> int:
    task.cancel()
    return await task


def _sum_of(seat: Seat) -> int:
    """The sum of the numbers of all updates that a seat has sent."""
    return SENDERS * seat.number * (seat.number + 1) // 2 + seat.index * seat.number


def _sparse(slots: list[int]) -> dict[str, int]:
    """Counts by latency in microseconds."""
    return {str(slot * SLOT_US): count for slot, count in enumerate(slots) if count}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _serve(name: str) -> None:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    swarm = Swarm(name, (await reader.readline()).decode().strip())
    while line := await reader.readline():
        command = orjson.loads(line)
        act = getattr(swarm, command.pop("do"))
        try:
            answered = act(**command)
            answer = await answered if asyncio.iscoroutine(answered) else answered
        except (OSError, TimeoutError) as error:
            answer = {"error": f"{type(error).__name__}: {error}", **swarm.count()}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
