"""Slow, fast and hostile peers: they are removed, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import os
import socket as sockets
from uuid import UUID

import orjson
import pytest

from melagent.domain.draft_state import Author
from melagent.realtime import hub as hub_module
from melagent.realtime import outbox, peer
from melagent.realtime.ebb import GONE_TOGETHER
from melagent.services import drafts, rooms
from melagent.store.pool import transaction
from tests.builders import eventually
from tests.realtime.clients import put


@pytest.fixture
def kind():
    return "postgres"


class Stalled:
    """A client that sends, and reads nothing more."""

    def __init__(self, instance, workflow_id):
        self.instance, self.workflow_id = instance, workflow_id

    async def join(self):
        line = sockets.socket()
        line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        line.setblocking(False)  # noqa: FBT003  # as its author named it
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", self.instance.server.port))
        self.reader, self.writer = await asyncio.open_connection(sock=line, limit=2**12)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write(
            f"GET /api/ws/workflows/{self.workflow_id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "X-API-Key: the-bootstrap-key-of-the-tests\r\n\r\n".encode()
        )
        assert b"101" in await self.reader.readline()
        self.send({"type": "join", "client": "stalled"})
        return self

    def send(self, frame):
        payload = orjson.dumps(frame)
        assert len(payload) < 126
        self.writer.write(b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload)

    def close(self):
        self.writer.transport.abort()


@pytest.fixture
async def stalled(one):
    made = []

    async def stall(workflow_id):
        client = await Stalled(one, workflow_id).join()
        made.append(client)
        room = await eventually(lambda: one.hub.rooms.get(UUID(workflow_id)))
        return await eventually(lambda: next((p for p in room.peers if p.client == "stalled"), None))

    yield stall
    for client in made:
        client.close()


def large(number):
    return {"op": "node.set", "id": "done", "path": ["config", "text"], "value": f"{number}" + "x" * 200_000}


async def test_a_peer_that_does_not_read_is_removed_and_the_others_go_on(
    one, make_workflow, connect, stalled, converged, monkeypatch
):
    monkeypatch.setattr(peer, "BYTES_OF_ONE", 1e9)
    monkeypatch.setattr(peer, "CLOSE_SECONDS", 0.1)
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    slow = await stalled(workflow_id)
    for number in range(60):
        if slow.is_closing:
            break
        await ada.answer(await ada.edit(large(number)))
    assert slow.close_code == 4508
    assert slow.outbox.backlog <= outbox.MAX_BACKLOG_BYTES + 201_000
    await eventually(lambda: slow not in one.hub.peers and len(one.hub.rooms[UUID(workflow_id)].peers) == 2)
    await ada.answer(await ada.edit(put("Still here")))
    await converged(workflow_id, ada, ben)


async def test_much_at_once_is_not_too_much_for_those_who_read(one, make_workflow, connect, converged, pool):
    """What a room has missed comes in one piece, and several large edits are committed together."""
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    eva = drafts.Editor(pool, one.broker, Author(None, "Eva"))
    async with transaction(pool) as conn:
        for number in range(12):
            edited = await drafts.edit_within(conn, eva, UUID(workflow_id), lambda _, number=number: [large(number)])
    rooms.edited(one.broker, UUID(workflow_id), edited.state.seq)
    await converged(workflow_id, ada, ben)
    assert not ada.reading.done()
    assert not ben.reading.done()


async def test_a_peer_that_has_taken_nothing_for_ten_seconds_is_removed(
    one, make_workflow, connect, stalled, monkeypatch
):
    monkeypatch.setattr(peer, "CLOSE_SECONDS", 0.1)
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    slow = await stalled(workflow_id)
    while not slow.outbox.backlog:
        await ada.answer(await ada.edit(large(0)))
    assert not slow.is_closing
    monkeypatch.setattr(outbox, "STALLED_SECONDS", 0.0)
    await eventually(lambda: slow.close_code == 4508)
    await eventually(lambda: slow not in one.hub.peers)
    assert not ada.reading.done()


async def test_a_first_load_may_be_larger_than_an_outbox(one, make_workflow, connect):
    text = "y" * 3_000_000
    nodes = [{"id": "start", "type": "manual_trigger"}, {"id": "done", "type": "noop", "config": {"text": text}}]
    workflow_id = await make_workflow(one, {"nodes": nodes, "edges": []})
    ada = await connect(one, workflow_id)
    assert ada.joined["definition"]["nodes"][1]["config"]["text"] == text
    await ada.answer(await ada.edit(put("Small")))


async def test_a_peer_that_sends_too_fast_for_too_long_is_removed(one, make_workflow, connect, monkeypatch):
    monkeypatch.setattr(peer, "PATIENCE_SECONDS", 0.2)
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    for number in range(300):
        await ada.edit(put(f"{number}"))
    assert await ada.close_code() == 4529
    await ben.answer(await ben.edit(put("Calm")))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("x" * (1024 * 1024 + 1), 4413),
        ("x" * (3 * 1024 * 1024), 4413),
        ("x" * (1024 * 1024 - 1), 4400),
        ("[1, 2]", 4400),
        (b"\x00\x01", 4400),
    ],
    ids=["a byte too many", "far too many", "no JSON", "no object", "binary"],
)
async def test_what_is_no_frame_closes_its_socket_and_no_other(one, make_workflow, connect, frame, code):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    if isinstance(frame, bytes):
        await ada.socket.send_bytes(frame)
    else:
        await ada.send(frame)
    assert await ada.close_code() == code
    await ben.answer(await ben.edit(put("Fine")))


async def test_text_that_is_no_unicode_closes_the_socket(one, make_workflow, connect):
    from aiohttp import WSMsgType

    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.socket.send_frame(b"\xff\xfe", WSMsgType.TEXT)
    assert await ada.close_code() == 4400


async def test_a_wrong_frame_is_answered_and_the_socket_stays(one, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    for frame in ({"type": "dance"}, {}, {"type": "presence", "state": 1}, {"type": "join", "client": "again"}):
        before = len(ada.frames)
        await ada.send(frame)
        assert (await ada.frame("error", before))["error"] in ("bad_request", "conflict")
    await ada.send('{"type":"edit","id":1,"ops":["\\ud800"]}')
    assert (await ada.answer(1))["error"] == "bad_request"
    await ada.send({"type": "ping"})
    assert (await ada.frame("tick"))["seq"] == 1


async def test_a_fault_of_ours_ends_one_socket_whose_client_comes_back(one, make_workflow, connect, monkeypatch):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    room = one.hub.rooms[UUID(workflow_id)]
    monkeypatch.setattr(room, "submit", lambda _: 1 // 0)
    await ada.edit(put("Boom"))
    assert await ada.close_code() == 4503
    monkeypatch.undo()
    await ben.answer(await ben.edit(put("Fine")))


async def test_everybody_is_told_how_far_the_draft_is(one, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await one.hub.tick()
    assert await ada.frame("tick") == {"type": "tick", "seq": 1}


async def test_an_instance_that_drains_sends_everybody_away_to_come_back_elsewhere(
    one, two, make_workflow, connect, monkeypatch, http, converged
):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    await ada.answer(await ada.edit(put("Before")))
    one.services.draining.set()
    assert await ada.close_code() == 1012
    assert 0 <= (await ada_frame(ada, "reconnect"))["after_ms"] <= 1_000
    headers = {"X-API-Key": "the-bootstrap-key-of-the-tests", "Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get(one.url(f"/api/ws/workflows/{workflow_id}"), headers=headers) as answer:
        assert answer.status == 503
    again = await connect(two, workflow_id, name=ada.name, since=ada.state.seq, state=ada.state)
    await again.answer(await again.edit(put("After")))
    await converged(workflow_id, again, ben)


async def ada_frame(client, kind):
    return next(frame for frame in client.frames if frame["type"] == kind)


async def test_many_sockets_are_sent_away_one_after_the_other(one, make_workflow, connect, monkeypatch):
    workflow_id = await make_workflow(one)
    clients = [await connect(one, workflow_id) for _ in range(5)]
    waits, sleep = [], asyncio.sleep
    monkeypatch.setattr("melagent.realtime.hub.asyncio.sleep", lambda seconds: waits.append(seconds) or sleep(0))
    await one.hub.drain(0.1)
    assert [await client.close_code() for client in clients] == [1012] * 5
    assert [wait for wait in waits if wait] == [0.02] * 5


async def test_the_memory_of_sockets_that_went_together_is_given_back_once_when_all_are_gone(one, monkeypatch):
    given_back = []
    monkeypatch.setattr(hub_module, "give_back_memory", lambda: given_back.append(True))
    one.hub._ebb.told(GONE_TOGETHER)
    one.hub._ebb.told(5)
    await one.hub.watch()
    assert given_back == []  # some were there a second ago: others may be on their way out
    await one.hub.watch()
    await one.hub.watch()
    assert len(given_back) == 1
