"""Who is in a room and what they show of what they do: lossy, never stored, and sent at most every 50 ms.

A person's state is JSON text that is never looked into. What peers of this instance do goes to the peers here in a
frame, and to the other instances as letters; only a socket of the right owner may take somebody out again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from melagent.broker import Broker
    from melagent.domain.seats import Seat

PRESENCE = b"p"
"""Begins a letter to a room: what somebody shows, or that somebody is gone."""

FLUSH_SECONDS = 0.05
MAX_BYTES_PER_SECOND = 4 * 1024 * 1024
"""Of the presence of one room, to all its peers here: a large room whose people all move is told less often."""

NO_STATE = b"{}"
MISSED_LIMIT = 2
"""How often in a row somebody may be missing in the seats before they count as gone: a seat is written a moment later
than its socket is heard of.
"""


@dataclass(slots=True)
class Person:
    """Somebody in a room. `head` is the JSON text of what does not change, without its last bracket."""

    owner: str
    instance: str
    head: bytes
    state: bytes = NO_STATE
    missed: int = 0

    @property
    def text(self) -> bytes:
        return self.head + b',"state":' + self.state + b"}"


def person_of(seat: Seat) -> Person:
    return _person(seat.owner, seat.instance, seat.person_id, seat.name, seat.color)


def _person(owner: str, instance: str, person_id: str, name: str, color: str) -> Person:
    head = orjson.dumps({"id": person_id, "name": name, "color": color})[:-1]
    return Person(owner, instance, head)


class Presence:
    """The people of one room, on all instances."""

    def __init__(self, instance: str) -> None:
        self.people: dict[str, Person] = {}
        self._instance = instance
        self._changed: set[str] = set()
        self._to_tell: dict[str, bytes] = {}

    # What happens here

    def join(self, seat: Seat) -> None:
        """Somebody takes a seat here, maybe one that they had elsewhere, and keeps what they show."""
        known = self.people.get(seat.peer)
        person = person_of(seat)
        if known is not None:
            person.state = known.state
        self._set(seat.peer, person)
        self._tell(seat.peer, person)

    def show(self, peer: str, owner: str, state: bytes) -> None:
        """Somebody here shows something else."""
        person = self.people.get(peer)
        if person is not None and person.owner == owner and person.state != state:
            person.state = state
            self._changed.add(peer)
            self._tell(peer, person)

    def leave(self, peer: str, owner: str) -> None:
        """Somebody is gone, unless they have come back through another socket."""
        if self._remove(peer, owner):
            self._to_tell[peer] = orjson.dumps({"peer": peer, "owner": owner, "gone": True})

    def tell_all(self) -> None:
        """Tell the other instances of everybody here: one of them asks."""
        for peer, person in self.people.items():
            if person.instance == self._instance:
                self._tell(peer, person)

    # What happens elsewhere

    def heard(self, text: bytes) -> None:
        """Take in a letter of another instance."""
        told: dict[str, Any] = orjson.loads(text)
        if "gone" in told:
            self._remove(told["peer"], told["owner"])
            return
        person = _person(told["owner"], told["instance"], told["id"], told["name"], told["color"])
        person.state = orjson.dumps(told["state"])
        self._set(told["peer"], person)

    def compare(self, seats: Iterable[Seat]) -> None:
        """Bring people elsewhere in line with the seats. Nobody here is touched: their sockets are open."""
        seated = {seat.peer: seat for seat in seats}
        for peer, seat in seated.items():
            known = self.people.get(peer)
            if seat.instance != self._instance and known is None:
                self._set(peer, person_of(seat))
            elif known is not None:
                known.missed = 0
        for peer, person in list(self.people.items()):
            if peer not in seated and person.instance != self._instance:
                person.missed += 1
                if person.missed >= MISSED_LIMIT:
                    self._remove(peer, person.owner)

    # What is sent

    @property
    def waits(self) -> bool:
        return bool(self._changed or self._to_tell)

    def take_letters(self) -> Collection[bytes]:
        """What to tell the other instances now."""
        letters, self._to_tell = self._to_tell.values(), {}
        return letters

    def take_frame(self) -> bytes | None:
        """What to tell the peers here now; null when nothing has changed."""
        if not self._changed:
            return None
        changed, self._changed = self._changed, set()
        return b'{"type":"presence","changes":{' + self._texts(sorted(changed)) + b"}}"

    def whole(self) -> bytes:
        """Everybody, as an object."""
        return b"{" + self._texts(self.people) + b"}"

    def pause_seconds(self, frame: bytes | None, peers: int) -> float:
        """How long to wait after this frame before the next one."""
        return max(FLUSH_SECONDS, len(frame or b"") * peers / MAX_BYTES_PER_SECOND)

    def _texts(self, peers: Iterable[str]) -> bytes:
        people = self.people
        return b",".join(
            b'"%s":%s' % (peer.encode(), people[peer].text if peer in people else b"null") for peer in peers
        )

    def _set(self, peer: str, person: Person) -> None:
        known = self.people.get(peer)
        self.people[peer] = person
        if known is None or known.text != person.text:
            self._changed.add(peer)

    def _remove(self, peer: str, owner: str) -> bool:
        person = self.people.get(peer)
        if person is None or person.owner != owner:
            return False
        del self.people[peer]
        self._changed.add(peer)
        return True

    def _tell(self, peer: str, person: Person) -> None:
        """The head begins an object and has three fields; what only instances need to know is put before them."""
        about = orjson.dumps({"peer": peer, "owner": person.owner, "instance": person.instance})[:-1]
        self._to_tell[peer] = about + b"," + person.text[1:]


class Teller:
    """Tells the presence of a room to its peers here and to the other instances, what has gathered in one go.

    `show` sends a frame to the peers here, and answers how many they are.
    """

    def __init__(self, presence: Presence, broker: Broker, topic: str, show: Callable[[bytes], int]) -> None:
        self._presence = presence
        self._broker = broker
        self._topic = topic
        self._show = show
        self._next: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def soon(self) -> None:
        """Tell what has changed: now, or when enough time has passed since the last telling."""
        if self._next is None and self._presence.waits:
            self._next = asyncio.get_running_loop().call_at(self._not_before, self._tell)

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _tell(self) -> None:
        self._next = None
        for letter in self._presence.take_letters():
            self._broker.send(self._topic, PRESENCE + letter)
        frame = self._presence.take_frame()
        peers = self._show(frame) if frame is not None else 0
        self._not_before = asyncio.get_running_loop().time() + self._presence.pause_seconds(frame, peers)
