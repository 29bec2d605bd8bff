from datetime import UTC, datetime, timedelta

import pytest

from melagent.services.access import Role
from melagent.store.ids import new_id

CHAIN = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "left", "type": "set", "config": {"fields": {"side": "left"}}},
        {"id": "right", "type": "set", "config": {"fields": {"side": "right"}, "include": "none"}},
        {"id": "both", "type": "merge", "config": {"strategy": "append"}},
        {"id": "say", "type": "log", "config": {"message": "hello {{ input | length }}"}},
    ],
    "edges": [
        {"source": "start", "target": "left"},
        {"source": "start", "target": "right"},
        {"source": "left", "target": "both"},
        {"source": "right", "target": "both"},
        {"source": "both", "target": "say"},
    ],
}


@pytest.fixture
def run_unlisted(client):
    async def run_unlisted(definition, status=200, **more):
        body = {"name": "a file", "definition": definition, "wait_seconds": 10, **more}
        answer = await client.post("/api/workflow-runs", json=body)
        assert answer.status == status, await answer.text()
        return await answer.json()

    return run_unlisted


async def test_an_unlisted_run_is_answered_with_its_end_when_it_ends_in_time(run_unlisted, worker):
    run = await run_unlisted(CHAIN, input={"n": 1})
    assert (run["status"], run["workflow_id"], run["version"]) == ("completed", None, None)
    assert run["workflow_name"] == "a file"
    assert run["input"] == {"n": 1}
    assert run["output"] == [{"n": 1, "side": "left"}, {"side": "right"}]
    assert run["finished_at"] >= run["started_at"] >= run["created_at"]


async def test_a_run_that_has_not_ended_is_accepted(run_unlisted):
    run = await run_unlisted(CHAIN, status=202, wait_seconds=0)
    assert (run["status"], run["output"], run["trigger"]["type"]) == ("pending", None, "manual")


async def test_the_same_file_is_stored_once_and_arms_no_trigger(run_unlisted, client, pool, definition):
    one = await run_unlisted(definition, status=202, wait_seconds=0)
    other = await run_unlisted(definition, status=202, wait_seconds=0)
    assert one["version_id"] == other["version_id"]
    assert (await (await client.get("/api/triggers")).json())["total"] == 0
    assert await pool.fetchval("SELECT count(*) FROM versions") == 1


async def test_a_definition_that_cannot_run_is_unprocessable_with_its_problems(run_unlisted):
    body = await run_unlisted({"nodes": [{"id": "a", "type": "teleport"}]}, status=422)
    assert {detail["field"] for detail in body["details"]} == {"nodes", "nodes.a.type"}


async def test_several_triggers_need_an_entry(run_unlisted):
    hooks = {"nodes": [{"id": name, "type": "webhook"} for name in ("one", "two")]}
    body = await run_unlisted(hooks, status=422)
    assert body["details"][0]["field"] == "entry"
    await run_unlisted(hooks, status=202, entry="two", wait_seconds=0)


async def test_a_run_tells_the_definition_that_it_follows_also_that_of_a_draft_that_has_gone_on(client, worker):
    made = await (await client.post("/api/workflows", json={"name": "a draft", "definition": CHAIN})).json()
    path = f"/api/workflows/{made['id']}"
    run = await (await client.post(f"{path}/execute", json={"version": "draft", "wait_seconds": 10})).json()
    await client.put(f"{path}/draft/nodes/say", json={"name": "Say it louder"})
    told = (await (await client.get(f"/api/workflow-runs/{run['id']}/definition")).json())["definition"]
    assert [node["id"] for node in told["nodes"]] == [node["id"] for node in CHAIN["nodes"]]
    assert told["nodes"][-1]["name"] != "Say it louder"
    assert len(told["edges"]) == len(CHAIN["edges"])


async def test_steps_show_what_went_in_and_what_came_out(client, run_unlisted, worker):
    run = await run_unlisted(CHAIN, input={"n": 1})
    body = await (await client.get(f"/api/workflow-runs/{run['id']}/steps")).json()
    steps = {step["node_id"]: step for step in body["steps"]}
    assert steps["start"]["input"] == steps["start"]["output"] == steps["left"]["input"] == {"n": 1}
    assert steps["both"]["input"] == [{"n": 1, "side": "left"}, {"side": "right"}]
    assert {step["status"] for step in body["steps"]} == {"completed"}
    assert steps["say"]["logs"][0]["message"] == "hello 2"
    assert steps["say"]["started_at"].endswith("Z")


async def test_steps_come_in_pages(client, run_unlisted, worker):
    run = await run_unlisted(CHAIN)
    path = f"/api/workflow-runs/{run['id']}/steps"
    keys, cursor = [], 0
    while cursor is not None:
        page = await (await client.get(f"{path}?limit=2&cursor={cursor}")).json()
        keys += [step["step_key"] for step in page["steps"]]
        cursor = page["next_cursor"]
    assert sorted(keys) == ["both", "left", "right", "say", "start"]


async def test_large_values_come_back_whole_and_unchanged(client, run_unlisted, worker):
    large = {"text": "\u0000" + "ä" * 20_000, "number": 1.0}
    run = await run_unlisted({"nodes": [{"id": "start", "type": "manual_trigger"}]}, input=large)
    assert run["input"] == run["output"] == large
    steps = (await (await client.get(f"/api/workflow-runs/{run['id']}/steps")).json())["steps"]
    assert steps[0]["input"] == steps[0]["output"] == large


async def test_a_page_of_steps_ends_early_when_its_values_are_large(client, run_unlisted, worker, monkeypatch):
    from melagent.services import runs

    run = await run_unlisted(CHAIN, input="x" * 20_000)
    monkeypatch.setattr(runs, "PAGE_BYTES", 50_000)
    path = f"/api/workflow-runs/{run['id']}/steps"
    page = await (await client.get(path)).json()
    assert 1 <= len(page["steps"]) < 5
    rest = await (await client.get(f"{path}?cursor={page['next_cursor']}")).json()
    assert rest["steps"][0]["step_key"] not in {step["step_key"] for step in page["steps"]}


async def test_a_failed_run_says_why(run_unlisted, worker):
    stop = {"id": "stop", "type": "stop", "config": {"status": "error", "message": "out of stock"}}
    start = {"id": "start", "type": "manual_trigger"}
    run = await run_unlisted({"nodes": [start, stop], "edges": [{"source": "start", "target": "stop"}]})
    assert run["status"] == "failed"
    assert "out of stock" in run["error"]["message"]


async def test_the_current_version_a_number_or_the_draft_is_executed(client, deploy, worker, pool):
    workflow_id = await deploy()
    path = f"/api/workflows/{workflow_id}/execute"
    for version, number in (("current", 1), (1, 1), ("draft", None)):
        answer = await client.post(path, json={"version": version, "wait_seconds": 10})
        run = await answer.json()
        assert (answer.status, run["version"], run["workflow_id"]) == (200, number, workflow_id), version


async def test_execute_takes_an_empty_body(client, deploy):
    workflow_id = await deploy()
    assert (await client.post(f"/api/workflows/{workflow_id}/execute")).status == 202


async def test_execute_needs_a_version_that_is_there(client, make_workflow):
    path = f"/api/workflows/{(await make_workflow())['id']}/execute"
    assert (await client.post(path, json={})).status == 409
    assert (await client.post(path, json={"version": 7})).status == 404
    for version in (0, -1, 2**31, 2**80, 1.5, True, "latest", None, []):
        assert (await client.post(path, json={"version": version})).status == 400, version


async def test_priority_may_be_given_at_the_start(client, deploy, pool):
    path = f"/api/workflows/{await deploy()}/execute"
    await client.post(path, json={"priority": 0})
    assert await pool.fetchval("SELECT priority FROM runs") == 0
    assert (await client.post(path, json={"priority": 10})).status == 400


async def test_a_run_is_cancelled_once(client, run_unlisted):
    run = await run_unlisted(CHAIN, status=202, wait_seconds=0)
    path = f"/api/workflow-runs/{run['id']}/cancel"
    cancelled = await client.post(path)
    assert (cancelled.status, (await cancelled.json())["status"]) == (200, "cancelled")
    assert (await client.post(path)).status == 409


async def test_runs_are_listed_newest_first_and_filtered(client, deploy, run_unlisted):
    workflow_id = await deploy()
    mine = await (await client.post(f"/api/workflows/{workflow_id}/execute")).json()
    other = await run_unlisted(CHAIN, status=202, wait_seconds=0)
    await client.post(f"/api/workflow-runs/{other['id']}/cancel")
    hour = timedelta(hours=1)
    past, future = (datetime.now(UTC) - hour).isoformat(), (datetime.now(UTC) + hour).isoformat()

    async def listed(**query):
        answer = await client.get("/api/workflow-runs", params=query)
        assert answer.status == 200, await answer.text()
        return {run["id"] for run in (await answer.json())["runs"]}

    assert await listed() == {mine["id"], other["id"]}
    assert await listed(workflow_id=workflow_id) == await listed(status="pending") == {mine["id"]}
    assert await listed(status="cancelled") == {other["id"]}
    assert await listed(since=past, until=future) == {mine["id"], other["id"]}
    assert await listed(since=future) == await listed(until=past) == set()
    assert await listed(trigger_id=str(new_id())) == set()


async def test_pages_of_runs_hold_every_run_once(client, run_unlisted):
    made = {(await run_unlisted(CHAIN, status=202, wait_seconds=0))["id"] for _ in range(5)}
    seen, cursor = [], {}
    while True:
        page = await (await client.get("/api/workflow-runs", params={"limit": "2", **cursor})).json()
        seen += [run["id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert (len(seen), set(seen)) == (5, made)


async def test_what_is_not_there_is_not_found(client):
    for name in (str(new_id()), "nope", "00000000-0000-0000-0000-000000000000"):
        for path in ("", "/definition", "/steps", "/events"):
            assert (await client.get(f"/api/workflow-runs/{name}{path}")).status == 404, (name, path)
        assert (await client.post(f"/api/workflow-runs/{name}/cancel")).status == 404


@pytest.mark.parametrize("query", ["since=2026-01-01", "since=yesterday", "status=lost", "trigger_id=1", "since=1e30"])
async def test_a_filter_that_does_not_fit_is_a_bad_request(client, query):
    assert (await client.get(f"/api/workflow-runs?{query}")).status == 400


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59-12:00"])
async def test_the_ends_of_time_are_moments_too(client, since):
    assert (await client.get("/api/workflow-runs", params={"since": since})).status == 200


async def test_steps_on_dead_paths_are_listed_last_as_skipped(run_unlisted, client, worker):
    definition = {
        "nodes": [
            {"id": "start", "type": "manual_trigger"},
            {"id": "other_start", "type": "webhook"},
            {"id": "check", "type": "if", "config": {"conditions": [{"expression": "input.n > 1"}]}},
            {"id": "yes", "type": "noop"},
            {"id": "no", "type": "noop"},
            {"id": "after_no", "type": "noop"},
        ],
        "edges": [
            {"source": "start", "target": "check"},
            {"source": "other_start", "target": "after_no"},
            {"source": "check", "source_handle": "true", "target": "yes"},
            {"source": "check", "source_handle": "false", "target": "no"},
            {"source": "no", "target": "after_no"},
        ],
    }
    run = await run_unlisted(definition, input={"n": 2})
    body = await (await client.get(f"/api/workflow-runs/{run['id']}/steps")).json()
    assert [(step["step_key"], step["status"]) for step in body["steps"]] == [
        ("start", "completed"),
        ("check", "completed"),
        ("yes", "completed"),
        ("other_start", "skipped"),
        ("no", "skipped"),
        ("after_no", "skipped"),
    ]
    assert body["steps"][-1]["started_at"] is None


async def test_ended_runs_are_purged_by_an_administrator_and_live_ones_stay(run_unlisted, client, worker, keys):
    ended = await run_unlisted(CHAIN)
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()

    async def purge(key=None, **body):
        headers = {"Authorization": f"Bearer {keys[key]}"} if key else {}
        answer = await client.post("/api/workflow-runs/purge", json={"before": later, **body}, headers=headers)
        return answer.status, await answer.json()

    nap = {"id": "nap", "type": "delay", "config": {"duration": "1h"}}
    sleepy = {"nodes": [CHAIN["nodes"][0], nap], "edges": [{"source": "start", "target": "nap"}]}
    live = await run_unlisted(sleepy, status=202, wait_seconds=0)
    assert (await purge(Role.EDITOR))[0] == 403
    assert await purge(status="failed") == (200, {"count": 0, "next_cursor": None})
    assert await purge(workflow_id=str(new_id())) == (200, {"count": 0, "next_cursor": None})
    assert await purge(dry_run=True) == (200, {"count": 1, "next_cursor": None})
    assert (await client.get(f"/api/workflow-runs/{ended['id']}")).status == 200
    assert await purge() == (200, {"count": 1, "next_cursor": None})
    for path in ("", "/steps", "/events"):
        assert (await client.get(f"/api/workflow-runs/{ended['id']}{path}")).status == 404, path
    assert (await client.get(f"/api/workflow-runs/{live['id']}")).status == 200


async def test_what_to_purge_must_be_said_exactly(client):
    moment = "2026-01-01T00:00:00Z"
    for body in ({}, {"before": "2026-01-01T00:00:00"}, {"before": moment, "status": "running"},
                 {"before": moment, "workflow_id": "x"}, {"before": moment, "older": 1}, {"before": None}):  # fmt: skip
        assert (await client.post("/api/workflow-runs/purge", json=body)).status == 400, body
