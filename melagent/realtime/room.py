"""The part of a room that is on one instance: the draft as it is confirmed, the peers here, and the edits that wait.

Everything here happens between two awaits of somebody else; nothing waits. While `busy`, edits of this room are being
committed and the draft in memory is ahead of `seq`; what comes meanwhile is kept until that is settled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.draft_state import Refused
from melagent.domain.operations import apply, replay, undo
from melagent.errors import Code
from melagent.realtime import frames, handing, metrics
from melagent.realtime.edits import Attempt, Clients, Committed, Log, forbidden
from melagent.realtime.handing import FORGOTTEN_SECONDS, Handing
from melagent.realtime.presence import PRESENCE, Presence, Teller
from melagent.services.rooms import DELETED, FRAME, HEAD, topic_of
from melagent.store.edits import DraftEdits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from melagent.broker import Broker
    from melagent.domain.draft_state import DraftState
    from melagent.domain.editing import Rewrites
    from melagent.realtime.edits import Waiting
    from melagent.realtime.keeper import Keeper
    from melagent.realtime.peer import Peer

EDIT, QUESTION = b"e", b"q"
"""Begin letters of rooms to one another: an edit as its frame, and the question who is there."""

MAX_ARRIVED = 1_000
"""Edits ahead of a gap that are kept; more are read from the table."""

MAX_BATCH = 200
COMPACT_EDITS = 200
COMPACT_BYTES = 256 * 1024
"""After so many edits, or so much of them, a snapshot is written, so that loading a draft stays quick."""

MAX_LOSSES = 3
CONTESTED_SECONDS = 1.0
"""For so long after it was beaten so often a room has its draft held for each commit."""

WAIT_SECONDS = 5.0
"""How long an edit waits for a database that is away before it is refused."""


class Room:
    def __init__(self, workflow_id: UUID, instance: str, broker: Broker, rewrites: Rewrites, keeper: Keeper) -> None:
        self.workflow_id = workflow_id
        self.topic = topic_of(workflow_id)
        self.presence = Presence(instance)
        self.peers: set[Peer] = set()
        self.clients = Clients()
        self.waiting: deque[Waiting] = deque()
        self.log = Log()
        self.seq = 0
        self.expected = 0
        self.busy = False
        self.behind = False
        self.alone = False
        self.pins = 0
        self.closed = False
        self.empty_since: float | None = None
        self.changed_at = 0.0
        self.derived_seq = 0
        self.problems: bytes = b"[]"
        self.wants_compaction = False
        self._uncompacted_bytes = 0
        self._broker = broker
        self._rewrites = rewrites
        self._keeper = keeper
        self._state: DraftState | None = None
        self._arrived: dict[int, Committed] = {}
        self._attempts: list[Attempt] = []
        self._losses = 0
        self._contested_until = 0.0
        self._when_settled: list[Callable[[], None]] = []
        self.handing = Handing(self, instance, broker)
        self._teller = Teller(self.presence, broker, self.topic, self._show_presence)
        self._changed: asyncio.Future[None] | None = None
        self._definition: tuple[int, bytes] | None = None

    # What others committed

    def load(self, state: DraftState) -> None:
        """Begin with a draft as it was read, or begin anew with it."""
        self._state = state
        self.seq = state.seq
        self._definition = None
        self.log.clear()
        self._advance()

    def begin_anew(self, state: DraftState) -> None:
        """Go on with the draft as it was read, over a hole in its edits. Peers hear that they are behind."""
        if state.seq > self.seq and not self.busy:
            self.load(state)
            self.show([frames.tick(self.seq)])

    def receive(self, letter: bytes) -> None:
        """Take in a letter of another instance, or of another part of this one."""
        kind, text = letter[:1], letter[1:]
        if kind == EDIT:
            self.arrived([Committed.of(text)])
        elif kind == PRESENCE:
            self.presence.heard(text)
            self.presence_changed()
        elif kind == QUESTION:
            self.presence.tell_all()
            self.presence_changed()
        elif kind == HEAD:
            self.reach(int(text))
        elif kind == FRAME:
            self.show([text])
        elif kind in handing.KINDS:
            self.handing.receive(kind, text)
        elif kind == DELETED:
            self._keeper.deleted(self)

    def arrived(self, edits: Iterable[Committed]) -> None:
        """Edits that were committed elsewhere: the next one is applied, later ones wait for it, earlier ones do not
        matter.
        """
        for edit in edits:
            if edit.seq > self.seq and len(self._arrived) < MAX_ARRIVED:
                self._arrived[edit.seq] = edit
        self._advance()

    @property
    def lacks(self) -> bool:
        """Whether edits are known that are not here yet."""
        return bool(self._arrived) or self.expected > self.seq

    def reach(self, seq: int) -> None:
        """The draft has come to `seq`: read what is missing."""
        if seq > self.seq:
            self.expected = max(self.expected, seq)
            if not self.busy and self._state is not None:
                self._keeper.behind(self)

    def _advance(self) -> None:
        if self.busy or self._state is None:
            return
        shown = []
        while (edit := self._arrived.pop(self.seq + 1, None)) is not None:
            replay(self._state, edit.ops, edit.seq, edit.by, edit.at)
            self._confirm(edit.seq, edit.client, edit.id, edit.frame)
            shown.append(edit.frame)
        if shown:
            self.show_edits(shown)
        if self._arrived:
            self._arrived = {seq: edit for seq, edit in self._arrived.items() if seq > self.seq}
        if self.lacks:
            self._keeper.behind(self)

    def _confirm(self, seq: int, client: str, edit_id: int, frame: bytes) -> None:
        self.seq = seq
        self.log.append(seq, frame, client, edit_id)
        self.clients.committed(client, edit_id)
        if self.handing.pending:
            self.handing.settled(client, edit_id)

    # What is committed from here

    def submit(self, edit: Waiting) -> None:
        self.waiting.append(edit)
        self._keeper.ready(self)

    @property
    def is_ready(self) -> bool:
        free = not self.busy and not self.behind and not self.handing.pending
        return bool(self.waiting) and free and self._state is not None

    def begin(self) -> tuple[DraftEdits | None, list[Waiting]]:
        """Check and apply what waits, as far as it can be told from what is confirmed.

        Answers what is to be committed, if anything, and edits that repeat one that was committed. An edit that is
        wrong after others that are not committed yet is left for the next time: it may be right without them.
        """
        repeated = self.handing.over() if self.handing.committer.is_elsewhere else []
        ids: dict[str, int] = {}
        most = 1 if self.alone else MAX_BATCH
        while self.waiting and not self.handing.pending and len(self._attempts) < most:
            edit = self.waiting[0]
            if edit.id <= self.clients.last_id(edit.client):
                repeated.append(self.waiting.popleft())
            elif edit.id <= ids.get(edit.client, 0) or not self._attempt(edit):
                break
            else:
                ids[edit.client] = edit.id
        if not self._attempts:
            return None, repeated
        self.busy = True
        return DraftEdits(self.workflow_id, self.seq, [attempt.new() for attempt in self._attempts]), repeated

    def _attempt(self, edit: Waiting) -> bool:
        """Apply an edit, or refuse it. False when that has to wait for the outcome of others."""
        assert self._state is not None  # noqa: S101  # a room that is ready has one
        by = edit.peer.author
        try:
            if not edit.peer.may_edit:
                raise forbidden()
            seq = self.seq + len(self._attempts) + 1
            applied = apply(self._state, edit.ops, seq, by, datetime.now(UTC), self._rewrites)
        except Refused as refusal:
            if self._attempts:
                return False
            self.waiting.popleft()
            self.refuse(edit, refusal)
            return True
        self.waiting.popleft()
        self._attempts.append(Attempt(edit, by, applied))
        return True

    def committed(self, at: datetime) -> None:
        """The attempts are durable: show them."""
        shown = []
        for attempt in self._attempts:
            edit, seq = attempt.edit, self.seq + 1
            frame = attempt.frame(seq, at)
            self._confirm(seq, edit.client, edit.id, frame)
            self._count(seq, len(frame))
            self._broker.send(self.topic, EDIT + frame, instead=HEAD + b"%d" % seq)
            shown.append(frame)
        metrics.EDITS_COMMITTED.count += len(shown)
        self.handing.committer.won()
        self._attempts = []
        self._losses = 0
        self.alone = False
        self.show_edits(shown)
        self._settled()

    def _count(self, seq: int, size: int) -> None:
        """Of the instances that commit edits of a draft the one that has made the number round writes the snapshot."""
        self._uncompacted_bytes += size
        if seq % COMPACT_EDITS == 0 or self._uncompacted_bytes > COMPACT_BYTES:
            self.wants_compaction, self._uncompacted_bytes = True, 0

    def lost(self, *, unknown: bool = False) -> None:
        """Nothing of the attempts is committed, or with `unknown` nobody knows: back to what is confirmed."""
        self._take_back(unknown=unknown)
        if not unknown:
            self.handing.committer.beaten()
        self._losses += 1
        if self._losses >= MAX_LOSSES:
            self._losses, self._contested_until = 0, time.monotonic() + CONTESTED_SECONDS
        self._settled()
        if unknown:
            self.fall_behind()

    @property
    def contested(self) -> bool:
        """Whether somebody else may be faster again with a statement that takes effect on the draft as it was."""
        return time.monotonic() < self._contested_until

    def fall_behind(self) -> None:
        """Something is missing here: commit nothing before it was read."""
        self._keeper.behind(self)

    def unstorable(self) -> None:
        """The database does not take what was to be committed: find the guilty edit, one at a time, and refuse it."""
        if len(self._attempts) == 1:
            edit = self._attempts[0].edit
            self._take_back(unknown=False)
            self.waiting.remove(edit)
            self.refuse(edit, Refused(Code.UNPROCESSABLE, "The edit holds something that cannot be stored."))
        else:
            self._take_back(unknown=False)
        self.alone = bool(self.waiting)
        self._settled()

    def _take_back(self, *, unknown: bool) -> None:
        for attempt in reversed(self._attempts):
            undo(attempt.applied)
            attempt.edit.unknown |= unknown
            self.waiting.appendleft(attempt.edit)
        self._attempts = []

    def _settled(self) -> None:
        self.busy = False
        self._advance()
        waiting, self._when_settled = self._when_settled, []
        for each in waiting:
            each()
        self.go_on()

    def go_on(self) -> None:
        """Something is over that kept edits from being committed."""
        if self.is_ready:
            self._keeper.ready(self)

    def caught_up(self) -> None:
        """Nothing is known to be missing: edits can be tried again."""
        self.behind = False
        self.go_on()

    def outcome_known(self) -> None:
        """The table was read to its end: what is not in it was not committed, unless another instance is about to."""
        handed_since = time.monotonic() - FORGOTTEN_SECONDS
        for edit in self.waiting:
            edit.unknown = edit.handed_at > handed_since

    async def next_change(self) -> None:
        """Return when the next edits are confirmed here, or the room is closed."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def when_settled(self, act: Callable[[], None]) -> None:
        """Do something at a moment when the draft in memory is what is confirmed: now, or after the present commit."""
        if self.busy:
            self._when_settled.append(act)
        else:
            act()

    def refuse(self, edit: Waiting, refusal: Refused) -> None:
        """Tell the author. Whoever misses something that was there before is told who took it away."""
        if refusal.error is Code.NOT_FOUND and refusal.missing is not None:
            self._keeper.missing(self, edit, refusal, self.seq)
        else:
            edit.peer.refuse(edit.id, self.seq, refusal)

    def refuse_repetition(self, edit: Waiting) -> None:
        """An edit whose id is used up, but which is not among those that were committed."""
        self.refuse(edit, Refused(Code.CONFLICT, "An edit with this id, or a later one, was sent before."))

    def refuse_old(self, now: float) -> None:
        """Refuse what has been waiting too long for the database, but for what may be committed already."""
        if self.busy or not self.waiting or now - self.waiting[0].since < WAIT_SECONDS:
            return
        kept: deque[Waiting] = deque()
        for edit in self.waiting:
            if edit.unknown or now - edit.since < WAIT_SECONDS:
                kept.append(edit)
            else:
                self.refuse(edit, Refused(Code.UNAVAILABLE, "The edit could not be stored; send it again."))
        self.waiting = kept

    # What peers get

    def definition(self) -> bytes:
        """The JSON text of the confirmed definition; only when settled."""
        if self._definition is None or self._definition[0] != self.seq:
            self._definition = (self.seq, orjson.dumps(self.content()))
        return self._definition[1]

    def content(self) -> dict[str, Any]:
        """The confirmed definition; only when settled, and not to be changed."""
        assert self._state is not None  # noqa: S101  # a room with peers has one
        return self._state.definition()

    def show_edits(self, shown: Sequence[bytes]) -> None:
        self.show(shown)
        metrics.DELIVERIES.count += len(shown) * len(self.peers)
        self.changed_at = time.monotonic()
        self._wake()

    def show(self, shown: Sequence[bytes]) -> None:
        """Send frames to all peers here."""
        encoded = b"".join(map(frames.encoded, shown))
        for peer in list(self.peers):
            peer.write(encoded)

    def ask_who_is_there(self) -> None:
        """Let the other instances tell who is with them."""
        self._broker.send(self.topic, QUESTION)

    def _show_presence(self, frame: bytes) -> int:
        self.show([frame])
        return len(self.peers)

    def presence_changed(self) -> None:
        """Tell everybody soon."""
        self._teller.soon()

    def close(self) -> None:
        self.closed = True
        self._wake()
        self._teller.stop()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    # Who is here

    def forget_clients(self) -> None:
        """Forget the clients that have neither a peer nor an edit here."""
        under_way = (*self.waiting, *self.handing.pending.values(), *(attempt.edit for attempt in self._attempts))
        self.clients.forget(edit.client for edit in under_way)
