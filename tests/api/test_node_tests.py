"""One node of a draft on a worker: what it gave, why it failed, what it logged."""

import asyncio

import pytest

from melagent.services import node_tests
from melagent.store.ids import new_id

NODES = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "hook", "type": "webhook"},
        {"id": "double", "type": "transform", "config": {"expression": "input.n * 2"}},
        {"id": "say", "type": "log", "config": {"message": "n is {{ input.n }}"}},
        {
            "id": "stop",
            "type": "stop",
            "config": {"status": "error", "message": "enough"},
            "disabled": True,
            "on_error": "continue",
            "retry": {"max_attempts": 50},
        },
        {"id": "far", "type": "transform", "config": {"expression": "steps.double.output"}},
        {"id": "sleep", "type": "delay", "config": {"duration": 3_600_000}},
        {"id": "strange", "type": "teleport"},
        {"id": "each", "type": "for_each", "config": {"items": "{{ input }}"}},
    ],
    "edges": [{"source": "start", "target": "double"}, {"source": "double", "target": "far"}],
}


@pytest.fixture
async def workflow(make_workflow):
    return f"/api/workflows/{(await make_workflow(NODES))['id']}"


@pytest.fixture
def tried(client, workflow):
    async def tried(node_id, **body):
        answer = await client.post(f"{workflow}/draft/nodes/{node_id}/test", json=body)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return tried


async def test_a_node_gives_its_output_and_how_long_it_took(worker, tried):
    outcome = await tried("double", input={"n": 21})
    assert outcome.pop("duration_ms") >= 0
    assert outcome == {"success": True, "output": 42, "error": None, "logs": []}


async def test_what_a_node_logs_is_answered(worker, tried):
    (line,) = (await tried("say", input={"n": 1}))["logs"]
    assert (line["level"], line["message"]) == ("info", "n is 1")


async def test_a_node_that_fails_says_why_after_one_attempt_whatever_it_does_in_its_workflow(worker, tried, pool):
    failed = await tried("double", input={"n": []})
    assert (failed["success"], failed["output"], failed["error"]["code"]) == (False, None, "expression_error")
    stopped = await tried("stop")
    assert stopped["success"] is False
    assert "enough" in stopped["error"]["message"]
    assert await pool.fetchval("SELECT max(attempt) FROM steps") == 1


async def test_what_is_pinned_is_the_input_unless_another_one_is_given(client, worker, workflow, tried):
    await client.put(f"{workflow}/draft/nodes/double/pinned", json={"value": {"n": 5}})
    assert (await tried("double"))["output"] == 10
    assert (await tried("double", input={"n": 1}))["output"] == 2
    assert (await tried("double", input=None))["success"] is False


async def test_without_any_input_the_input_is_null(worker, tried):
    assert (await tried("start"))["output"] == {}
    assert (await tried("start", input=[1]))["output"] == [1]
    assert (await tried("each", input=[1, 2]))["success"] is True


async def test_a_test_is_a_run_of_no_workflow_and_leaves_the_draft_alone(client, worker, workflow, tried):
    before = await (await client.get(f"{workflow}/draft")).json()
    await tried("double", input={"n": 1})
    assert await (await client.get(f"{workflow}/draft")).json() == before
    (run,) = (await (await client.get("/api/workflow-runs")).json())["runs"]
    assert (run["workflow_id"], run["status"]) == (None, "completed")


async def test_a_node_that_does_not_end_is_stopped(worker, tried, pool, monkeypatch, eventually):
    monkeypatch.setattr(node_tests, "WAIT_SECONDS", 0.5)
    outcome = await tried("sleep")
    assert (outcome["success"], outcome["error"]["code"]) == (False, "timeout")
    assert await pool.fetchval("SELECT status FROM runs") == "cancelled"


async def test_without_a_worker_the_answer_says_so_and_nothing_runs_later(tried, pool, monkeypatch):
    monkeypatch.setattr(node_tests, "WAIT_SECONDS", 0.1)
    outcome = await tried("double", input={"n": 1})
    assert "no worker is connected" in outcome["error"]["message"]
    assert await pool.fetchval("SELECT count(*) FROM work_items") == 0


async def test_many_at_once_each_get_their_own_outcome(worker, tried):
    outcomes = await asyncio.gather(*(tried("double", input={"n": n}) for n in range(20)))
    assert [outcome["output"] for outcome in outcomes] == [n * 2 for n in range(20)]


@pytest.mark.parametrize(
    ("node_id", "field"), [("far", "nodes.far.config.expression"), ("strange", "nodes.strange.type")]
)
async def test_a_node_that_cannot_run_by_itself_is_refused(client, workflow, node_id, field):
    answer = await client.post(f"{workflow}/draft/nodes/{node_id}/test", json={})
    assert (answer.status, (await answer.json())["details"][0]["field"]) == (422, field)


async def test_a_draft_that_has_not_reached_the_revision_is_refused(client, workflow):
    answer = await client.post(f"{workflow}/draft/nodes/double/test", json={"min_revision": 99})
    assert (await answer.json())["error"] == "draft_behind"


async def test_a_node_that_is_not_there_is_not_found(client, workflow):
    for path in (f"{workflow}/draft/nodes/nobody/test", f"/api/workflows/{new_id()}/draft/nodes/double/test"):
        assert (await client.post(path, json={})).status == 404
