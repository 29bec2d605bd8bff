"""What is read from the wire, and what is written to it, byte for byte."""

from __future__ import annotations

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader

from melagent.realtime import frames
from melagent.realtime.frames import Closing, Join, Ping, SentEdit, State, Wrong


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (b'{"type":"join","client":"c1"}', Join("c1", None)),
        (b'{"type":"join","client":"c1","since":null}', Join("c1", None)),
        (b'{"type":"join","client":"c1","since":0,"more":1}', Join("c1", 0)),
        (b'{"type":"ping"}', Ping()),
        (b'{"type":"presence","state":{"cursor": [1, 2]}}', State(b'{"cursor":[1,2]}')),
        (b'{"type":"edit","id":3,"ops":[1]}', SentEdit(3, [1], 32)),
        (b'{"type":"edit","id":3}', SentEdit(3, None, 22)),
    ],
)
def test_frames_are_read(text, sent):
    assert frames.read(text) == sent


@pytest.mark.parametrize("text", [b"", b"x", b"[]", b"1", b'{"type":', b"\xff", b'{"type":"ping"}x', b"[" * 5_000])
def test_what_is_no_frame_closes_the_socket(text):
    with pytest.raises(Closing) as closing:
        frames.read(text)
    assert closing.value.code == 4400


@pytest.mark.parametrize(
    ("text", "field", "edit_id"),
    [
        (b"{}", "type", None),
        (b'{"type":"dance"}', "type", None),
        (b'{"type":["edit"]}', "type", None),
        (b'{"type":"edit","ops":[]}', "id", None),
        (b'{"type":"edit","id":0,"ops":[]}', "id", None),
        (b'{"type":"edit","id":true,"ops":[]}', "id", None),
        (b'{"type":"edit","id":9007199254740992,"ops":[]}', "id", None),
        (b'{"type":"edit","id":1.5,"ops":[]}', "id", None),
        (b'{"type":"edit","id":5,"ops":["\\ud800"]}', "", 5),
        (b'{"type":"edit","id":5,"ops":[NaN]}', "", 5),
        (b'{"type":"edit","id":5,"ops":' + b"[" * 150 + b"]" * 150 + b"}", "", 5),
        (b'{"type":"presence"}', "state", None),
        (b'{"type":"presence","state":[]}', "state", None),
        (b'{"type":"presence","state":{"x":"' + b"y" * 4_100 + b'"}}', "state", None),
        (b'{"type":"join"}', "client", None),
        (b'{"type":"join","client":""}', "client", None),
        (b'{"type":"join","client":"\\u00fc"}', "client", None),
        (b'{"type":"join","client":"a\\nb"}', "client", None),
        (b'{"type":"join","client":"' + b"c" * 101 + b'"}', "client", None),
        (b'{"type":"join","client":"c","since":-1}', "since", None),
        (b'{"type":"join","client":"c","since":"1"}', "since", None),
    ],
)
def test_a_mistake_in_a_frame_names_the_field(text, field, edit_id):
    with pytest.raises(Wrong) as wrong:
        frames.read(text)
    assert ([detail.field for detail in wrong.value.details], wrong.value.edit_id) == ([field], edit_id)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
async def test_a_library_reads_what_we_encode(size):
    class Protocol:
        _reading_paused = False

        def pause_reading(self): ...
        def resume_reading(self): ...

    import asyncio

    queue = WebSocketDataQueue(Protocol(), 2**20, loop=asyncio.get_running_loop())
    reader = WebSocketReader(queue, 0, False, True)  # noqa: FBT003  # compress, decode_text
    payload = b"x" * size
    reader.feed_data(frames.encoded(payload) + frames.encoded(b"second"))
    async with asyncio.timeout(5):
        first, second = await queue.read(), await queue.read()
    assert (first.type, first.data, second.data) == (WSMsgType.TEXT, payload.decode(), "second")
