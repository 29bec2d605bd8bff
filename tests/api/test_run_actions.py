"""Pause, resume, cancel, retry, replay and signals over HTTP, and what a run says it waits for."""

import io
import itertools
import json
import time

import pytest
from yarl import URL

from melagent.services import idempotency
from melagent.services.access import Role
from melagent.store.ids import new_id

WAITS = {
    "nodes": [
        {"id": "start", "type": "manual_trigger"},
        {"id": "ask", "type": "wait", "config": {"title": "May we?", "fields": [{"name": "ok", "type": "boolean"}]}},
        {"id": "show", "type": "set", "config": {"fields": {"said": "{{ input }}"}}},
    ],
    "edges": [{"source": "start", "target": "ask"}, {"source": "ask", "target": "show"}],
}


def of(*nodes, **settings):
    """A chain behind a manual trigger."""
    nodes = [{"id": "start", "type": "manual_trigger"}, *nodes]
    edges = [{"source": a["id"], "target": b["id"]} for a, b in itertools.pairwise(nodes)]
    return {"nodes": nodes, "edges": edges, "settings": settings}


STOPS = of({"id": "halt", "type": "stop", "config": {"status": "error", "message": "no"}})


@pytest.fixture
def runs(client, eventually):
    """Calls about runs."""

    class Runs:
        async def post(self, run, action, body=None, **headers):
            path = f"/api/workflow-runs/{run['id']}/{action}"
            answer = await client.post(path, json=body if body is not None else {}, headers=headers)
            return answer.status, await answer.json()

        async def start(self, definition, **body):
            answer = await client.post("/api/workflow-runs", json={"definition": definition, **body})
            return await answer.json()

        async def get(self, run, key=None):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return await (await client.get(f"/api/workflow-runs/{run['id']}", headers=headers)).json()

        async def until(self, run, status):
            async def there():
                found = await self.get(run)
                return found if found["status"] == status else None

            return await eventually(there)

    return Runs()


async def test_a_signal_wakes_the_run_that_waits_for_it(runs, worker):
    run = await runs.start(WAITS)
    await runs.until(run, "waiting")
    status, sent = await runs.post(run, "signals/ask", {"ok": True})
    assert (status, sent["run_id"], sent["name"]) == (202, run["id"], "ask")
    assert (await runs.until(run, "completed"))["output"] == {"ok": True, "said": {"ok": True}}
    assert (await runs.post(run, "signals/ask", 1))[0] == 409
    assert (await runs.post({"id": new_id()}, "signals/ask", 1))[0] == 404


def text_of(size):
    """A JSON text of so many bytes."""
    return io.BytesIO(b'"' + b"x" * (size - 2) + b'"')


async def test_a_signal_may_be_any_value_of_up_to_1_mib_and_nothing_is_null(runs, client, pool, worker):
    run = await runs.until(await runs.start(WAITS), "waiting")
    path = f"/api/workflow-runs/{run['id']}/signals/other"
    assert (await client.post(path, data=text_of(1024 * 1024))).status == 202
    assert (await client.post(path, data=text_of(1024 * 1024 + 1))).status == 413
    assert (await client.post(path, data=b"{")).status == 400
    assert (await client.post(path.replace("other", "a%0Ab"), json=1)).status == 400
    for body in (b"", b"null", b"[1]", b"false"):
        assert (await client.post(path, data=body)).status == 202
    values = [row["value"] for row in await pool.fetch("SELECT value FROM run_inbox ORDER BY id OFFSET 1")]
    assert values == [b"null", b"null", b"[1]", b"false"]


async def test_a_signal_under_a_key_is_sent_once_also_when_its_answer_was_lost(runs, pool, monkeypatch):
    async def die(*_):
        raise ConnectionError

    run = await runs.start(WAITS)
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "keep", die)
        assert (await runs.post(run, "signals/ask", 1, **{"Idempotency-Key": "k"}))[0] == 503
    assert (await runs.post(run, "cancel"))[0] == 200
    answers = [await runs.post(run, "signals/ask", 1, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 202
    assert await pool.fetchval("SELECT count(*) FROM run_inbox") == 1


async def test_a_run_is_paused_and_resumed(runs, worker):
    run = await runs.until(await runs.start(WAITS), "waiting")
    assert (await runs.post(run, "resume"))[0] == 409
    for _ in range(2):
        status, paused = await runs.post(run, "pause")
        assert (status, paused["status"], paused["waiting_for"]) == (200, "paused", None)
    await runs.post(run, "signals/ask", {"ok": False})
    assert (await runs.get(run))["status"] == "paused"
    assert (await runs.post(run, "resume"))[0] == 200
    await runs.until(run, "completed")
    for action in ("pause", "resume", "cancel"):
        assert (await runs.post(run, action))[0] == 409, action
        assert (await runs.post({"id": new_id()}, action))[0] == 404, action


async def test_a_retry_and_a_replay_answer_the_new_run(runs, worker):
    run = await runs.until(await runs.start(STOPS, input=1), "failed")
    status, again = await runs.post(run, "retry")
    assert (status in (200, 202), again["retry_of"], again["input"]) == (True, run["id"], 1)
    assert again["id"] != run["id"]
    status, again = await runs.post(run, "replay", {"input": None})
    assert (again["retry_of"], again["input"]) == (run["id"], None)
    done = await runs.until(await runs.start(of()), "completed")
    assert (await runs.post(done, "retry"))[0] == 409
    assert (await runs.post(done, "replay", {"from_step": "nowhere"}))[0] == 422


async def test_a_replay_of_a_run_of_a_thousand_steps_is_made_within_300_ms(runs, worker):
    loop = {
        "nodes": [
            {"id": "start", "type": "manual_trigger"},
            {"id": "each", "type": "for_each", "config": {"items": "range(995) | list", "concurrency": 100}},
            {"id": "item", "type": "transform", "config": {"expression": "[index, 'x' * 100]"}},
            {"id": "end", "type": "noop"},
        ],
        "edges": [
            {"source": "start", "target": "each"},
            {"source": "each", "source_handle": "item", "target": "item"},
            {"source": "each", "source_handle": "done", "target": "end"},
        ],
    }
    run = await runs.until(await runs.start(loop), "completed")
    took = []
    for _ in range(10):
        began = time.perf_counter()
        _, again = await runs.post(run, "replay", {"from_step": "end"})
        took.append(time.perf_counter() - began)
        assert len((await runs.until(again, "completed"))["output"]) == 995
    assert min(took) <= 0.3, took  # the best of some, because others use this machine as well


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "draft"}, {"version": True}, {"step": "a"}, []])
async def test_a_replay_of_nonsense_is_a_bad_request(runs, body):
    assert (await runs.post({"id": new_id()}, "replay", body))[0] == 400


async def test_a_waiting_run_says_for_what_and_gives_the_link_to_those_who_may_edit(runs, client, keys, worker):
    run = await runs.until(await runs.start(WAITS), "waiting")
    shown = run["waiting_for"]
    assert (shown["type"], shown["signal"], shown["step_key"]) == ("signal", "ask", "ask")
    assert shown["shown"]["title"] == "May we?"
    assert shown["resume_url"].startswith(str(client.make_url("/resume/")))
    assert (await runs.get(run, keys[Role.EDITOR]))["waiting_for"]["resume_url"] == shown["resume_url"]
    assert "resume_url" not in (await runs.get(run, keys[Role.VIEWER]))["waiting_for"]
    listed = await (await client.get("/api/workflow-runs")).json()
    assert listed["runs"][0]["waiting_for"] == shown
    async with client.get(URL(shown["resume_url"]).path) as page:
        assert page.status == 200


@pytest.mark.parametrize(
    "told", ['{"type": "signal"}', '{"type": "signal", "signal": 1}', '{"type": "several", "first": 1}',
             '{"type": "several", "first": [1, {"type": "signal"}]}'],
)  # fmt: skip
async def test_whatever_a_worker_says_that_a_run_waits_for_is_shown_as_it_is(runs, pool, worker, told):
    run = await runs.until(await runs.start(WAITS), "waiting")
    await pool.execute("UPDATE parked SET waiting_for = $1::text::json", told)
    assert (await runs.get(run))["waiting_for"] == json.loads(told)


async def test_a_run_with_several_waits_gives_a_link_for_each(runs, worker):
    both = {
        "nodes": [*WAITS["nodes"][:2], {"id": "other", "type": "wait"}],
        "edges": [{"source": "start", "target": "ask"}, {"source": "start", "target": "other"}],
    }
    run = await runs.until(await runs.start(both), "waiting")
    first = run["waiting_for"]["first"]
    assert {wait["signal"] for wait in first} == {"ask", "other"}
    assert len({wait["resume_url"] for wait in first}) == 2


async def test_a_run_says_until_when_it_sleeps_for_which_child_it_waits_and_that_a_limit_holds_it(
    runs, client, deploy, worker
):
    sleeper = await runs.until(
        await runs.start(of({"id": "d", "type": "delay", "config": {"duration": "1h"}})), "sleeping"
    )
    assert (sleeper["waiting_for"]["type"], sleeper["waiting_for"]["until"][-1]) == ("time", "Z")
    child = await deploy(
        {**WAITS, "nodes": [{"id": "start", "type": "workflow_trigger"}, *WAITS["nodes"][1:]]}, "child"
    )
    parent = await deploy(
        of({"id": "c", "type": "workflow_call", "config": {"workflow": child}}, max_concurrency=1), "p"
    )
    first = await (await client.post(f"/api/workflows/{parent}/execute")).json()
    waiting = await runs.until(first, "waiting")
    called = await runs.until({"id": waiting["waiting_for"]["run_id"]}, "waiting")
    assert (waiting["waiting_for"]["type"], called["parent_run_id"]) == ("run", first["id"])


async def test_a_run_says_that_a_limit_or_a_missing_worker_holds_it(runs, client, deploy):
    limited = await deploy(of(max_concurrency=1), "limited")
    ids = [(await (await client.post(f"/api/workflows/{limited}/execute")).json())["id"] for _ in range(2)]

    kinds = {(await runs.get({"id": each}))["waiting_for"]["type"] for each in ids}
    assert kinds <= {"limit", "worker"}
    assert "limit" in kinds
    run = await runs.start(of(), labels=["gpu=yes"])
    assert (await runs.get(run))["waiting_for"]["type"] == "worker"
