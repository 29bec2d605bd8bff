"""The rooms and peers of one instance, and everything that looks after them."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from melagent.loop import Loop
from melagent.realtime import frames, metrics
from melagent.realtime.catching_up import CatchingUp
from melagent.realtime.derived import Derived
from melagent.realtime.ebb import Ebb, give_back_memory
from melagent.realtime.edits import frame_of
from melagent.realtime.frames import Close, Closing
from melagent.realtime.lane import Lane
from melagent.realtime.room import Room
from melagent.realtime.seating import Seating
from melagent.services import drafts, history
from melagent.services.rooms import ACCESS
from melagent.store import edits, rooms
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from uuid import UUID

    from melagent.broker import Broker
    from melagent.domain.draft_state import Refused
    from melagent.domain.editing import Rewrites
    from melagent.domain.seats import Seat
    from melagent.realtime.derived import FindProblems
    from melagent.realtime.edits import Waiting
    from melagent.realtime.peer import Peer
    from melagent.realtime.seats import SeatStore
    from melagent.services.access import Principal
    from melagent.services.standing import Standing
    from melagent.store.pool import Pool

MAX_SOCKETS = 20_000
MAX_SOCKETS_OF_A_USER = 50
EMPTY_SECONDS = 30.0
"""How long a room stays open after its last peer."""

LINGER_SECONDS = 5.0
"""How long somebody whose socket broke may take to come back before the others are told."""

FAREWELL_STEP_SECONDS = 0.05
"""An instance that stops sends a peer away every so often, or more often when there are many."""

MAX_AFTER_MS = 1_000

WATCH_SECONDS = 1.0
COMPARE_SECONDS = 2.0
TICK_SECONDS = 15.0
STANDING_SECONDS = 5.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rooms need of the rest of the program: how references follow a renamed node, and for each draft something
    that finds what is wrong with it.
    """

    rewrites: Rewrites
    find_problems: Callable[[], FindProblems]


class Hub:
    """Opened before the first socket, closed after the last."""

    def __init__(  # noqa: PLR0917  # what it stands on
        self,
        pool: Pool,
        broker: Broker,
        instance: str,
        seats: SeatStore,
        standing: Standing,
        surroundings: Surroundings,
    ) -> None:
        self.pool = pool
        self.instance = instance
        self.standing = standing
        self.rooms: dict[UUID, Room] = {}
        self.peers: set[Peer] = set()
        self._ebb = Ebb()
        self.closers: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None
        self.seating = Seating(seats, instance, broker, self.rooms)
        self.lane = Lane(pool, self._repeated)
        self._broker = broker
        self._rewrites = surroundings.rewrites
        self._find_problems = surroundings.find_problems
        self._derived = Derived(self.rooms)
        self._catching_up = CatchingUp(pool, self.deleted)
        self._opening: dict[UUID, asyncio.Task[Room]] = {}
        self._keeping = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._lingering: list[tuple[float, Room, Seat]] = []
        self._standing_loop = Loop("standing", self.check_standing, interval_seconds=STANDING_SECONDS)
        self._loops = (
            Loop("sockets", self.watch, interval_seconds=WATCH_SECONDS),
            Loop("rooms", self.compare, interval_seconds=COMPARE_SECONDS),
            Loop("ticks", self.tick, interval_seconds=TICK_SECONDS),
            self._standing_loop,
            self._derived.loop,
        )
        broker.subscribe(ACCESS, lambda _: self._standing_loop.wake())
        broker.on_gap(self._gap)

    async def open(self) -> None:
        self.lane.start()
        for loop in self._loops:
            loop.start()
        await self.seating.open()

    async def close(self) -> None:
        """Close what is open still, and let everything go."""
        await self.drain(0.0)
        for loop in self._loops:
            await loop.stop()
        for task in (*self._opening.values(), *self._background):
            task.cancel()
        await asyncio.gather(*self._opening.values(), *self._background, *self.closers, return_exceptions=True)
        await self._catching_up.stop()
        await self.lane.stop()
        for room in list(self.rooms.values()):
            self._forget(room)
        await self.seating.close()

    def load(self) -> dict[str, int]:
        """How much there is here."""
        return {"rooms": len(self.rooms), "peers": len(self.peers)}

    async def drain(self, seconds: float) -> None:
        """Let nobody in any more, and send the peers away, spread over at most so many seconds: they go elsewhere.

        Whoever calls this again waits for the end of the first call.
        """
        if self._draining is None:
            self._draining = asyncio.create_task(self._send_away(seconds), name="farewell")
        await asyncio.shield(self._draining)

    async def _send_away(self, seconds: float) -> None:
        leaving = list(self.peers)
        random.shuffle(leaving)
        step = min(seconds / max(1, len(leaving)), FAREWELL_STEP_SECONDS)
        for peer in leaving:
            peer.send(frames.reconnect(random.randint(0, MAX_AFTER_MS)))  # noqa: S311  # jitter, not a secret
            peer.close(Close.RESTART, "This instance stops; connect again.")
            if step:
                await asyncio.sleep(step)
        if self.closers:
            await asyncio.wait(self.closers)

    # Sockets

    def admit(self, principal: Principal) -> None:
        """Raise Closing when no other socket can be taken."""
        if self._draining is not None:
            raise Closing(Close.RESTART, "This instance stops; connect again.")
        if len(self.peers) >= MAX_SOCKETS:
            raise Closing(Close.FULL, "This instance is full; connect again later.")
        if principal.kind == "user":
            own = sum(peer.principal.id == principal.id for peer in self.peers)
            if own >= MAX_SOCKETS_OF_A_USER:
                raise Closing(Close.FULL, f"At most {MAX_SOCKETS_OF_A_USER} sockets of one user.")

    def linger(self, room: Room, seat: Seat) -> None:
        """A socket broke: its person has a moment to come back."""
        self._lingering.append((time.monotonic() + LINGER_SECONDS, room, seat))

    def leave(self, room: Room, seat: Seat) -> None:
        """A socket is gone for good."""
        room.presence.leave(seat.peer, seat.owner)
        room.presence_changed()
        self.seating.give_up(seat)

    # Rooms

    async def enter(self, workflow_id: UUID) -> Room:
        """The open room of a workflow, pinned until `unpin`. NotFound when there is no such workflow."""
        while True:
            room = self.rooms.get(workflow_id)
            if room is not None:
                room.pins += 1
                return room
            opening = self._opening.get(workflow_id)
            if opening is None:
                opening = asyncio.create_task(self._open(workflow_id), name=f"opening {workflow_id}")
                self._opening[workflow_id] = opening
                opening.add_done_callback(lambda done: self._opened(workflow_id, done))
            await asyncio.shield(opening)

    def _opened(self, workflow_id: UUID, done: asyncio.Task[Room]) -> None:
        del self._opening[workflow_id]
        if not done.cancelled():
            done.exception()  # those who wait for it are told; maybe nobody is any more

    def unpin(self, room: Room) -> None:
        room.pins -= 1
        if not room.pins:
            room.empty_since = time.monotonic()

    async def _open(self, workflow_id: UUID) -> Room:
        """Hear of edits first and read the draft then, so that none falls between the two."""
        room = Room(
            workflow_id,
            self.instance,
            self._broker,
            self._rewrites,
            self,
        )
        await self._broker.open(room.topic, room.receive)
        try:
            async with self.pool.acquire() as conn:
                state = await drafts.load(conn, workflow_id)
            room.load(state)
            await self._derived.first(room, self._find_problems())
        except BaseException:
            self._broker.close(room.topic)
            room.close()
            raise
        room.empty_since = time.monotonic()
        self.rooms[workflow_id] = room
        metrics.ROOMS.set(len(self.rooms))
        room.ask_who_is_there()
        return room

    def _forget(self, room: Room) -> None:
        if self.rooms.get(room.workflow_id) is room:
            del self.rooms[room.workflow_id]
            self._broker.close(room.topic)
            room.close()
            metrics.ROOMS.set(len(self.rooms))

    def deleted(self, room: Room) -> None:
        for peer in list(room.peers):
            peer.close(Close.NOT_FOUND, "The workflow was deleted.")
        self._forget(room)

    # What is done every few seconds

    async def watch(self) -> float | None:
        """Send away who takes nothing, refuse what waits too long, close rooms that stay empty."""
        now = asyncio.get_running_loop().time()
        for peer in list(self.peers):
            if peer.outbox.is_stalled(now):
                peer.close(Close.TOO_SLOW, "You have not read anything for a while.")
        self._end_lingering(time.monotonic())
        for room in list(self.rooms.values()):
            room.refuse_old(time.monotonic())
            room.handing.take_back(overdue=True)
            if room.clients.some_left:
                room.forget_clients()
            if self._is_over(room):
                self._forget(room)
                if room.log.entries:
                    self._compact(room)
            elif room.wants_compaction:
                room.wants_compaction = False
                room.when_settled(partial(self._compact, room))
        if self._ebb.told(len(self.peers) + len(self.rooms)):
            give_back_memory()
        metrics.PEERS.set(len(self.peers))
        return None

    async def compare(self) -> float | None:
        """Compare all open rooms with their drafts. What a room lacks since the last time it reads now."""
        await self._compare(at_once=False)
        return None

    async def _compare(self, *, at_once: bool) -> None:
        if not self.rooms:
            return
        known = dict(self.rooms)
        async with self.pool.acquire() as conn:
            heads = await rooms.heads(conn, known.keys())
        for workflow_id, room in known.items():
            if workflow_id not in heads:
                self.deleted(room)
            elif at_once or room.lacks:
                room.reach(max(heads[workflow_id], room.expected))
            else:
                room.expected = max(room.expected, heads[workflow_id])

    async def tick(self) -> float | None:
        """Tell all peers how far their drafts are."""
        for room in list(self.rooms.values()):
            room.show([frames.tick(room.seq)])
            await asyncio.sleep(0)  # edits have their turn in between
        return None

    async def check_standing(self) -> float | None:
        """Send away whoever may not be here any more, and whose role has changed."""
        peers = list(self.peers)
        found = await self.standing.find({peer.credential for peer in peers}) if peers else {}
        for peer in peers:
            principal = found.get(peer.credential)
            if principal is None:
                peer.close(Close.UNAUTHENTICATED, "Your session has ended, or your key was revoked.")
            elif principal.scopes != peer.principal.scopes or principal.role != peer.principal.role:
                peer.close(Close.RESTART, "Your role has changed; connect again.")
        active = {peer.credential for peer in peers if peer.active}
        if active:
            await self.standing.note_use(active)
        for peer in peers:
            peer.active = False
        return None

    def _gap(self) -> None:
        """Letters may have been lost: compare at once, and have everybody told again who is there."""
        self._soon(self._after_gap())

    async def _after_gap(self) -> None:
        try:
            await self._compare(at_once=True)
        except MAY_PASS as error:  # the next comparison is due in a moment
            log.warning("rooms not compared", error=f"{type(error).__name__}: {error}")
        for room in list(self.rooms.values()):
            room.handing.take_back()
            room.ask_who_is_there()
            room.presence.tell_all()
            room.presence_changed()

    def _end_lingering(self, now: float) -> None:
        due = [(room, seat) for at, room, seat in self._lingering if at <= now]
        self._lingering = [entry for entry in self._lingering if entry[0] > now]
        for room, seat in due:
            self.leave(room, seat)

    def _is_over(self, room: Room) -> bool:
        lingers = any(lingering is room for _, lingering, _ in self._lingering)
        since = room.empty_since
        empty = not room.pins and since is not None and time.monotonic() - since > EMPTY_SECONDS
        return empty and not lingers and not room.waiting and not room.busy and not room.handing.pending

    def _compact(self, room: Room) -> None:
        """Have a snapshot written of a room that is settled."""
        self._soon(self._keep(room.workflow_id, orjson.dumps(room.content()), room.seq))

    async def _keep(self, workflow_id: UUID, definition: bytes, seq: int) -> None:
        try:
            async with self._keeping:  # one after the other, and never many connections
                await drafts.keep(self.pool, workflow_id, definition, seq)
        except MAY_PASS as error:  # the edits stay; they are read one by one until the next time
            log.warning("snapshot not written", workflow=str(workflow_id), error=repr(error))

    def _repeated(self, room: Room, edit: Waiting) -> None:
        self._soon(self._answer_again(room, edit))

    async def _answer_again(self, room: Room, edit: Waiting) -> None:
        """An edit that was committed before is answered as it was then."""
        try:
            async with self.pool.acquire() as conn:
                stored = await edits.find(conn, room.workflow_id, edit.client, edit.id)
        except MAY_PASS as error:  # its author sends it again
            log.warning("edit not found again", error=repr(error))
            return
        if stored is None:
            room.refuse_repetition(edit)
        else:
            edit.peer.send(frame_of(stored))

    def ready(self, room: Room) -> None:
        self.lane.ready(room)

    def behind(self, room: Room) -> None:
        self._catching_up.begin(room)

    def missing(self, room: Room, edit: Waiting, refused: Refused, seq: int) -> None:
        self._soon(self._explain(room, edit, refused, seq))

    async def _explain(self, room: Room, edit: Waiting, refused: Refused, seq: int) -> None:
        try:
            async with self.pool.acquire() as conn:
                refused = await history.explained(conn, room.workflow_id, refused)
        except MAY_PASS as error:  # then it is not said who took it away
            log.warning("refusal not explained", error=repr(error))
        edit.peer.refuse(edit.id, seq, refused)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
