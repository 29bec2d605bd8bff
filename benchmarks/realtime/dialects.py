"""What is said to each contender: how a socket is opened, how a room is joined, what an update looks like.

Every update carries a **mark** as text: who sent its how-manieth update, and when. So whoever gets it knows what was
delivered without reading the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from benchmarks.realtime import frames

if TYPE_CHECKING:
    from collections.abc import Callable

UPDATE_BYTES = 130
ROOM = 10
"""Peers of a room."""

SENDERS = 100_000
MARK = re.compile(rb"~(\d{12})(\d{13})~")
"""Number of the update times `SENDERS` plus its sender, and microseconds of the clock that all processes share."""


def mark(sender: int, number: int, at_us: int) -> bytes:
    return b"~%012d%013d~" % (number * SENDERS + sender, at_us)


@dataclass(slots=True)
class Seat:
    """One place of the swarm: the how-manieth of all, its room, how many updates it has sent.

    `seq` is the last one seen of a wire that numbers updates.
    """

    index: int
    room: str
    number: int = 0
    seq: int = 0
    joined_before: bool = False
    got: int = 0
    sum: int = 0
    """Of all that was got from others, how many and the sum of their numbers: equal to what was sent, or not."""

    echoes: int = 0
    sent: list[bytes] = field(default_factory=list)
    """The updates, as they were sent; only kept while an instance is to be killed."""

    @property
    def place(self) -> int:
        """In the room."""
        return self.index % ROOM

    @property
    def name(self) -> str:
        return f"peer-{self.index}"


class Dialect:
    """The wire of one contender. `resends`: an update may be sent twice and counts once."""

    opcode: ClassVar[int] = frames.TEXT
    resends: ClassVar[bool] = False
    keep_alive: ClassVar[bool] = False

    def open(self, host: str, seat: Seat) -> bytes:
        """The request that opens a socket."""
        raise NotImplementedError

    def greet(self, seat: Seat, send: Callable[[bytes], None]) -> None:
        """Say what is to be said first."""

    def joining(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> bool:
        """Answer what comes before the room is joined. True when it is. Raises RuntimeError for a refusal."""
        raise NotImplementedError

    def update(self, seat: Seat, marked: bytes) -> bytes:
        """The update with the number that the seat is at."""
        raise NotImplementedError

    def alive(self, seat: Seat) -> bytes:
        """What keeps a socket open on which nothing happens, for dialects with `keep_alive`."""
        raise NotImplementedError

    def heard(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> None:
        """Take note of a message besides its marks, and answer it if it asks for that."""


class Ours(Dialect):
    """Rooms are ids of workflows; each peer gives a node of its own another name."""

    resends = True
    SEQ = re.compile(rb'"type":"edit","seq":(\d+)')

    def __init__(self, key: str) -> None:
        self._key = key
        size = UPDATE_BYTES - len(self._op(0, b""))
        self._form = b"%%-%ds" % size

    def open(self, host: str, seat: Seat) -> bytes:
        return frames.upgrade(host, f"/api/ws/workflows/{seat.room}", {"Authorization": f"Bearer {self._key}"})

    def greet(self, seat: Seat, send: Callable[[bytes], None]) -> None:
        since = b',"since":%d' % seat.seq if seat.joined_before else b""
        send(b'{"type":"join","client":"%s"%s}' % (seat.name.encode(), since))

    def joining(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> bool:  # noqa: ARG002  # another dialect does
        if not payload.startswith(b'{"type":"joined"'):
            return False
        if not seat.joined_before:
            seat.seq = int(payload[len(b'{"type":"joined","seq":') :].split(b",", 1)[0])
        return True

    def update(self, seat: Seat, marked: bytes) -> bytes:
        op = self._op(seat.place, (self._form % marked).replace(b" ", b"."))
        return b'{"type":"edit","id":%d,"ops":[%s]}' % (seat.number, op)

    def heard(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> None:  # noqa: ARG002  # another dialect does
        for seq in self.SEQ.findall(payload):
            seat.seq = max(seat.seq, int(seq))
        if payload.startswith((b'{"type":"refused"', b'{"type":"error"', b'{"type":"reconnect"')):
            raise RuntimeError(payload.decode(errors="replace"))

    def _op(self, place: int, value: bytes) -> bytes:
        return b'{"op":"node.set","id":"n%d","path":["name"],"value":"%s"}' % (place, value)


class SocketIo(Dialect):
    """Socket.IO over Engine.IO 4, WebSocket from the start. An update is one event with one text."""

    def open(self, host: str, seat: Seat) -> bytes:  # noqa: ARG002  # another dialect does
        return frames.upgrade(host, "/socket.io/?EIO=4&transport=websocket", {})

    def joining(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> bool:
        if payload.startswith(b"0{"):
            send(b"40")
        elif payload.startswith(b"40"):
            send(b'420["join","%s"]' % seat.room.encode())
        elif payload.startswith(b"44"):
            raise RuntimeError(payload.decode())
        return payload.startswith(b"430")

    def update(self, seat: Seat, marked: bytes) -> bytes:  # noqa: ARG002  # another dialect does
        return b'42["update","%s"]' % marked.ljust(UPDATE_BYTES, b".")

    def heard(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> None:  # noqa: ARG002  # another dialect does
        if payload == b"2":
            send(b"3")


class Hocuspocus(Dialect):
    """Rooms are names of documents. Each peer appends to an array of its own in the document.

    Arrays, not a map, because two changes of one key that are merged on their way are one change.
    """

    opcode = frames.BINARY
    resends = True
    keep_alive = True
    SYNC, AUTH, QUERY_AWARENESS, SYNC_REPLY = 0, 2, 3, 4
    STEP_1, STEP_2, UPDATE = 0, 1, 2
    AUTHENTICATED = 2
    NOTHING = b"\x02\0\0"
    """An update that holds nothing, with its length: the answer to the server's question what we have."""

    def open(self, host: str, seat: Seat) -> bytes:  # noqa: ARG002  # another dialect does
        return frames.upgrade(host, "/", {})

    def greet(self, seat: Seat, send: Callable[[bytes], None]) -> None:
        send(self._said(seat, self.AUTH, 0) + text(b"token"))
        send(self._said(seat, self.SYNC, self.STEP_1) + b"\x01\0")  # an empty state vector

    def joining(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> bool:
        if payload.startswith(self._said(seat, self.AUTH, 1)):
            raise RuntimeError("permission denied")
        self.heard(seat, payload, send)
        return payload.startswith(
            (self._said(seat, self.SYNC, self.STEP_2), self._said(seat, self.SYNC_REPLY, self.STEP_2))
        )

    def update(self, seat: Seat, marked: bytes) -> bytes:
        clock = seat.number - 1
        client = number(seat.index + 1)
        if clock:
            head, parent = b"\x88", client + number(clock - 1)  # an item with what stands to its left
        else:
            head, parent = b"\x08", b"\x01" + text(seat.name.encode())  # the first one of an array of the document
        begin = b"\x01\x01" + client + number(clock) + head + parent + b"\x01\x77"  # one client, one item, one text
        size = UPDATE_BYTES - len(begin) - 2 - 1
        change = begin + text(marked.ljust(size, b".")) + b"\0"  # nothing deleted
        return self._said(seat, self.SYNC, self.UPDATE) + text(change)

    def alive(self, seat: Seat) -> bytes:
        return text(seat.room.encode()) + bytes((self.QUERY_AWARENESS,))

    def heard(self, seat: Seat, payload: bytes, send: Callable[[bytes], None]) -> None:
        for kind in (self.SYNC, self.SYNC_REPLY):
            if payload.startswith(self._said(seat, kind, self.STEP_1)):
                send(self._said(seat, self.SYNC, self.STEP_2) + self.NOTHING)

    def _said(self, seat: Seat, kind: int, what: int) -> bytes:
        return text(seat.room.encode()) + bytes((kind, what))


def number(value: int) -> bytes:
    """A varuint of lib0."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(0x80 | (value & 0x7F))
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def text(value: bytes) -> bytes:
    """A text, or an array of bytes, of lib0."""
    return number(len(value)) + value


def dialect(name: str, key: str) -> Dialect:
    """The dialect with a name; only ours needs a key."""
    if name == "ours":
        return Ours(key)
    return {"hocuspocus": Hocuspocus, "socketio": SocketIo}[name]()
