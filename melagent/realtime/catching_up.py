"""Reads the edits that a room has missed, one reader for each room at a time, until the room is where its draft is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from melagent.realtime import metrics
from melagent.realtime.edits import Committed
from melagent.services import drafts
from melagent.store import edits, rooms
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.realtime.room import Room
    from melagent.store.pool import Pool

PAGE = 500
ON_ITS_WAY_SECONDS = 0.02
"""Letters of two instances may overtake one another. When nobody's edit waits, a missing one has so long to come."""

READ_SECONDS = 5.0
RETRY_SECONDS = 0.3

log = structlog.get_logger()


class CatchingUp:
    """`on_deleted` is told of rooms whose draft is no more."""

    def __init__(self, pool: Pool, on_deleted: Callable[[Room], None]) -> None:
        self._pool = pool
        self._on_deleted = on_deleted
        self._tasks: dict[Room, asyncio.Task[None]] = {}

    def begin(self, room: Room) -> None:
        """Bring a room up to date. Whoever calls this during a reading is served by it."""
        room.behind = True
        if room not in self._tasks:
            task = asyncio.create_task(self._catch_up(room), name=f"catching up {room.workflow_id}")
            self._tasks[room] = task

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _catch_up(self, room: Room) -> None:
        try:
            if not room.waiting:
                await asyncio.sleep(ON_ITS_WAY_SECONDS)
            if room.waiting or room.lacks:
                await self._read_all(room)
        finally:
            del self._tasks[room]
        room.caught_up()

    async def _read_all(self, room: Room) -> None:
        while True:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    done = await self.one_pass(room)
            except MAY_PASS as error:
                log.warning("edits not read", workflow=str(room.workflow_id), error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if done:
                return

    async def one_pass(self, room: Room) -> bool:
        """Read a page of what is missing. True when nothing is any more.

        Edits that are not in the table any more, or never were (a program of before edits wrote the draft), leave a
        hole: then the draft is loaded anew.
        """
        metrics.CATCH_UPS.inc()
        since = room.seq
        async with self._pool.acquire() as conn:
            head = (await rooms.heads(conn, [room.workflow_id])).get(room.workflow_id)
            found = await edits.after(conn, room.workflow_id, since, PAGE)  # all up to that head, if they are there
            if head is not None and (found[0].seq > since + 1 if found else head > since):
                room.begin_anew(await drafts.load(conn, room.workflow_id))
                return False
        room.arrived(map(Committed.stored, found))
        if head is None:
            self._on_deleted(room)
            return True
        if room.seq < head:
            return False
        room.outcome_known()
        return True
