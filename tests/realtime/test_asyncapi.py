"""docs/asyncapi.yaml says what is sent and accepted: every frame of a busy room is held against it."""

from __future__ import annotations

import pytest

from examples.live_client import edge_id
from melagent.domain.operations import KINDS
from melagent.realtime import frames
from melagent.realtime.frames import Wrong
from melagent.services.access import Role
from tests.realtime.clients import put
from tests.realtime.document import DOCUMENT, FROM_CLIENT, FROM_SERVER, MESSAGES, VALIDATORS

EDGE = {"source": "start", "source_handle": "out", "target": "done", "target_handle": "in"}
ADMIN = {"X-API-Key": "the-bootstrap-key-of-the-tests"}


@pytest.fixture
def kind():
    return "postgres"


def names(operation):
    references = DOCUMENT["operations"][operation]["messages"]
    return [reference["$ref"].rsplit("/", 1)[-1] for reference in references]


def test_the_document_is_whole():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert (tuple(names("fromClient")), set(names("toClient"))) == (FROM_CLIENT, FROM_SERVER)
    assert set(DOCUMENT["channels"]["workflow"]["messages"]) == set(MESSAGES)
    described = {each["properties"]["op"]["const"] for each in DOCUMENT["components"]["schemas"]["operation"]["oneOf"]}
    assert described == set(KINDS)


async def test_what_the_server_sends_is_as_described(one, two, make_workflow, connect, http, keys, monkeypatch):
    workflow_id = await make_workflow(one)
    ada, eva = await connect(one, workflow_id), await connect(two, workflow_id, key=keys[Role.VIEWER])
    await ada.send({"type": "presence", "state": {"cursor": [1, 2]}})
    await ada.edit({"op": "node.add", "id": "odd", "type": "no_such_type"})
    await ada.frame("problems")
    operations = (
        {"op": "node.rename", "id": "odd", "to": "even"},
        put("Other"),
        {"op": "node.unset", "id": "done", "path": ["name"]},
        {"op": "edge.add", "source": "done", "target": "even"},
        {"op": "node.rename", "id": "even", "to": "odder"},
        {"op": "meta.set", "path": ["settings", "priority"], "value": 3},
        {"op": "text.edit", "id": "done", "path": ["config", "text"], "version": 8, "changes": [[0, "a", "b"]]},
        {"op": "node.unset", "id": "done", "path": ["config", "text"]},
        {"op": "edge.remove", "id": edge_id(EDGE)},
        {"op": "node.remove", "id": "odder"},
        {"op": "node.set", "id": "odder", "path": ["name"], "value": "gone"},
        {"op": "node.set", "id": "nowhere", "path": ["name"], "value": "x"},
        {"op": "draft.replace", "definition": {"nodes": [{"id": "start", "type": "manual_trigger"}], "edges": []}},
    )
    for operation in operations:
        await ada.answer(await ada.edit(operation))
    await eva.answer(await eva.edit(put("Mine")))
    await ada.send({"type": "dance"})
    await ada.send({"type": "ping"})
    base = one.url(f"/api/workflows/{workflow_id}")
    await http.post(f"{base}/versions", json={"name": "first"}, headers=ADMIN)
    await http.post(f"{base}/versions/1/deploy", headers=ADMIN)
    await http.post(f"{base}/execute", json={}, headers=ADMIN)
    again = await connect(one, workflow_id, since=1)
    await again.close()
    for kind in ("error", "tick", "run_started"):
        await ada.frame(kind)
    await ada.until(lambda: any(None in f.get("changes", {}).values() for f in ada.frames))
    one.services.draining.set()
    await ada.close_code()
    sent = [client.joined for client in (ada, eva, again)] + [*ada.frames, *eva.frames]
    for frame in sent:
        VALIDATORS[frame["type"]].validate(frame)
    assert {frame["type"] for frame in sent} == FROM_SERVER
    assert any("gone" in frame for frame in sent)
    assert {op["op"] for frame in sent if frame["type"] == "edit" for op in frame["ops"]} == set(KINDS)


ACCEPTED = [
    {"type": "join", "client": "c"},
    {"type": "join", "client": "c", "since": None},
    {"type": "join", "client": "c" * 100, "since": 2**53 - 1},
    {"type": "edit", "id": 1, "ops": [put("x")]},
    {"type": "presence", "state": {"cursor": [1, 2]}},
    {"type": "presence", "state": {}, "more": 1},
    {"type": "ping"},
]
REFUSED = [
    {"type": "join"},
    {"type": "join", "client": ""},
    {"type": "join", "client": "c" * 101},
    {"type": "join", "client": "ü"},
    {"type": "join", "client": 1},
    {"type": "join", "client": "c", "since": -1},
    {"type": "join", "client": "c", "since": "1"},
    {"type": "edit", "ops": [put("x")]},
    {"type": "edit", "id": 0, "ops": [put("x")]},
    {"type": "edit", "id": 2**53, "ops": [put("x")]},
    {"type": "presence"},
    {"type": "presence", "state": []},
    {"type": "dance"},
    {},
]


@pytest.mark.parametrize("frame", ACCEPTED, ids=str)
def test_what_is_described_is_accepted(frame):
    import orjson

    assert any(VALIDATORS[name].is_valid(frame) for name in FROM_CLIENT)
    frames.read(orjson.dumps(frame))


@pytest.mark.parametrize("frame", REFUSED, ids=str)
def test_what_is_not_described_is_refused(frame):
    import orjson

    assert not any(VALIDATORS[name].is_valid(frame) for name in FROM_CLIENT)
    with pytest.raises(Wrong):
        frames.read(orjson.dumps(frame))
