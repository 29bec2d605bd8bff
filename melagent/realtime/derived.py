"""What is derived from a draft and shown to its peers: the problems that keep it from being deployed.

Nothing waits for it. It is derived again when the draft has been still for a moment, or now and then while it is not;
large drafts less often, so that it never takes more than a small share of a core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from melagent.errors import Problem
from melagent.loop import Loop
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.realtime.room import Room

FindProblems = Callable[[dict[str, Any]], Awaitable[list[Problem]]]
"""Takes a definition that it must not change."""

PASS_SECONDS = 0.25
BREATH = 15
BREATH_SECONDS = (0.002, 0.02)
"""After deriving for a time, so many times as long nothing is derived at all, within these bounds: where people are
busy in a hundred rooms, all of these are due at once, and edits have their turn.
"""

STILL_SECONDS = 0.3
LONGEST_SECONDS = 3.0
SHARE = 20
"""After deriving for a time, so many times as long nothing is derived for the same room."""

log = structlog.get_logger()


class Derived:
    """Of the open `rooms`."""

    def __init__(self, rooms: Mapping[UUID, Room]) -> None:
        self._rooms = rooms
        self._finders: dict[Room, FindProblems] = {}
        self._rest_until: dict[UUID, float] = {}
        self._derived_at: dict[UUID, float] = {}
        self.loop = Loop("problems", self.one_pass, interval_seconds=PASS_SECONDS)

    async def first(self, room: Room, find_problems: FindProblems) -> None:
        """Derive before anybody is there, and from then on in the same way."""
        self._finders[room] = find_problems
        room.problems = await self._derive(room)

    async def one_pass(self) -> float | None:
        now = time.monotonic()
        self._rest_until = {key: until for key, until in self._rest_until.items() if until > now}
        self._derived_at = {key: at for key, at in self._derived_at.items() if key in self._rooms}
        self._finders = {room: find for room, find in self._finders.items() if not room.closed}
        for room in list(self._rooms.values()):
            if room.peers and room.derived_seq < room.seq and self._is_due(room, time.monotonic()):
                started = time.monotonic()
                await self._show(room)
                await asyncio.sleep(_breath(time.monotonic() - started))
        return None

    def _is_due(self, room: Room, now: float) -> bool:
        if room.busy or room.workflow_id in self._rest_until:
            return False
        waited = now - self._derived_at.get(room.workflow_id, 0.0)
        return now - room.changed_at >= STILL_SECONDS or waited >= LONGEST_SECONDS

    async def _show(self, room: Room) -> None:
        """Tell the peers when something else is wrong than before."""
        before, seq = room.problems, room.seq
        try:
            room.problems = await self._derive(room)
        except MAY_PASS as error:
            log.warning("problems not derived", workflow=str(room.workflow_id), error=repr(error))
            return
        if room.problems != before:
            room.show([b'{"type":"problems","seq":%d,"problems":%s}' % (seq, room.problems)])

    async def _derive(self, room: Room) -> bytes:
        started, seq = time.monotonic(), room.seq
        found = await self._finders[room](room.content())
        now = time.monotonic()
        self._derived_at[room.workflow_id] = now
        self._rest_until[room.workflow_id] = now + (now - started) * SHARE
        room.derived_seq = seq
        return orjson.dumps(found)


def _breath(took: float) -> float:
    least, most = BREATH_SECONDS
    return min(most, max(least, took * BREATH))
