"""The commit lane: one for each instance. What has gathered in all rooms is committed in one statement.

While a commit is under way the next gathers, so a busy instance commits fuller and not more often.

The statement takes effect for a draft only if it is still where its room is. A room that another instance was faster
with reads what it missed, checks its edits on that, and tries again with the next commit. Of two instances that are
busy in the same room one could lose that race again and again. So a room that has lost it several times in a row is
**contested** for a second: its edits are committed by another track, which first locks the drafts, reads what it missed
and checks the edits on that. Nobody else can be faster then, and whoever waits for a lock gets it in turn. But locks
that are held for several round trips hold others up, so this is not how everybody commits.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from melagent.realtime import metrics
from melagent.realtime.edits import Committed
from melagent.store import edits, rooms
from melagent.store.kept import Kept
from melagent.store.pool import BAD_DATA, MAY_PASS, transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.realtime.edits import Waiting
    from melagent.realtime.room import Room
    from melagent.store.edits import DraftEdits
    from melagent.store.pool import Pool
    from melagent.store.rows import Edit

MAX_ROOMS = 500
MAX_EDITS = 1_000
CHECK_SECONDS = 0.02
"""For so long edits of a pass are checked and applied; others have their turn before those that are left."""

COMMIT_SECONDS = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The drafts whose edits are stored, with the time; and of the others what was stored before, which rooms lack."""

    won: dict[UUID, datetime]
    missed: Sequence[Edit] = ()


class Track:
    """Rooms that have something to commit, committed by one task."""

    def __init__(self, name: str, one_pass: Callable[[dict[Room, None]], Awaitable[None]]) -> None:
        self._name = name
        self._one_pass = one_pass
        self._ready: dict[Room, None] = {}
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, room: Room) -> None:
        self._ready[room] = None
        self._there.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._there.wait()
            self._there.clear()
            await self._one_pass(self._ready)
            if self._ready:
                self._there.set()


class Lane:
    """`on_repeated` is told of edits that repeat one that was committed before."""

    def __init__(self, pool: Pool, on_repeated: Callable[[Room, Waiting], None]) -> None:
        self._pool = pool
        self._kept = Kept(pool)
        self._on_repeated = on_repeated
        self._free = Track("commit lane", self._commit_free)
        self._contested = Track("commit lane, contested", self._commit_contested)

    def ready(self, room: Room) -> None:
        """Edits of this room can be committed. A room that turns out not to be ready comes again when it is."""
        (self._contested if room.contested else self._free).add(room)

    def start(self) -> None:
        self._free.start()
        self._contested.start()

    async def stop(self) -> None:
        """End; of what is being committed it is then unknown whether it was."""
        await self._free.stop()
        await self._contested.stop()
        await self._kept.close()

    async def _commit_free(self, ready: dict[Room, None]) -> None:
        """Commit what is ready, in one statement."""
        begun = self._begin(ready)
        if begun:
            await self._settle(begun, self._store(begun))

    async def _commit_contested(self, ready: dict[Room, None]) -> None:
        """Commit what is ready on drafts that nobody else can change meanwhile."""
        taken = list(ready)[:MAX_ROOMS]
        for room in taken:
            del ready[room]
        wanted = [room for room in taken if room.is_ready]
        begun: list[tuple[Room, DraftEdits]] = []
        stored = not wanted or await self._settle(begun, self._store_held(wanted, begun))
        for room in wanted:
            if room.is_ready:  # nothing was begun, or there is more
                self.ready(room) if stored else room.fall_behind()

    def _begin(self, ready: dict[Room, None]) -> list[tuple[Room, DraftEdits]]:
        """Check and apply edits of rooms, which are taken out of `ready`, until it is enough for one statement."""
        begun: list[tuple[Room, DraftEdits]] = []
        count, until = 0, time.monotonic() + CHECK_SECONDS
        while ready and count < MAX_EDITS and (not begun or time.monotonic() < until):
            room = next(iter(ready))
            if room.alone and begun:
                break
            del ready[room]
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

    async def _store(self, begun: Iterable[tuple[Room, DraftEdits]]) -> Outcome:
        drafts = [draft for _, draft in begun]
        async with self._kept as conn:
            won = await edits.commit(conn, drafts)
            lost = {draft.workflow_id: draft.base_seq for draft in drafts if draft.workflow_id not in won}
            return Outcome(won, await edits.after_each(conn, lost) if lost else ())

    async def _store_held(self, wanted: list[Room], begun: list[tuple[Room, DraftEdits]]) -> Outcome:
        """Lock the drafts of rooms, bring the rooms where these are, and only then check and store their edits."""
        async with transaction(self._pool) as conn:
            heads = await rooms.lock(conn, [room.workflow_id for room in wanted])
            behind = {r.workflow_id: r.seq for r in wanted if heads.get(r.workflow_id, 0) > r.seq}
            missed = _by_draft(await edits.after_each(conn, behind) if behind else ())
            level: dict[Room, None] = {}
            for room in wanted:
                room.arrived(map(Committed.stored, missed[room.workflow_id]))
                if room.seq == heads.get(room.workflow_id):
                    level[room] = None
                else:  # a hole, or there is no such draft any more
                    room.fall_behind()
            begun += self._begin(level)
            return Outcome(await edits.commit(conn, [draft for _, draft in begun]) if begun else {})

    async def _settle(self, begun: list[tuple[Room, DraftEdits]], storing: Awaitable[Outcome]) -> bool:
        """Tell rooms what has become of their edits. False when nothing could be stored."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                outcome = await storing
        except BAD_DATA as error:
            log.warning("edits not stored", error=repr(error), drafts=len(begun))
            for room, _ in begun:
                room.unstorable()
            return True
        except MAY_PASS as error:
            log.warning("commit of edits failed", error=f"{type(error).__name__}: {error}", drafts=len(begun))
            for room, _ in begun:
                room.lost(unknown=True)
            return False
        except asyncio.CancelledError:
            for room, _ in begun:
                room.lost(unknown=True)
            raise
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        metrics.COMMIT_EDITS.observe(sum(len(draft.edits) for _, draft in begun))
        missed = _by_draft(outcome.missed)
        for room, draft in begun:
            if (at := outcome.won.get(draft.workflow_id)) is not None:
                room.committed(at)
            else:
                metrics.RACES_LOST.inc()
                room.arrived(map(Committed.stored, missed[draft.workflow_id]))
                room.lost()
        return True


def _by_draft(found: Iterable[Edit]) -> dict[UUID, list[Edit]]:
    drafts: dict[UUID, list[Edit]] = defaultdict(list)
    for edit in found:
        drafts[edit.workflow_id].append(edit)
    return drafts
