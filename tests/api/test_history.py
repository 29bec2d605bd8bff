"""The history of a draft, and taking edits back."""

import asyncio

import pytest

from melagent.services import history
from melagent.services.access import Role
from melagent.store.ids import new_id

NOOP = {"type": "noop"}


@pytest.fixture
async def draft(client, keyed_as, make_workflow):
    return Draft(client, keyed_as, (await make_workflow())["id"])


class Draft:
    def __init__(self, client, keyed_as, workflow_id):
        self.client, self.keyed_as, self.path = client, keyed_as, f"/api/workflows/{workflow_id}"

    async def call(self, method, path, body=None, role=None, **options):
        headers = await self.keyed_as(role) if role else {}
        answer = await self.client.request(method, self.path + path, json=body, headers=headers, **options)
        return answer.status, await answer.json() if answer.status != 204 else None

    async def rename(self, name, node_id="done", role=None):
        """Name a node, which is the next edit."""
        assert (await self.call("PUT", f"/nodes/{node_id}", {"name": name}, role))[0] == 200

    async def names(self):
        _, draft = await self.call("GET", "/draft")
        return {node["id"]: node["name"] for node in draft["definition"]["nodes"]}

    async def history(self, **query):
        return (await self.call("GET", "/draft/history", params=query))[1]

    async def revert(self, **body):
        return await self.call("POST", "/draft/revert", body)


@pytest.fixture
def keyed_as(keys):
    async def keyed_as(role):
        return {"Authorization": f"Bearer {keys[Role[role.upper()]]}"}

    return keyed_as


async def test_the_history_tells_who_did_what_and_when_newest_first(draft):
    await draft.rename("One")
    await draft.call("POST", "/nodes", {"id": "more", **NOOP}, role="editor")
    told = await draft.history()
    assert ([edit["seq"] for edit in told["edits"]], told["next_cursor"]) == ([3, 2], None)
    added, renamed = told["edits"]
    assert (added["ops"][0]["op"], added["ops"][0]["id"], added["by"]["name"]) == ("node.add", "more", "editor")
    assert renamed["ops"] == [{"op": "node.set", "id": "done", "path": ["name"], "value": "One"}]
    assert (renamed["by"], renamed["client"][:5], renamed["reverts"]) == (
        {"id": None, "name": "bootstrap"}, "rest-", None,
    )  # fmt: skip
    assert renamed["at"] < added["at"]


async def test_the_history_comes_in_pages_that_end_early_when_edits_are_large(draft, monkeypatch):
    for number in range(5):
        await draft.rename(f"{number}" * 50)
    first = await draft.history(limit=2)
    second = await draft.history(limit=3, cursor=first["next_cursor"])
    assert [edit["seq"] for page in (first, second) for edit in page["edits"]] == [6, 5, 4, 3, 2]
    assert (first["next_cursor"], second["next_cursor"]) == (5, None)
    monkeypatch.setattr(history, "PAGE_BYTES", 150)
    small = await draft.history()
    assert ([edit["seq"] for edit in small["edits"]], small["next_cursor"]) == ([6, 5], 5)


async def test_an_edit_is_taken_back_and_others_stay(draft):
    await draft.rename("One")
    await draft.rename("Start here", "start")
    status, after = await draft.revert(edits=[2])
    assert (status, after["revision"]) == (200, 4)
    assert (await draft.names()) == {"start": "Start here", "hook": "", "done": ""}
    newest = (await draft.history())["edits"][0]
    assert (newest["reverts"], newest["ops"]) == (
        [2],
        [{"op": "node.set", "id": "done", "path": ["name"], "value": ""}],
    )


async def test_taking_back_a_removal_brings_back_the_node_with_its_edges(draft):
    _, before = await draft.call("GET", "/draft")
    await draft.call("DELETE", "/nodes/done")
    assert (await draft.revert(edits=[2]))[0] == 200
    _, after = await draft.call("GET", "/draft")
    for part in ("nodes", "edges"):
        assert sorted(after["definition"][part], key=str) == sorted(before["definition"][part], key=str)


async def test_what_was_built_on_an_edit_is_a_conflict_that_names_the_later_edits(draft):
    await draft.call("POST", "/nodes", {"id": "more", **NOOP})
    await draft.rename("Mine", "more", role="editor")
    await draft.call("POST", "/edges", {"source": "done", "target": "more"})
    await draft.rename("Not about it")
    status, body = await draft.revert(edits=[2])
    assert (status, body["error"]) == (409, "conflict")
    assert [detail["field"] for detail in body["details"]] == ["edits.4", "edits.3"]
    assert "editor changed nodes.more" in body["details"][1]["problem"]
    assert (await draft.revert(edits=[2], force=True))[0] == 200
    assert "more" not in await draft.names()
    assert (await draft.revert(edits=[2], force=True))[0] == 409, "nothing of it is left"


async def test_edits_are_taken_back_together_with_what_was_built_on_them(draft):
    await draft.call("POST", "/nodes", {"id": "more", **NOOP})
    await draft.rename("Mine", "more")
    await draft.rename("Kept")
    assert (await draft.revert(edits=[2, 3]))[0] == 200
    assert await draft.names() == {"start": "", "hook": "", "done": "Kept"}
    assert (await draft.revert(edits=[5]))[0] == 200, "taking back is an edit like any other"
    assert (await draft.names())["more"] == "Mine"


async def test_an_edit_is_not_taken_back_twice_without_a_word(draft):
    await draft.rename("One")
    await draft.revert(edits=[2])
    status, body = await draft.revert(edits=[2])
    assert (status, [detail["field"] for detail in body["details"]]) == (409, ["edits.3"])


async def test_a_draft_is_restored_as_it_was(draft):
    await draft.rename("One")
    await draft.call("DELETE", "/nodes/hook")
    await draft.call("PUT", "/draft", {"definition": {"nodes": [{"id": "x", **NOOP}]}, "revision": 3})
    status, after = await draft.revert(to=2)
    assert (status, after["revision"]) == (200, 5)
    assert {node["id"]: node["name"] for node in after["definition"]["nodes"]} == {
        "start": "",
        "hook": "",
        "done": "One",
    }
    assert (await draft.revert(to=5))[1]["revision"] == 5, "it is as it was already"
    assert (await draft.revert(to=1))[0] == 200
    assert (await draft.names())["done"] == ""


async def test_a_restore_over_what_others_did_needs_force(draft):
    await draft.rename("One")
    await draft.rename("Two", role="editor")
    status, body = await draft.revert(to=1)
    assert (status, [detail["field"] for detail in body["details"]]) == (409, ["edits.3"])
    assert (await draft.revert(to=1, force=True))[0] == 200
    assert (await draft.names())["done"] == ""


async def test_what_is_no_edit_of_the_draft_is_not_found(draft):
    await draft.rename("One")
    for body in ({"edits": [3]}, {"edits": [2, 9]}, {"edits": [0]}, {"to": 9}):
        assert (await draft.revert(**body))[0] == 404, body
    for body in (
        {},
        {"edits": []},
        {"edits": [2], "to": 1},
        {"edits": ["x"]},
        {"to": -1},
        {"edits": [2**70]},
        {"edits": [-5]},
    ):
        assert (await draft.revert(**body))[0] == 400, body
    nobody = Draft(draft.client, draft.keyed_as, new_id())
    assert (await nobody.revert(edits=[2]))[0] == 404
    assert (await nobody.call("GET", "/draft/history"))[0] == 404


async def test_a_history_that_is_forgotten_is_gone(draft, pool):
    for name in ("One", "Two"):
        await draft.rename(name)
    await pool.execute("DELETE FROM edits WHERE seq = 2")
    assert (await draft.revert(edits=[2]))[0] == 410
    assert (await draft.revert(to=1))[0] == 410
    assert (await draft.revert(edits=[3]))[0] == 200
    assert (await draft.revert(edits=[1]))[0] == 410, "the first state came by no edit"


async def test_history_is_for_viewers_and_taking_back_for_editors(draft):
    await draft.rename("One")
    assert (await draft.call("GET", "/draft/history", role="viewer"))[0] == 200
    assert (await draft.call("POST", "/draft/revert", {"edits": [2]}, role="viewer"))[0] == 403


async def test_of_those_who_take_back_the_same_edit_at_once_one_does(draft):
    await draft.rename("One")
    results = await asyncio.gather(*(draft.revert(edits=[2]) for _ in range(4)))
    assert sorted(status for status, _ in results) == [200, 409, 409, 409]
