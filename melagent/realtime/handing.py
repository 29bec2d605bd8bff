"""Handing edits over to another instance, while several are busy in the same room.

Any instance may commit at any time, and its statement takes effect only if the draft is still where the room is. Where
two are busy at once, most of these statements would be in vain. So whoever is beaten twice within a second proposes a
**leader**, the instance that ranks first for this room, and for some seconds the others hand their edits to that one,
which commits them with its own. This is a hint like every letter: the statement and the ids of edits protect the draft
no matter who believes what. An edit of which nothing is heard for a second is taken back and committed here, unless
the table says that it was.

The edits of a client stay in order: the leader takes one only when it has had the one before, and whoever handed
edits over commits nothing of a room by itself until it knows what became of them.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.draft_state import Author
from melagent.domain.edit_frames import refused_frame
from melagent.realtime import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from melagent.broker import Broker
    from melagent.domain.draft_state import Refused
    from melagent.realtime.edits import Waiting

LEADER, HANDED, RETURNED = b"l", b"w", b"r"
"""Begin letters of rooms to one another: who leads, edits for the leader, and one that it did not commit."""

AGAIN_SECONDS: Final = 1.0
"""Two races lost within this time are not chance."""

LEAD_SECONDS: Final = 5.0
"""So long a leader is one without being named again."""

LEAD_EDITS: Final = 25
"""A leader to which fewer were handed in half of that time does not name itself again: now races are rare."""

PATIENCE_SECONDS: Final = 1.0
"""How long an edit may be with the leader before it is taken back."""

FORGOTTEN_SECONDS: Final = 10.0
"""After so long nothing that was handed over is committed any more: the leader lets it wait for five seconds
(WAIT_SECONDS of rooms) and its commit take as long (COMMIT_SECONDS of the lane).
"""

MAX_HANDED_BYTES: Final = 6_000
"""Of a letter with edits: any broker takes it. A larger edit is committed where it is."""


@dataclass(slots=True)
class Handed:
    """An edit that another instance, whose room is at `seq`, would like us to commit.

    `last_id` is the last one of this client that it knows to be committed, `after` the one that it handed over before
    and of which it has not heard yet.
    """

    instance: str
    seq: int
    client: str
    id: int
    last_id: int
    after: int
    by: Author
    ops: list[Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """An edit that the leader did not commit, with the frame that refuses it; without one it is not his to commit."""

    client: str
    id: int
    frame: bytes | None


class Afar:
    """The author of an edit that was handed over, at the instance where his socket is."""

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
    """What one room on one instance has handed over, and who it takes for the leader."""

    def __init__(self, instance: str, broker: Broker, topic: str) -> None:
        self.pending: dict[tuple[str, int], Waiting] = {}
        self._instance = instance
        self._broker = broker
        self._topic = topic
        self._leader: str | None = None
        self._until = 0.0
        self._beaten_at = 0.0
        self._taken = 0
        self._newest: dict[str, int] = {}

    # Who leads

    @property
    def leads_elsewhere(self) -> bool:
        """Whether edits are handed to another instance now."""
        elsewhere = self._leader is not None and self._leader != self._instance
        return elsewhere and self._until > time.monotonic() and self._broker.health == "healthy"

    def beaten(self) -> None:
        """The room lost a race."""
        now = time.monotonic()
        if now - self._beaten_at < AGAIN_SECONDS and self._until <= now:
            self._lead(self._instance)
        self._beaten_at = now

    def heard(self, leader: str) -> None:
        """Somebody named a leader: of two the one counts that ranks first."""
        if self._until <= time.monotonic() or self._rank(leader) <= self._rank(self._leader or leader):
            ours = self._rank(self._instance) < self._rank(leader)
            if ours and time.monotonic() - self._beaten_at < LEAD_SECONDS:
                self._lead(self._instance)
            else:
                self._follow(leader)

    def _lead(self, leader: str) -> None:
        self._follow(leader)
        self._broker.send(self._topic, LEADER + leader.encode())

    def _follow(self, leader: str) -> None:
        self._leader, self._until, self._taken = leader, time.monotonic() + LEAD_SECONDS, 0

    def _rank(self, instance: str) -> tuple[int, str]:
        """Another instance comes first for each room."""
        return zlib.crc32(f"{self._topic} {instance}".encode()), instance

    # Handing over

    def hand(self, edit: Waiting, last_id: int) -> bytes | None:
        """The text of an edit for the leader, of which it is noted that he has it. Null when it has to stay here."""
        after = self._newest.get(edit.client, 0)
        if (edit.client, after) not in self.pending:
            after = 0
        if edit.id <= after:
            return None
        by = edit.peer.author.as_json()
        text = orjson.dumps(
            {"client": edit.client, "id": edit.id, "last_id": last_id, "after": after, "by": by, "ops": edit.ops}
        )
        if len(text) > MAX_HANDED_BYTES:
            return None
        self.pending[edit.client, edit.id] = edit
        self._newest[edit.client] = edit.id
        edit.handed_at = time.monotonic()
        return text

    def post(self, seq: int, texts: list[bytes]) -> None:
        """Send edits to the leader, in as many letters as it takes."""
        metrics.EDITS_HANDED_OVER.inc(len(texts))
        head = orjson.dumps({"to": self._leader, "from": self._instance, "seq": seq})[:-1] + b',"edits":['
        part: list[bytes] = []
        for text in texts:
            if part and sum(map(len, part)) + len(text) > MAX_HANDED_BYTES:
                self._broker.send(self._topic, HANDED + head + b",".join(part) + b"]}")
                part = []
            part.append(text)
        self._broker.send(self._topic, HANDED + head + b",".join(part) + b"]}")

    def take(self, client: str, edit_id: int) -> Waiting | None:
        """An edit of which it is known now what became of it; null when it was not with the leader."""
        edit = self.pending.pop((client, edit_id), None)
        if not self.pending:
            self._newest.clear()
        return edit

    def returned(self, letter: bytes) -> Returned | None:
        """What a letter gives back, if it is meant for us."""
        told = orjson.loads(letter)
        if told["to"] != self._instance:
            return None
        return Returned(told["client"], told["id"], orjson.dumps(told["frame"]) if told["frame"] else None)

    @property
    def is_overdue(self) -> bool:
        oldest = next(iter(self.pending.values()), None)
        return oldest is not None and time.monotonic() - oldest.handed_at > PATIENCE_SECONDS

    def take_back(self) -> list[Waiting]:
        """All that is with the leader, in order; whether it is committed is unknown."""
        self._leader = None
        back = list(self.pending.values())
        self.pending.clear()
        self._newest.clear()
        for edit in back:
            edit.unknown = True
        return back

    # Leading

    def read(self, letter: bytes) -> Iterator[Handed]:
        """The edits of a letter that are meant for us."""
        told = orjson.loads(letter)
        if told["to"] != self._instance:
            return
        self._note(len(told["edits"]))
        for edit in told["edits"]:
            by = Author(**edit.pop("by"))
            yield Handed(instance=told["from"], seq=told["seq"], by=by, **edit)

    def give_back(self, handed: Handed, frame: bytes = b"null") -> None:
        """Tell the author's instance that we do not commit an edit."""
        told = {"to": handed.instance, "client": handed.client, "id": handed.id, "frame": orjson.Fragment(frame)}
        self._broker.send(self._topic, RETURNED + orjson.dumps(told))

    def _note(self, count: int) -> None:
        """Name ourselves again in time, as long as so much is handed over."""
        self._taken += count
        if self._taken >= LEAD_EDITS and self._until - time.monotonic() < LEAD_SECONDS / 2:
            self._lead(self._instance)
