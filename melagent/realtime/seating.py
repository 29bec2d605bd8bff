"""Keeps the seats of this instance in the store, and rooms in line with the seats of all instances.

Writing lags behind joining by a moment and is tried again until it succeeds: whoever joins does not wait for it, as
presence travels with the broker as well. An instance that lost its seats, or could not say that it is there, declares
nobody dead for as long as others may need to write theirs again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import structlog

from melagent.errors import Unavailable
from melagent.loop import Loop
from melagent.realtime.presence import PRESENCE
from melagent.services.rooms import topic_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.broker import Broker
    from melagent.domain.seats import Seat
    from melagent.realtime.room import Room
    from melagent.realtime.seats import Counts, SeatStore

REFRESH_SECONDS = 3.0
EXPIRY_SECONDS = 9.0
SWEEP_SECONDS = 1.0
COMPARE_SECONDS = 3.0
ROOMS_AT_ONCE = 10
BREATH_SECONDS = 0.01
"""So many rooms are compared at once; between them edits have their turn."""

log = structlog.get_logger()


class Seating:
    """`rooms` are those that are open here."""

    def __init__(self, store: SeatStore, instance: str, broker: Broker, rooms: Mapping[UUID, Room]) -> None:
        self.store = store
        self._instance = instance
        self._broker = broker
        self._rooms = rooms
        self._held: dict[tuple[UUID, str], Seat] = {}
        self._unwritten: set[tuple[UUID, str]] = set()
        self._left: list[Seat] = []
        self._registered = False
        self._doubtful = False
        self._quiet_until = 0.0
        self.loops = (
            Loop("seats", self.one_pass, interval_seconds=REFRESH_SECONDS),
            Loop("dead seats", self.sweep, interval_seconds=SWEEP_SECONDS),
            Loop("presence", self.compare, interval_seconds=COMPARE_SECONDS),
        )

    async def open(self) -> None:
        await self.store.open()
        for loop in self.loops:
            loop.start()

    async def close(self) -> None:
        """Stop, and take this instance with all its seats out of the store."""
        for loop in self.loops:
            await loop.stop()
        try:
            await self.store.leave(self._instance)
        except self.store.AWAY as error:
            log.warning("seats not taken away", error=f"{type(error).__name__}: {error}")
        await self.store.close()

    def take(self, seat: Seat) -> None:
        """Somebody sits down here."""
        self._held[seat.workflow_id, seat.peer] = seat
        self._unwritten.add((seat.workflow_id, seat.peer))
        self.loops[0].wake()

    def give_up(self, seat: Seat) -> None:
        """A socket is gone for good. Its seat stays if another one has taken it."""
        held = self._held.get((seat.workflow_id, seat.peer))
        if held is not None and held.owner == seat.owner:
            del self._held[seat.workflow_id, seat.peer]
            self._unwritten.discard((seat.workflow_id, seat.peer))
        self._left.append(seat)
        self.loops[0].wake()

    async def people(self, workflow_id: UUID) -> list[Seat]:
        """Who is in a room, on all instances. Raises Unavailable."""
        with self._told():
            return await self.store.of_rooms([workflow_id])

    async def connections(self, after: tuple[UUID, str], limit: int) -> tuple[Counts, list[Seat]]:
        """How many peers each instance has, and a page of all of them. Raises Unavailable."""
        with self._told():
            return await self.store.count(), await self.store.page(after, limit)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.store.AWAY as error:
            log.warning("seats not read", error=f"{type(error).__name__}: {error}")
            raise Unavailable("Who is where cannot be told right now.") from error

    async def one_pass(self) -> float | None:
        """Say that this instance is there, and write what has changed of its seats."""
        try:
            await self._refresh()
            await self._write()
        except self.store.AWAY as error:
            self._doubtful = True
            log.warning("seats not written", error=f"{type(error).__name__}: {error}")
        return None

    async def sweep(self) -> float | None:
        """Take away the seats of instances that have fallen silent, and tell everybody."""
        if self._doubtful or time.monotonic() < self._quiet_until:
            return None
        try:
            gone = await self.store.sweep(EXPIRY_SECONDS)
        except self.store.AWAY as error:
            self._doubtful = True
            log.warning("seats not swept", error=f"{type(error).__name__}: {error}")
            return None
        for seat in gone:
            letter = orjson.dumps({"peer": seat.peer, "owner": seat.owner, "gone": True})
            self._broker.send(topic_of(seat.workflow_id), PRESENCE + letter, here=True)
        if gone:
            log.info("instances fell silent", instances=sorted({seat.instance for seat in gone}), seats=len(gone))
        return None

    async def compare(self) -> float | None:
        """Bring the people of open rooms in line with the seats: letters get lost. A few rooms at a time, as edits have
        their turn in between.
        """
        rooms = [room for room in self._rooms.values() if room.peers]
        try:
            for first in range(0, len(rooms), ROOMS_AT_ONCE):
                if self._doubtful or time.monotonic() < self._quiet_until:
                    break
                await self._compare(rooms[first : first + ROOMS_AT_ONCE])
                await asyncio.sleep(BREATH_SECONDS)
        except self.store.AWAY as error:
            log.warning("seats not read", error=f"{type(error).__name__}: {error}")
        return None

    async def _compare(self, rooms: Sequence[Room]) -> None:
        by_room: dict[UUID, list[Seat]] = {room.workflow_id: [] for room in rooms}
        for seat in await self.store.of_rooms(by_room.keys()):
            by_room[seat.workflow_id].append(seat)
        for room in rooms:
            room.presence.compare(by_room[room.workflow_id])
            room.presence_changed()

    async def _refresh(self) -> None:
        if not await self.store.touch(self._instance):
            await self.store.register(self._instance)
            self._unwritten.update(self._held)
            self._doubtful |= self._registered
            self._registered = True
        if self._doubtful:
            self._doubtful = False
            self._quiet_until = time.monotonic() + EXPIRY_SECONDS

    async def _write(self) -> None:
        left, self._left = self._left, []
        wanted, self._unwritten = self._unwritten, set()
        try:
            if left:
                await self.store.remove(left)
                left = []
            given = [self._held[place] for place in wanted if place in self._held]
            if given:
                self._written(given, await self.store.put(self._instance, given))
            wanted = set()
        finally:  # what failed is tried again
            self._left += left
            self._unwritten |= wanted

    def _written(self, given: list[Seat], taken: Mapping[str, datetime] | None) -> None:
        """Remember when seats were taken: they are written again with that moment. Null: we are not known any more."""
        for seat in given:
            place = (seat.workflow_id, seat.peer)
            if taken is None:
                self._unwritten.add(place)
            elif seat.owner in taken and self._held.get(place) is seat:
                self._held[place] = replace(seat, joined_at=taken[seat.owner])
        if taken is None:
            self.loops[0].wake()
