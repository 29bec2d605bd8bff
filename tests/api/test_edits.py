"""Edits of a draft, one call for each."""

import asyncio

import orjson
import pytest

from melagent.domain import draft_operations, node_operations, operations
from melagent.store.ids import new_id

NOOP = {"type": "noop"}


@pytest.fixture
async def draft(client, make_workflow):
    """A workflow's address, with its draft as `read()` shows it."""
    return Draft(client, f"/api/workflows/{(await make_workflow())['id']}")


class Draft:
    def __init__(self, client, path):
        self.client = client
        self.path = path

    async def call(self, method, path, body=None, **options):
        answer = await self.client.request(method, self.path + path, json=body, **options)
        return answer.status, await answer.json() if answer.status != 204 else None

    async def read(self):
        return (await self.call("GET", "/draft"))[1]

    async def node_ids(self):
        return [node["id"] for node in (await self.read())["definition"]["nodes"]]


async def test_a_node_is_added_with_its_defaults_and_is_the_next_revision(draft):
    status, made = await draft.call("POST", "/nodes", {"id": "more", "type": "delay", "config": {"seconds": 1}})
    assert (status, made["id"], made["retry"]["max_attempts"], made["on_error"]) == (201, "more", 3, "fail")
    now = await draft.read()
    assert (now["revision"], now["definition"]["nodes"][-1]) == (2, made)
    assert await draft.call("GET", "/nodes/more") == (200, made)


async def test_a_node_without_an_id_gets_a_short_one_that_tells_its_type(draft):
    made = [(await draft.call("POST", "/nodes", {"type": "http_request"}))[1]["id"] for _ in range(3)]
    assert made == ["http_request", "http_request_2", "http_request_3"]
    assert (await draft.call("POST", "/nodes", {"type": "ünknown type!"}))[1]["id"] == "nknown_type"
    assert (await draft.call("POST", "/nodes", {"type": "数"}))[1]["id"] == "node"
    long = (await draft.call("POST", "/nodes", {"type": "x" * 100}))[1]["id"]
    assert (await draft.call("GET", f"/nodes/{long}"))[0] == 200


async def test_a_node_id_that_is_taken_is_a_conflict(draft):
    status, body = await draft.call("POST", "/nodes", {"id": "done", **NOOP})
    assert (status, body["error"], (await draft.read())["revision"]) == (409, "conflict", 1)


async def test_a_change_keeps_the_fields_that_are_left_out(draft):
    first = {"id": "w", "type": "delay", "name": "Wait", "config": {"seconds": 1}, "timeout_seconds": 5}
    await draft.call("POST", "/nodes", first)
    status, changed = await draft.call("PUT", "/nodes/w", {"name": "Wait a moment", "disabled": True})
    assert status == 200
    assert (changed["name"], changed["disabled"]) == ("Wait a moment", True)
    assert (changed["type"], changed["config"], changed["timeout_seconds"]) == ("delay", {"seconds": 1}, 5)
    assert (await draft.call("PUT", "/nodes/w", {"timeout_seconds": None}))[1]["timeout_seconds"] is None
    assert (await draft.call("PUT", "/nodes/w", {}))[1]["name"] == "Wait a moment"


async def test_what_was_read_can_be_put_back_but_not_under_another_id(draft):
    _, node = await draft.call("GET", "/nodes/done")
    assert await draft.call("PUT", "/nodes/done", node) == (200, node)
    status, body = await draft.call("PUT", "/nodes/done", {**node, "id": "other"})
    assert (status, body["details"][0]["field"]) == (400, "id")


async def test_a_deleted_node_takes_its_edges_along(draft):
    await draft.call("POST", "/nodes", {"id": "last", **NOOP})
    await draft.call("POST", "/edges", {"source": "start", "target": "last"})
    assert await draft.call("DELETE", "/nodes/done") == (204, None)
    now = (await draft.read())["definition"]
    assert [node["id"] for node in now["nodes"]] == ["start", "hook", "last"]
    assert [(edge["source"], edge["target"]) for edge in now["edges"]] == [("start", "last")]


async def test_an_edge_is_added_listed_and_removed(draft):
    await draft.call("POST", "/nodes", {"id": "last", **NOOP})
    status, edge = await draft.call("POST", "/edges", {"source": "done", "target": "last", "id": "mine"})
    assert (status, edge["source_handle"], edge["id"][:2]) == (201, "out", "e_")
    _, listed = await draft.call("GET", "/edges")
    assert (listed["total"], edge in listed["edges"]) == (3, True)
    again, body = await draft.call("POST", "/edges", {"source": "done", "target": "last"})
    assert (again, body["error"]) == (409, "conflict")
    assert (await draft.call("DELETE", f"/edges/{edge['id']}"))[0] == 204
    assert (await draft.call("DELETE", f"/edges/{edge['id']}"))[0] == 404


async def test_an_edge_that_leads_nowhere_is_refused_and_says_which_end(draft):
    status, body = await draft.call("POST", "/edges", {"source": "start", "target": "nobody"})
    assert (status, [detail["field"] for detail in body["details"]]) == (422, ["target"])


async def test_what_is_not_there_is_not_found(draft, client):
    for method, path in (("GET", "/nodes/x"), ("PUT", "/nodes/x"), ("DELETE", "/nodes/%00"), ("DELETE", "/edges/x")):
        assert (await draft.call(method, path, {} if method == "PUT" else None))[0] == 404, path
    nobody = Draft(client, f"/api/workflows/{new_id()}")
    for method, path, body in (
        ("GET", "/nodes", None), ("POST", "/nodes", NOOP), ("PUT", "/nodes/a", {}), ("DELETE", "/nodes/a", None),
        ("GET", "/edges", None), ("POST", "/edges", {"source": "a", "target": "b"}), ("POST", "/layout", {}),
    ):  # fmt: skip
        assert (await nobody.call(method, path, body))[0] == 404, path


@pytest.mark.parametrize(
    "body",
    [{}, {"id": "", **NOOP}, {"id": None, **NOOP}, {"id": "a b", **NOOP}, {"type": ""}, {"type": 5}, {**NOOP, "x": 1}],
)
async def test_a_node_that_is_none_is_a_bad_request(draft, body):
    assert (await draft.call("POST", "/nodes", body))[0] == 400
    assert (await draft.read())["revision"] == 1


@pytest.mark.parametrize("body", [{"type": ""}, {"name": None}, {"retry": {"max_attempts": 0}}, {"colour": "red"}])
async def test_a_change_that_does_not_fit_is_a_bad_request(draft, body):
    assert (await draft.call("PUT", "/nodes/done", body))[0] == 400


async def test_of_many_who_edit_at_the_same_moment_none_loses_anything(draft):
    adds = [draft.call("POST", "/nodes", NOOP) for _ in range(12)]
    changes = [draft.call("PUT", f"/nodes/{node_id}", {"name": "x"}) for node_id in ("start", "hook", "done")]
    edges = [draft.call("POST", "/edges", {"source": source, "target": "start"}) for source in ("hook", "done")]
    results = await asyncio.gather(*adds, *changes, *edges)
    assert {status for status, _ in results} == {200, 201}
    now = await draft.read()
    assert now["revision"] == 1 + len(results)
    assert len({made["id"] for _, made in results[:12]}) == 12
    assert {made["id"] for _, made in results[:12]} < {node["id"] for node in now["definition"]["nodes"]}
    assert [node["name"] for node in now["definition"]["nodes"][:3]] == ["x", "x", "x"]
    assert len(now["definition"]["edges"]) == 4


async def test_whoever_replaces_the_draft_notices_an_edit(draft):
    await draft.call("POST", "/nodes", NOOP)
    status, body = await draft.call("PUT", "/draft", {"definition": {"nodes": []}, "revision": 1})
    assert (status, body["error"]) == (409, "conflict")


async def test_positions_that_are_given_are_taken_over(draft):
    status, after = await draft.call("POST", "/layout", {"positions": {"done": {"x": 7, "y": -2.5}}})
    assert (status, after["revision"], after["problems"]) == (200, 2, [])
    nodes = {node["id"]: node["position"] for node in after["definition"]["nodes"]}
    assert (nodes["done"], nodes["start"]) == ({"x": 7, "y": -2.5}, {"x": 0, "y": 0})


async def test_without_positions_they_are_computed(draft):
    _, after = await draft.call("POST", "/layout")
    nodes = {node["id"]: node["position"] for node in after["definition"]["nodes"]}
    assert nodes["start"]["x"] == nodes["hook"]["x"] < nodes["done"]["x"]
    assert nodes["start"]["y"] < nodes["done"]["y"] < nodes["hook"]["y"]


async def test_positions_of_nodes_that_are_not_there_move_nothing(draft):
    place = {"x": 1, "y": 1}
    status, body = await draft.call("POST", "/layout", {"positions": {"done": place, "a": place, "b": place}})
    assert (status, [detail["field"] for detail in body["details"]]) == (422, ["positions.a", "positions.b"])
    assert (await draft.read())["revision"] == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/layout", {}), ("/versions", {"name": "v"}), ("/execute", {"version": "draft"})]
)
async def test_a_draft_that_has_not_reached_the_revision_is_behind(draft, path, body):
    await draft.call("PUT", "/nodes/done", {"name": "seen"})
    status, answer = await draft.call("POST", path, {**body, "min_revision": 3})
    assert (status, answer["error"]) == (409, "draft_behind")
    assert (await draft.call("POST", path, {**body, "min_revision": 2}))[0] in (200, 201, 202)


async def test_a_revision_without_a_draft_is_a_bad_request(draft):
    body = {"name": "v", "definition": {"nodes": []}, "min_revision": 1}
    assert (await draft.call("POST", "/versions", body))[0] == 400
    assert (await draft.call("POST", "/execute", {"min_revision": 1}))[0] == 400


async def test_a_draft_cannot_grow_beyond_what_a_definition_may_hold(draft, monkeypatch):
    monkeypatch.setattr(node_operations, "MAX_NODES", 4)
    monkeypatch.setattr(draft_operations, "MAX_EDGES", 2)
    assert (await draft.call("POST", "/nodes", NOOP))[0] == 201
    assert (await draft.call("POST", "/nodes", NOOP))[0] == 422
    assert (await draft.call("POST", "/edges", {"source": "start", "target": "noop"}))[0] == 422
    monkeypatch.setattr(operations, "MAX_DEFINITION_BYTES", 10_000)
    assert (await draft.call("PUT", "/nodes/noop", {"config": {"x": "y" * 10_000}}))[0] == 413
    assert (await draft.read())["revision"] == 2


TWICE = {"nodes": [{"id": "a", "type": "noop"}, {"id": "a", "type": "log"}, {"id": "a_2", "type": "delay"}]}


async def test_of_nodes_with_one_id_the_later_ones_get_ids_of_their_own(client, make_workflow):
    draft = Draft(client, f"/api/workflows/{(await make_workflow(TWICE))['id']}")
    assert await draft.node_ids() == ["a", "a_3", "a_2"]
    _, put = await draft.call("PUT", "/draft", {"definition": TWICE, "revision": 1})
    assert [(node["id"], node["type"]) for node in put["definition"]["nodes"]] == [
        ("a", "noop"), ("a_3", "log"), ("a_2", "delay"),
    ]  # fmt: skip
    assert (await draft.call("DELETE", "/nodes/a"))[0] == 204
    assert await draft.node_ids() == ["a_3", "a_2"]


async def test_a_draft_of_old_with_one_id_twice_can_be_edited(client, pool, make_workflow):
    made = await make_workflow()
    await pool.execute("UPDATE drafts SET definition = $1", orjson.dumps(TWICE).decode())
    draft = Draft(client, f"/api/workflows/{made['id']}")
    assert await draft.node_ids() == ["a", "a", "a_2"]
    assert (await draft.call("PUT", "/nodes/a", {"name": "x"}))[1]["type"] == "noop"
    assert [(node["id"], node["name"]) for node in (await draft.read())["definition"]["nodes"]] == [
        ("a", "x"), ("a_3", ""), ("a_2", ""),
    ]  # fmt: skip


async def test_a_node_that_gets_another_type_keeps_its_edges(draft):
    before = (await draft.read())["definition"]["edges"]
    assert (await draft.call("PUT", "/nodes/done", {"type": "log", "name": "Log"}))[1]["type"] == "log"
    after = (await draft.read())["definition"]
    assert after["edges"] == before
    assert [(node["type"], node["name"]) for node in after["nodes"] if node["id"] == "done"] == [("log", "Log")]


async def test_a_change_that_changes_nothing_is_no_edit(draft):
    await draft.call("PUT", "/nodes/done", {"config": {"a": True}})
    await draft.call("PUT", "/nodes/done", {"config": {"a": True}})
    assert (await draft.read())["revision"] == 2
    await draft.call("PUT", "/nodes/done", {"config": {"a": 1}})
    assert (await draft.call("GET", "/nodes/done"))[1]["config"] == {"a": 1}
    assert (await draft.read())["revision"] == 3


async def test_what_a_draft_cannot_hold_is_refused_by_its_field(draft):
    for method, path, body in (
        ("PUT", "/nodes/done", {"config": {"x": "a\u0000b"}}),
        ("POST", "/nodes", {"type": "noop", "config": {"x": "a\u0000b"}}),
        ("PUT", "/draft", {"definition": {"nodes": [{"id": "a", **NOOP, "config": {"x": "\u0000"}}]}, "revision": 1}),
    ):
        status, answered = await draft.call(method, path, body)
        assert (status, answered["error"]) == (400, "bad_request")
        assert answered["details"][0]["field"] in ("value", "config", "definition")
    assert (await draft.read())["revision"] == 1
