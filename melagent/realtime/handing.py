"""Edits that one instance hands to another one, which commits for the room.

One letter at a time is with the committer: until it is known what became of its edits, others of that room wait, so
those of a client stay in order. Edits of which nothing is heard for a second are taken back and committed here, unless
the table says that they were committed: letters get lost, and committers die. What both commit in the end is committed
once, as the ids of a client's edits only ever rise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from melagent.domain.draft_state import Author
from melagent.domain.edit_frames import refused_frame
from melagent.realtime import metrics
from melagent.realtime.committer import COMMITTER, Committer
from melagent.realtime.edits import Waiting, forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.broker import Broker
    from melagent.domain.draft_state import Refused
    from melagent.realtime.room import Room

HANDED, RETURNED = b"w", b"r"
"""Begin letters of rooms to one another: edits for the committer, and one that it did not commit."""

KINDS: Final = frozenset({COMMITTER, HANDED, RETURNED})

PATIENCE_SECONDS: Final = 1.0
"""How long edits may be with the committer before they are taken back. It takes none that have been under way longer,
by the clocks of both, as their author may have been answered since.
"""

FORGOTTEN_SECONDS: Final = 10.0
"""After so long nothing that was handed over is committed any more: the committer lets it wait for five seconds
(WAIT_SECONDS of rooms), and its commit may take as long (COMMIT_SECONDS of the lane).
"""

MAX_BYTES: Final = 6_000
"""Of the edits in a letter: any broker takes it. A larger edit is committed where it is."""


@dataclass(slots=True)
class Handed:
    """An edit that another instance would like us to commit: it was not committed when the room there was at `seq`."""

    instance: str
    seq: int
    client: str
    id: int
    by: Author
    ops: list[Any]


class Afar:
    """The author of an edit that was handed to us. His socket is at the other instance."""

    __slots__ = ("_handed", "_handing")

    may_edit: Final = True
    """That was checked there."""

    def __init__(self, handing: Handing, handed: Handed) -> None:
        self._handing = handing
        self._handed = handed

    @property
    def author(self) -> Author:
        return self._handed.by

    def send(self, payload: bytes) -> None:
        """His own instance answers what is sent again."""

    def refuse(self, edit_id: int, seq: int, refused: Refused) -> None:
        metrics.EDITS_REFUSED.labels(refused.error).inc()
        self._handing.give_back(self._handed, refused_frame(edit_id, refused, seq))

    def give_back(self) -> None:
        """Let his instance commit the edit."""
        self._handing.give_back(self._handed)


class Handing:
    """What the part of a room on this instance has handed over, and takes over. `pending` is with the committer now."""

    def __init__(self, room: Room, instance: str, broker: Broker) -> None:
        self.committer = Committer(instance, broker, room.topic)
        self.pending: dict[tuple[str, int], Waiting] = {}
        self._room = room
        self._instance = instance
        self._broker = broker
        self._handed_at = 0.0

    def receive(self, kind: bytes, text: bytes) -> None:
        """Take in a letter of one of the `KINDS`."""
        if kind == COMMITTER:
            self.committer.heard(text.decode())
        elif kind == HANDED:
            self._taken_over(orjson.loads(text))
        else:
            self._returned(orjson.loads(text))

    # Handing over

    def over(self) -> list[Waiting]:
        """Give what waits to the committer, as much as a letter holds; answers edits that repeat a committed one."""
        room, repeated, texts, size = self._room, [], [], 0
        newest: dict[str, int] = {}
        while room.waiting:
            edit = room.waiting[0]
            if edit.id <= room.clients.last_id(edit.client):
                repeated.append(edit)
            elif isinstance(edit.peer, Afar):
                edit.peer.give_back()
            elif not edit.peer.may_edit:
                room.refuse(edit, forbidden())
            else:
                text = _text(edit)
                size += len(text)
                if size > MAX_BYTES or edit.id <= newest.get(edit.client, 0):
                    break
                newest[edit.client] = edit.id
                texts.append(text)
                self.pending[edit.client, edit.id] = edit
            room.waiting.popleft()
        if texts:
            self._send(texts)
        return repeated

    def settled(self, client: str, edit_id: int) -> Waiting | None:
        """It is known what became of an edit. Answers it when it was with the committer."""
        edit = self.pending.pop((client, edit_id), None)
        if not self.pending:
            self._room.go_on()
        return edit

    def take_back(self, *, overdue: bool = False) -> None:
        """Commit here what is with the committer, unless the table has it; or only when it has been there too long."""
        if not self.pending or (overdue and time.monotonic() - self._handed_at < PATIENCE_SECONDS):
            return
        self.committer.forget()
        back, self.pending = self.pending.values(), {}
        for edit in back:
            edit.unknown, edit.handed_at = True, self._handed_at
        self._room.waiting.extendleft(reversed(back))
        self._room.fall_behind()

    def _send(self, texts: Sequence[bytes]) -> None:
        metrics.EDITS_HANDED_OVER.inc(len(texts))
        self._handed_at = time.monotonic()
        told = {"to": self.committer.name, "from": self._instance, "seq": self._room.seq, "at": time.time()}
        letter = orjson.dumps(told)[:-1] + b',"edits":[' + b",".join(texts) + b"]}"
        self._broker.send(self._room.topic, HANDED + letter)

    def _returned(self, told: dict[str, Any]) -> None:
        """The committer did not commit an edit: it refused it, or says that it commits for nobody."""
        if told["to"] != self._instance:
            return
        if told["frame"] is None:
            self.take_back()
        elif (edit := self.settled(told["client"], told["id"])) is not None:
            edit.peer.send(orjson.dumps(told["frame"]))

    # Taking over

    def _taken_over(self, told: dict[str, Any]) -> None:
        """Commit edits with ours, if they are meant for us."""
        if told["to"] != self._instance:
            return
        self.committer.took(len(told["edits"]))
        late = abs(time.time() - told["at"]) > PATIENCE_SECONDS
        for edit in told["edits"]:
            by = Author(**edit.pop("by"))
            handed = Handed(instance=told["from"], seq=told["seq"], by=by, **edit)
            if late or not self._take_over(handed):
                self.give_back(handed)

    def _take_over(self, handed: Handed) -> bool:
        """Commit an edit with ours, but for one that we have. False when we cannot tell what its client committed."""
        room = self._room
        newest = room.log.last_id(handed.client, handed.seq, room.seq)
        if newest is None:
            return False
        known = room.clients.afar(handed.client)
        known.last_id = max(known.last_id, newest)
        if handed.id > max(known.last_id, known.taken):
            known.taken = handed.id
            room.submit(Waiting(Afar(self, handed), handed.client, handed.id, handed.ops, time.monotonic()))
        return True

    def give_back(self, handed: Handed, frame: bytes = b"null") -> None:
        """Tell the author's instance that we do not commit an edit; with a frame that refuses it, if it is refused."""
        told = {"to": handed.instance, "client": handed.client, "id": handed.id, "frame": orjson.Fragment(frame)}
        self._broker.send(self._room.topic, RETURNED + orjson.dumps(told))


def _text(edit: Waiting) -> bytes:
    by = edit.peer.author.as_json()
    return orjson.dumps({"client": edit.client, "id": edit.id, "by": by, "ops": edit.ops})
