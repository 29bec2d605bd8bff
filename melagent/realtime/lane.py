"""The commit lane: one for each instance. What has gathered in all rooms is committed in one statement.

While a commit is under way the next gathers, so a busy instance commits fuller and not more often.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from melagent.realtime import metrics
from melagent.store import edits
from melagent.store.pool import BAD_DATA, MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.realtime.edits import Waiting
    from melagent.realtime.room import Room
    from melagent.store.edits import DraftEdits
    from melagent.store.pool import Pool

MAX_EDITS = 1_000
CHECK_SECONDS = 0.02
"""For so long edits of a pass are checked and applied; others have their turn before those that are left."""

COMMIT_SECONDS = 5.0

log = structlog.get_logger()


class Lane:
    """`on_repeated` is told of edits that repeat one that was committed before."""

    def __init__(self, pool: Pool, on_repeated: Callable[[Room, Waiting], None]) -> None:
        self._pool = pool
        self._on_repeated = on_repeated
        self._ready: dict[Room, None] = {}
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ready(self, room: Room) -> None:
        """Edits of this room can be committed. A room that turns out not to be ready comes again when it is."""
        self._ready[room] = None
        self._there.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="commit lane")

    async def stop(self) -> None:
        """End after the commit that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._there.wait()
            await self.one_pass()

    async def one_pass(self) -> None:
        """Commit what is ready."""
        self._there.clear()
        begun = self._begin()
        if self._ready:
            self._there.set()
        if begun:
            await self._commit(begun)

    def _begin(self) -> list[tuple[Room, DraftEdits]]:
        begun: list[tuple[Room, DraftEdits]] = []
        count, until = 0, time.monotonic() + CHECK_SECONDS
        while self._ready and count < MAX_EDITS and (not begun or time.monotonic() < until):
            room = next(iter(self._ready))
            if room.alone and begun:
                break
            del self._ready[room]
            if not room.is_ready:
                continue
            draft, repeated = room.begin()
            for edit in repeated:
                self._on_repeated(room, edit)
            if draft is not None:
                begun.append((room, draft))
                count += len(draft.edits)
            if room.alone:
                break
        return begun

    async def _commit(self, begun: list[tuple[Room, DraftEdits]]) -> None:
        drafts, started = [draft for _, draft in begun], time.perf_counter()
        try:
            async with asyncio.timeout(COMMIT_SECONDS), self._pool.acquire() as conn:
                won = await edits.commit(conn, drafts)
        except BAD_DATA as error:
            log.warning("edits not stored", error=repr(error), drafts=len(begun))
            for room, _ in begun:
                room.unstorable()
            return
        except MAY_PASS as error:
            log.warning("commit of edits failed", error=f"{type(error).__name__}: {error}", drafts=len(begun))
            for room, _ in begun:
                room.lost(unknown=True)
            return
        except asyncio.CancelledError:
            for room, _ in begun:
                room.lost(unknown=True)
            raise
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EDITS.observe(sum(len(draft.edits) for draft in drafts))
        for room, draft in begun:
            if (at := won.get(draft.workflow_id)) is not None:
                room.committed(at)
            else:
                metrics.RACES_LOST.inc()
                room.lost()
