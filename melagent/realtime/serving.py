"""A socket from its first frame to its last: joining, reading, leaving."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING

import orjson
import structlog
from aiohttp import WSMsgType

from melagent.domain.draft_state import Refused
from melagent.domain.seats import Seat, color_of, peer_of
from melagent.errors import Code, MelError, Problem
from melagent.realtime import frames
from melagent.realtime.edits import Waiting, frame_of
from melagent.realtime.frames import CLOSE_OF, Close, Closing, Join, Ping, SentEdit, State, Wrong
from melagent.realtime.outbox import Outbox
from melagent.realtime.peer import BYTES_OF_ONE, LIGHT, OPERATIONS_OF_ONE, Peer
from melagent.services.drafts import author_of
from melagent.store import edits, rooms
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from uuid import UUID

    from aiohttp import web

    from melagent.realtime.frames import Sent
    from melagent.realtime.hub import Hub
    from melagent.realtime.room import Room
    from melagent.services.access import Principal
    from melagent.services.standing import Credential

JOIN_SECONDS = 10.0
MAX_PEERS = 500
"""In one room, over all instances."""

MAX_MISSED = 1_000
"""Edits that somebody who comes back gets one by one; whoever missed more gets the whole definition."""

GONE_FOR_GOOD = frozenset({Close.UNAUTHENTICATED, Close.FORBIDDEN, Close.NOT_FOUND})
LEFT_BY_CHOICE = frozenset({1000, 1001})
"""Codes with which a client says that it will not come back at once."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entry:
    """Who comes with a socket, and where to."""

    workflow_id: UUID
    credential: Credential
    principal: Principal


async def serve(hub: Hub, socket: web.WebSocketResponse, transport: asyncio.WriteTransport, entry: Entry) -> None:
    """Serve a socket that was let in until it is closed."""
    now = asyncio.get_running_loop().time()
    peer = Peer(socket, Outbox(transport, now), entry.credential, entry.principal, hub.closers, now)
    room: Room | None = None
    try:
        hub.admit(entry.principal)
        hub.peers.add(peer)
        join = await _first(socket)
        room = await hub.enter(entry.workflow_id)
        await _join(hub, peer, room, join)
        await _read(peer, room, socket)
    except Closing as closing:
        peer.close(closing.code, closing.reason)
    except MelError as error:
        peer.close(CLOSE_OF.get(error.code, Close.FULL), error.message)
    except MAY_PASS:
        peer.close(Close.FULL, "The database cannot be reached; connect again later.")
    except Exception:  # a fault of ours ends one socket, whose client comes back
        log.exception("socket failed", workflow=str(entry.workflow_id))
        peer.close(Close.FULL, "Something went wrong on our side; connect again.")
    finally:
        hub.peers.discard(peer)
        if room is not None:
            _leave(hub, peer, room, socket)
            hub.unpin(room)
        await peer.closed()


async def _first(socket: web.WebSocketResponse) -> Join:
    """The first frame, which is to come within ten seconds."""
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            text = await _receive(socket)
    except TimeoutError:
        raise Closing(Close.BAD_FRAME, "The first frame did not come.") from None
    try:
        sent = frames.read(text) if text is not None else None
    except Wrong as wrong:
        raise Closing(Close.BAD_FRAME, f"{wrong.details[0].field}: {wrong.details[0].problem}") from None
    if not isinstance(sent, Join):
        raise Closing(Close.BAD_FRAME, "The first frame is a join.")
    return sent


async def _receive(socket: web.WebSocketResponse) -> bytes | None:
    """The text of the next frame; null when the socket is closed."""
    message = await socket.receive()
    if message.type is WSMsgType.TEXT:
        data = message.data
        return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    if message.type is WSMsgType.BINARY:
        raise Closing(Close.BAD_FRAME, "Frames are text.")
    return None


# Joining


async def _join(hub: Hub, peer: Peer, room: Room, join: Join) -> None:
    """Make the peer part of the room and tell it where it is, at one moment."""
    principal = await _still(hub, peer)
    name = peer_of(principal.id, join.client)
    if name not in room.presence.people and len(room.presence.people) >= MAX_PEERS:
        raise Closing(Close.FULL, "The room is full.")
    room.clients.track(join.client)
    peer.client = join.client
    last_id, head = await _known(hub, room, principal, join.client)
    room.clients[join.client].last_id = max(room.clients[join.client].last_id, last_id)
    await _reached(room, head)
    missed = await _missed(hub, room, join.since)
    seat = Seat(
        workflow_id=room.workflow_id,
        peer=name,
        owner=token_hex(8),
        instance=hub.instance,
        person_id=principal.id,
        name=principal.name,
        color=color_of(principal.id),
    )
    joined = asyncio.get_running_loop().create_future()

    def at_once() -> None:
        if joined.done():  # the socket was closed meanwhile
            return
        peer.seat = seat
        room.presence.join(seat)
        peer.send_first(_joined(peer, room, seat, join, missed))
        room.peers.add(peer)
        room.empty_since = None
        joined.set_result(None)

    room.when_settled(at_once)
    await joined
    room.presence_changed()
    hub.seating.take(seat)


async def _still(hub: Hub, peer: Peer) -> Principal:
    """Who the peer is at this moment: the check before the upgrade may have remembered what is no longer true."""
    found = (await hub.standing.find([peer.credential])).get(peer.credential)
    if found is None:
        raise Closing(Close.UNAUTHENTICATED, "Your session has ended, or your key was revoked.")
    peer.principal = found
    return found


async def _known(hub: Hub, room: Room, principal: Principal, client: str) -> tuple[int, int]:
    """The last id that a client has committed, and how far the draft is. Nobody goes on with the client of another."""
    async with hub.pool.acquire() as conn:
        last_id = await edits.last_id(conn, room.workflow_id, client)
        if last_id and await rooms.is_of_another(conn, room.workflow_id, client, author_of(principal).id):
            raise Closing(Close.BAD_FRAME, "client: Somebody else has used this text; take another one.")
        head = (await rooms.heads(conn, [room.workflow_id])).get(room.workflow_id)
    if head is None:
        raise Closing(Close.NOT_FOUND, "There is no such workflow.")
    return last_id, head


async def _reached(room: Room, head: int) -> None:
    """Wait until the room is where the draft was when somebody came."""
    room.reach(head)
    while room.seq < head and not room.closed:
        await room.next_change()
    if room.closed:
        raise Closing(Close.RESTART, "The room was closed; connect again.")


async def _missed(hub: Hub, room: Room, since: int | None) -> list[tuple[int, bytes]] | None:
    """The edits after `since` that the room does not hold any more; null when the whole definition is to be sent."""
    if since is None or since > room.seq:
        return None
    if room.log.after(since, room.seq) is not None:
        return []
    if room.seq - since > MAX_MISSED:
        return None
    async with hub.pool.acquire() as conn:
        found = await edits.after(conn, room.workflow_id, since, MAX_MISSED)
    if not found or found[-1].seq != since + len(found):  # there is a hole
        return None
    return [(edit.seq, frame_of(edit)) for edit in found]


def _joined(peer: Peer, room: Room, seat: Seat, join: Join, missed: list[tuple[int, bytes]] | None) -> bytes:
    """The answer to a join, when the room is settled."""
    you = {"peer": seat.peer, "id": seat.person_id, "name": seat.name, "color": seat.color}
    role = peer.principal.role.name.lower()
    return b"".join(
        (
            b'{"type":"joined","seq":%d,"you":%s,"role":"%s",' % (room.seq, orjson.dumps(you), role.encode()),
            _content(room, join.since, missed),
            b',"last_id":%d,"presence":%s' % (room.clients[join.client].last_id, room.presence.whole()),
            b',"problems":%s,"server_time":' % room.problems,
            orjson.dumps(datetime.now(UTC), option=orjson.OPT_UTC_Z),
            b"}",
        )
    )


def _content(room: Room, since: int | None, missed: list[tuple[int, bytes]] | None) -> bytes:
    """The edits after `since`, those that were read and those that the room holds; else the definition."""
    if since is not None and missed is not None:
        read = [frame for seq, frame in missed if seq <= room.seq]
        newest = missed[-1][0] if missed else since
        held = room.log.after(newest, room.seq) if newest < room.seq else []
        if held is not None:
            return b'"edits":[' + b",".join((*read, *held)) + b"]"
    return b'"definition":' + room.definition()


# Reading


async def _read(peer: Peer, room: Room, socket: web.WebSocketResponse) -> None:
    """Take in frames until the socket is closed, at the pace that the peer is allowed."""
    clock = asyncio.get_running_loop().time
    while (text := await _receive(socket)) is not None:
        peer.active = True
        try:
            sent = frames.read(text)
        except Wrong as wrong:
            cost = 1.0
            _answer_wrong(peer, room, wrong)
        else:
            cost = _cost(sent)
            _take(peer, room, sent)
        if (pause := peer.pace.spend(cost, clock())) > 0:
            await asyncio.sleep(pause)


def _take(peer: Peer, room: Room, sent: Sent) -> None:
    match sent:
        case SentEdit():
            room.submit(Waiting(peer, peer.client, sent.id, sent.ops, time.monotonic()))
        case State() if peer.seat is not None:
            room.presence.show(peer.seat.peer, peer.seat.owner, sent.text)
            room.presence_changed()
        case Ping():
            peer.send(frames.tick(room.seq))
        case _:
            peer.send(frames.error(Code.CONFLICT, "You have joined already."))


def _answer_wrong(peer: Peer, room: Room, wrong: Wrong) -> None:
    if wrong.edit_id is None:
        peer.send(frames.error(wrong.code, wrong.message, wrong.details))
    else:
        details = [Problem(detail.field or "ops", detail.problem) for detail in wrong.details]
        peer.refuse(wrong.edit_id, room.seq, Refused(wrong.code, wrong.message, details))


def _cost(sent: Sent) -> float:
    if not isinstance(sent, SentEdit):
        return LIGHT
    operations = len(sent.ops) if isinstance(sent.ops, list) else 0
    return 1.0 + operations / OPERATIONS_OF_ONE + sent.size / BYTES_OF_ONE


# Leaving


def _leave(hub: Hub, peer: Peer, room: Room, socket: web.WebSocketResponse) -> None:
    """Take the peer out of the room. Whoever did not leave by choice, and was not sent away, may come back at once."""
    room.peers.discard(peer)
    if peer.client:
        room.clients.untrack(peer.client)
    if peer.seat is None:
        return
    if peer.close_code in GONE_FOR_GOOD or (peer.close_code is None and socket.close_code in LEFT_BY_CHOICE):
        hub.leave(room, peer.seat)
    else:
        hub.linger(room, peer.seat)
