"""Edits that one instance hands to another one, which leads the room, to be committed there.

An edit of which nothing is heard for a second is taken back and committed here, unless the table says that it was
committed: letters get lost, and leaders die. The edits of a client stay in order: the leader takes one only when it has
had the one before, and whoever has handed edits over commits none of that room before it knows what became of them.
What both commit in the end is committed once, as the ids of a client's edits only ever rise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from melagent.domain.draft_state import Author
from melagent.domain.edit_frames import refused_frame
from melagent.realtime import metrics
from melagent.realtime.edits import Client, Waiting, forbidden
from melagent.realtime.leading import LEADER, Lead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from melagent.broker import Broker
    from melagent.domain.draft_state import Refused
    from melagent.realtime.room import Room

HANDED, RETURNED = b"w", b"r"
"""Begin letters of rooms to one another: edits for the leader, and one that it did not commit."""

KINDS: Final = frozenset({LEADER, HANDED, RETURNED})

PATIENCE_SECONDS: Final = 1.0
"""How long an edit may be with the leader before it is taken back."""

FORGOTTEN_SECONDS: Final = 10.0
"""After so long nothing that was handed over is committed any more: the leader lets it wait for five seconds
(WAIT_SECONDS of rooms), and its commit may take as long (COMMIT_SECONDS of the lane).
"""

MAX_BYTES: Final = 6_000
"""Of the edits in a letter: any broker takes it. A larger edit is committed where it is."""


@dataclass(slots=True)
class Handed:
    """An edit that another instance would like us to commit: it was not committed when the room there was at `seq`.

    `after` is the one of this client that it handed over before and of which it has not heard yet, or 0.
    """

    instance: str
    seq: int
    client: str
    id: int
    after: int
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
    """What the part of a room on this instance has handed over, and takes over. `pending` is with the leader now."""

    def __init__(self, room: Room, instance: str, broker: Broker) -> None:
        self.lead = Lead(instance, broker, room.topic)
        self.pending: dict[tuple[str, int], Waiting] = {}
        self._room = room
        self._instance = instance
        self._broker = broker
        self._newest: dict[str, int] = {}

    def receive(self, kind: bytes, text: bytes) -> None:
        """Take in a letter of one of the `KINDS`."""
        if kind == LEADER:
            self.lead.heard(text.decode())
        elif kind == HANDED:
            for handed in self._read(text):
                self._take_over(handed)
        else:
            self._returned(orjson.loads(text))

    # Handing over

    def over(self) -> list[Waiting]:
        """Give what waits to the leader, as far as it can be given away; answers edits that repeat a committed one."""
        room, repeated = self._room, []
        texts: list[bytes] = []
        while room.waiting:
            edit = room.waiting[0]
            if edit.id <= room.clients.last_id(edit.client):
                repeated.append(edit)
            elif isinstance(edit.peer, Afar):
                edit.peer.give_back()
            elif not edit.peer.may_edit:
                room.refuse(edit, forbidden())
            elif (text := self._text(edit)) is not None:
                texts.append(text)
                self._note(edit)
            else:
                break
            room.waiting.popleft()
        if texts:
            self._send(texts)
        return repeated

    def settled(self, client: str, edit_id: int) -> Waiting | None:
        """It is known what became of an edit. Answers it when it was with the leader."""
        edit = self.pending.pop((client, edit_id), None)
        if not self.pending:
            self._newest.clear()
            self._room.go_on()
        return edit

    def take_back(self, *, overdue: bool = False) -> None:
        """Commit here what is with the leader, but for what the table has; or only when it has been there too long."""
        if not self.pending or (overdue and not self._is_overdue()):
            return
        self.lead.forget()
        back, self.pending = list(self.pending.values()), {}
        self._newest.clear()
        for edit in back:
            edit.unknown = True
        self._room.waiting.extendleft(reversed(back))
        self._room.fall_behind()

    def _is_overdue(self) -> bool:
        return time.monotonic() - next(iter(self.pending.values())).handed_at > PATIENCE_SECONDS

    def _text(self, edit: Waiting) -> bytes | None:
        """An edit as it is handed over; null when it has to stay here."""
        after = self._newest.get(edit.client, 0)
        if (edit.client, after) not in self.pending:
            after = 0
        by = edit.peer.author.as_json()
        told = {"client": edit.client, "id": edit.id, "after": after, "by": by, "ops": edit.ops}
        text = orjson.dumps(told) if edit.id > after else b""
        return text if 0 < len(text) <= MAX_BYTES else None

    def _note(self, edit: Waiting) -> None:
        self.pending[edit.client, edit.id] = edit
        self._newest[edit.client] = edit.id
        edit.handed_at = time.monotonic()

    def _send(self, texts: Sequence[bytes]) -> None:
        """Send edits to the leader, in as many letters as it takes."""
        metrics.EDITS_HANDED_OVER.inc(len(texts))
        part: list[bytes] = []
        for text in texts:
            if part and sum(map(len, part)) + len(text) > MAX_BYTES:
                self._send_part(part)
                part = []
            part.append(text)
        self._send_part(part)

    def _send_part(self, texts: Sequence[bytes]) -> None:
        head = orjson.dumps({"to": self.lead.leader, "from": self._instance, "seq": self._room.seq})[:-1]
        self._broker.send(self._room.topic, HANDED + head + b',"edits":[' + b",".join(texts) + b"]}")

    def _returned(self, told: dict[str, Any]) -> None:
        """The leader did not commit an edit: it refused it, or says that it does not lead."""
        if told["to"] != self._instance:
            return
        if told["frame"] is None:
            self.take_back()
        elif (edit := self.settled(told["client"], told["id"])) is not None:
            edit.peer.send(orjson.dumps(told["frame"]))

    # Leading

    def _read(self, text: bytes) -> Iterator[Handed]:
        """The edits of a letter, if they are meant for us."""
        told = orjson.loads(text)
        if told["to"] == self._instance:
            self.lead.took(len(told["edits"]))
            for edit in told["edits"]:
                by = Author(**edit.pop("by"))
                yield Handed(instance=told["from"], seq=told["seq"], by=by, **edit)

    def _take_over(self, handed: Handed) -> None:
        """Commit an edit with ours: only when we know what its client has committed, and in the order of its ids."""
        room = self._room
        newest = room.log.last_id(handed.client, handed.seq, room.seq)
        if newest is None:
            self.give_back(handed)
            return
        known = room.clients.setdefault(handed.client, Client())
        known.last_id = max(known.last_id, newest)
        taken = max(known.last_id, known.taken)
        if handed.id > taken >= handed.after:  # else it comes twice, or the one before it was lost
            known.taken = handed.id
            room.submit(Waiting(Afar(self, handed), handed.client, handed.id, handed.ops, time.monotonic()))

    def give_back(self, handed: Handed, frame: bytes = b"null") -> None:
        """Tell the author's instance that we do not commit an edit; with a frame that refuses it, if it is refused."""
        told = {"to": handed.instance, "client": handed.client, "id": handed.id, "frame": orjson.Fragment(frame)}
        self._broker.send(self._room.topic, RETURNED + orjson.dumps(told))
