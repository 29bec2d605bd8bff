"""Messages of those who mean no good: random ones, and well-formed ones that are deep, huge, old or of others.

A message is text, bytes for a binary frame, or `Raw` bytes for the line itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import orjson
from aiohttp import WSMsgType
from hypothesis import strategies as st

HONEST = "the client of somebody honest"
"""The `client` that hostile people try to join as."""

MIB = 1024 * 1024


class Raw(bytes):
    """What is no frame of a WebSocket, or one that is not allowed."""

    __slots__ = ()


TEXT = st.text(max_size=20)
IDS = st.sampled_from(["start", "done", "x", "", "__proto__", "a" * 101])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.lists(
    st.sampled_from(["name", "config", "position", "x", "labels", "retry", "id"]) | st.integers(-2, 5) | TEXT,
    max_size=5,
)
CHANGES = st.lists(st.integers(-1, 20) | st.lists(st.integers(0, 5) | TEXT, max_size=3), max_size=5)
OPERATIONS = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["node.set", "node.unset", "meta.set", "text.edit"]), "id": IDS, "path": PATHS},
        optional={"value": JSON, "version": st.integers(-1, 50), "changes": CHANGES},
    ),
    st.fixed_dictionaries(
        {"op": st.sampled_from(["node.add", "node.remove", "node.rename", "edge.add", "edge.remove"]), "id": IDS},
        optional={"to": IDS, "type": TEXT, "source": IDS, "target": IDS, "config": JSON, "position": JSON},
    ),
    st.fixed_dictionaries({"op": st.just("draft.replace"), "definition": JSON}),
    JSON,
)
FRAMES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("edit"), "id": st.integers(-1, 2**60) | JSON, "ops": st.lists(OPERATIONS, max_size=4) | JSON}
    ),
    st.fixed_dictionaries({"type": st.just("presence"), "state": JSON}),
    st.fixed_dictionaries({"type": st.just("join")}, optional={"client": JSON, "since": JSON}),
    st.fixed_dictionaries({"type": TEXT}, optional={"id": JSON}),
    JSON,
)
MESSAGES = st.one_of(
    FRAMES.map(lambda frame: orjson.dumps(frame, default=str, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
               if fits(frame) else "{}"),
    st.text(max_size=200).filter(lambda text: text.isprintable()),
    st.binary(max_size=50),
    st.sampled_from(['{"type":"edit","id":1,"ops":[NaN]}', '{"type":"edit","id":1,"ops":["\\ud800"]}', "[" * 3_000,
                     '{"type":"presence","state":' + '{"a":' * 200 + "1" + "}" * 201, '{"type":"edit"', "null"]),
)  # fmt: skip


def fits(value):
    """Whether orjson writes a value: it knows 64 bits only."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


# Well-formed and hostile


def text_of(**frame):
    return orjson.dumps(frame).decode()


DEEP_FRAMES = {
    "value": '{"type":"edit","id":1,"ops":[{"op":"node.set","id":"done","path":["config","deep"],"value":HERE}]}',
    "node": '{"type":"edit","id":1,"ops":[{"op":"node.add","id":"x","type":"noop","config":{"deep":HERE}}]}',
    "definition": '{"type":"edit","id":1,"ops":[{"op":"draft.replace","definition":{"nodes":HERE,"edges":[]}}]}',
    "note": '{"type":"edit","id":1,"ops":[{"op":"meta.set","path":["notes"],"value":[{"deep":HERE}]}]}',
    "presence": '{"type":"presence","state":{"deep":HERE}}',
    "frame": "HERE",
}


def deep(where, levels, begin, end):
    """A frame with a value that many levels deep."""
    return DEEP_FRAMES[where].replace("HERE", begin * levels + "1" + end * levels)


LEVELS = st.sampled_from([10, 95, 101, 2_000, 150_000])
DEEP = st.one_of(
    st.builds(deep, st.sampled_from([*DEEP_FRAMES]), LEVELS, st.just(begin), st.just(end))
    for begin, end in (("[", "]"), ('{"a":', "}"))
)


def put(path, value):
    return {"op": "node.set", "id": "done", "path": path, "value": value}


def typed(changes, version=0):
    return {"op": "text.edit", "id": "done", "path": ["config", "text"], "version": version, "changes": changes}


def edit(*ops):
    return text_of(type="edit", id=1, ops=ops)


def numbered(text, number):
    """The edit with another id, so that it is no repetition of another one."""
    return text.replace('"id":1,', f'"id":{number},', 1)


MANY_NODES = [{"id": f"n{number}", "type": "noop"} for number in range(6_000)]
HUGE_FRAMES = [
    edit(put(["config", "huge"], "x" * (MIB - 200))),
    edit(put(["config", "huge"], "x" * MIB)),
    edit(put(["config", "huge"], "{{" * 400_000)),
    edit(put(["config", "huge"], {f"{number}": number for number in range(50_000)})),
    edit(put(["config", *["a"] * 100_000], 1)),
    edit(put(["labels", 2**62], "x")),
    edit(*(put(["name"], f"{number}") for number in range(5_000))),
    edit(*[1] * 100_000),
    edit({"op": "node.add", "id": "x" * 500_000, "type": "noop"}),
    edit({"op": "draft.replace", "definition": {"nodes": MANY_NODES, "edges": []}}),
    edit(typed([[0, "x"]] * 50_000)),
    edit(typed([2**62, [2**62, "x"]])),
    '{"type":"edit","id":' + "9" * 100_000 + "}",
    text_of(type="x" * (MIB // 2)),
    text_of(type="presence", state={"cursor": "x" * 4_000}),
    text_of(type="presence", state={"cursor": "x" * 5_000}),
    text_of(type="join", client="x" * 500_000),
]  # fmt: skip
HUGE = st.integers(0, len(HUGE_FRAMES) - 1).map(
    lambda index: HUGE_FRAMES[index]
)  # by number: they are printed otherwise

NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 7, 1_000, 2**31, 2**53 - 1, 2**53, 2**63])
FOREIGN = st.one_of(
    st.builds(lambda since: text_of(type="join", client=HONEST, since=since), st.sampled_from([0, 1, 5])),
    st.builds(lambda number: text_of(type="edit", id=number, ops=[put(["name"], "Mine")]), NUMBERS),
    st.builds(lambda what, node: edit({"id": node} | what), st.sampled_from([
        {"op": "node.remove"}, {"op": "node.rename", "to": HONEST}, {"op": "node.rename", "to": "mine"},
        {"op": "node.unset", "path": ["name"]}, {"op": "node.add", "type": "noop"}, {"op": "edge.remove"},
    ]), st.sampled_from(["start", "mine", "constructor", "e_c8f5f21ee84a9068", "../done", "' OR 1=1", HONEST])),
    st.builds(lambda seq: text_of(type="edit", id=1, seq=seq, by={"id": None, "name": "Ada"}, client=HONEST,
                                  ops=[put(["name"], "Hers")]), NUMBERS),
    st.builds(lambda peer: text_of(type="presence", state={}, changes={peer: None}, peer=peer), st.just(HONEST)),
)  # fmt: skip
OLD = st.one_of(
    st.builds(lambda version: edit(typed([[0, "old"]], version)), NUMBERS),
    st.builds(lambda since: text_of(type="join", client="again", since=since), NUMBERS),
)
CLOSES = Raw(b"\x88\x82\x00\x00\x00\x00\xff\xff")
"""A close, although with a code that is none."""

LINE = st.sampled_from([
    CLOSES,
    Raw(b"\x81\x05hello"),  # without a mask
    Raw(b"\xc1\x85\x00\x00\x00\x00hello"),  # compressed, which was not agreed upon
    Raw(b"\x83\x80\x00\x00\x00\x00"),  # an opcode that nobody has
    Raw(b"\x89\xfe\x01\x00" + b"\x00" * 260),  # a ping that is too long
    Raw(b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"),  # 8 EiB are to come
    Raw(b"\x80\x80\x00\x00\x00\x00"),  # goes on with nothing
    Raw(b"\x81\x84\x00\x00\x00\x00\xff\xfe\xfd\xfc"),  # not UTF-8
    Raw(b"\x88\x81\x00\x00\x00\x00\x01"),  # a close with half a code
    Raw(b"\x01\x81\x00\x00\x00\x00[" * 50),  # fragments within fragments
    Raw(b"\x8a\x80\x00\x00\x00\x00" * 1_000),  # pongs that nobody asked for
])  # fmt: skip
WELL_FORMED = st.builds(numbered, DEEP | HUGE | FOREIGN | OLD, st.integers(1, 9))
HOSTILE = WELL_FORMED | LINE


CLOSED, BROKEN_OFF = 1000, 1006
LAST = 2**53 - 1
"""The highest id of an edit. It is answered after all others."""


async def attack(open_socket, messages, *, joins, see=lambda _frame: None, patience=60.0):
    """Send messages on a socket, after a join or without one. What became of it: `stays`, or the code of its close.

    A system that is sent more after a close may lose the close: then all is done again, slowly. `see` is called with
    each frame that came. TimeoutError: the socket was neither closed nor good for anything.
    """
    for pause in (None, 0.2):
        async with open_socket() as socket, asyncio.timeout(patience):
            with suppress(ConnectionError):
                for message in [{"type": "join", "client": uuid4().hex}] * joins + messages:
                    await _send(socket, message)
                    if pause and await _until(socket, None, see, pause):
                        break
                await _send(socket, {"type": "edit", "id": LAST, "ops": [{"op": "node.remove", "id": "nowhere"}]})
            if not await _until(socket, LAST, see, patience):
                return "stays"
        if socket.close_code != BROKEN_OFF:
            break
    return "closed" if socket.close_code == CLOSED and CLOSES in messages else socket.close_code


async def _until(socket, edit_id, see, seconds):
    """Read until there is an answer to an edit, or for so long. Whether the socket was closed."""
    with suppress(TimeoutError):
        while (message := await socket.receive(timeout=seconds)).type is WSMsgType.TEXT:
            frame = orjson.loads(message.data)
            see(frame)
            if frame["type"] in ("edit", "refused") and frame["id"] == edit_id:
                return False
        return True
    assert edit_id is None, "a socket that should have answered or been closed"
    return False


async def _send(socket, message):
    if isinstance(message, dict):
        await socket.send_json(message)
    elif isinstance(message, Raw):
        socket._writer.transport.write(message)
    elif isinstance(message, bytes):
        await socket.send_bytes(message)
    else:
        await socket.send_str(message)
