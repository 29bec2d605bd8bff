import asyncio

import pytest
from structlog.testing import capture_logs

from melagent.api import webhooks


def workflow(method="POST", nodes=(), edges=(), **config):
    hook = {"id": "hook", "type": "webhook", "config": {"method": method, **config}}
    return {"nodes": [hook, *nodes], "edges": list(edges)}


@pytest.fixture
def hook(client, deploy):
    """Deploy a definition with a webhook; the path to call."""

    async def hook(definition=None):
        workflow_id = await deploy(definition)
        body = await (await client.get(f"/api/triggers?workflow_id={workflow_id}")).json()
        return "/webhooks/" + body["triggers"][0]["webhook_url"].rsplit("/", 1)[1]

    return hook


async def test_a_call_starts_a_run_that_is_durable_when_it_is_answered(client, hook, pool):
    path = await hook()
    answer = await client.post(path, json={"n": 1})
    body = await answer.json()
    assert (answer.status, list(body)) == (202, ["run_id"])
    assert await pool.fetchval("SELECT count(*) FROM work_items WHERE run_id = $1", body["run_id"]) == 1
    run = await (await client.get(f"/api/workflow-runs/{body['run_id']}")).json()
    assert (run["trigger"]["type"], run["trigger"]["node_id"]) == ("webhook", "hook")
    assert (run["input"]["method"], run["input"]["body"]) == ("POST", {"n": 1})


async def test_a_call_needs_no_key(serve, services, hook):
    path = await hook()
    async with serve(services, key=None) as stranger:
        assert (await stranger.post(path)).status == 202


@pytest.mark.parametrize("path", ["unknown", "x" * 43, "%00" * 43, "%ff" * 20, "ä" * 43, "x" * 3000, "a/b/c"])
async def test_an_unknown_token_is_not_found(client, path):
    assert (await client.post(f"/webhooks/{path}")).status == 404


async def test_a_disabled_trigger_is_not_found(client, hook, pool):
    path = await hook()
    await pool.execute("UPDATE triggers SET enabled = false")
    assert (await client.post(path)).status == 404


async def test_a_wrong_method_is_refused_and_starts_nothing(client, hook, pool):
    path = await hook(workflow("PUT"))
    answer = await client.post(path)
    assert (answer.status, (await answer.json())["error"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "PUT"
    assert await pool.fetchval("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_any_method_is_any_method(client, hook, method):
    path = await hook(workflow("ANY"))
    assert (await client.request(method, path)).status == 202


async def test_what_follows_the_token_is_given_to_the_run(client, hook):
    path = await hook()
    run_id = (await (await client.post(f"{path}/orders/7?x=1")).json())["run_id"]
    run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
    assert (run["input"]["path"], run["input"]["query"]) == ("/orders/7", {"x": "1"})


async def test_a_path_that_was_set_must_follow_the_token(client, hook):
    path = await hook(workflow(path="/orders"))
    assert (await client.post(path)).status == 404
    assert (await client.post(f"{path}/other")).status == 404
    assert (await client.post(f"{path}/orders")).status == 202


async def test_a_deploy_is_seen_at_once_on_the_instance_that_made_it(client, deploy, hook):
    path = await hook()
    assert (await client.post(path)).status == 202
    workflows = await (await client.get("/api/workflows")).json()
    workflow_id = workflows["workflows"][0]["id"]
    body = {"name": "put", "definition": workflow("PUT")}
    assert (await client.post(f"/api/workflows/{workflow_id}/versions", json=body)).status == 201
    assert (await client.post(f"/api/workflows/{workflow_id}/versions/2/deploy")).status == 200
    assert (await client.post(path)).status == 405
    assert (await client.put(path)).status == 202


async def test_sync_mode_answers_with_the_output_of_the_run(client, hook, worker):
    path = await hook(workflow(mode="sync", statusCode=201, headers={"X-Mel": "yes"}))
    answer = await client.post(path, json={"n": 1})
    assert (answer.status, answer.headers["X-Mel"]) == (201, "yes")
    assert (await answer.json())["body"] == {"n": 1}
    assert answer.headers["Content-Security-Policy"] == "sandbox"


def responding(**config):
    node = {"id": "answer", "type": "http_response", "config": config}
    edge = {"source": "hook", "target": "answer"}
    return workflow(mode="sync", respond="http_response", nodes=[node], edges=[edge])


async def test_a_node_may_answer_with_status_headers_and_text(client, hook, worker):
    path = await hook(responding(statusCode=418, headers={"content-type": "text/html", "X-A": "b"}, body="<p>tea"))
    answer = await client.post(path)
    assert (answer.status, await answer.text()) == (418, "<p>tea")
    assert (answer.headers["Content-Type"], answer.headers["X-A"]) == ("text/html", "b")
    assert answer.headers["Content-Security-Policy"] == "sandbox"


async def test_a_node_may_answer_with_a_value(client, hook, worker):
    path = await hook(responding(body={"a": "{{ input.body.n }}"}))
    answer = await client.post(path, json={"n": [1, None]})
    assert (answer.status, await answer.json()) == (200, {"a": [1, None]})


async def test_headers_that_would_break_the_answer_are_left_out(client, hook, worker):
    headers = {
        "X-Bad": "a\r\nInjected: 1",
        "Bad Name": "x",
        "Content-Length": "5",
        "Transfer-Encoding": "x",
        "X-Ok": "1",
    }
    answer = await client.post(await hook(responding(headers=headers, body="a longer body")))
    assert (answer.status, await answer.text()) == (200, "a longer body")
    assert answer.headers["X-Ok"] == "1"
    assert not {"X-Bad", "Injected", "Bad Name", "Transfer-Encoding"} & set(answer.headers)


async def test_headers_that_reach_beyond_the_answer_are_left_out(client, hook, worker):
    headers = {
        "content-security-policy": "default-src *",
        "Service-Worker-Allowed": "/",
        "Clear-Site-Data": '"*"',
        "Set-Cookie": "mel_session=somebody; Path=/",
        "X-Ok": "1",
    }
    answer = await client.post(await hook(responding(headers=headers, body="<p>page")))
    assert (answer.status, answer.headers["X-Ok"]) == (200, "1")
    assert answer.headers.getall("Content-Security-Policy") == ["sandbox"]
    assert not {"Service-Worker-Allowed", "Clear-Site-Data", "Set-Cookie"} & set(answer.headers)


async def test_a_run_is_not_given_the_session_of_a_visitor(client, hook, pool):
    path = await hook()
    sent = {"Cookie": "mel_session=of-an-administrator; other=1", "X-Other": "1"}
    for turn in (sent, {**sent, "Idempotency-Key": "k"}):
        run_id = (await (await client.post(path, headers=turn)).json())["run_id"]
        run = await (await client.get(f"/api/workflow-runs/{run_id}")).json()
        assert (run["input"]["headers"]["x-other"], "cookie" in run["input"]["headers"]) == ("1", False)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(client, hook, worker, status):
    answer = await client.post(await hook(responding(statusCode=status, body="ignored")))
    assert (answer.status, await answer.read()) == (status, b"")


async def test_a_status_that_is_no_answer_is_an_error_with_the_run(client, hook, worker):
    answer = await client.post(await hook(responding(statusCode="{{ 100 + 1 }}")))
    assert answer.status == 500
    assert "run_id" in await answer.json()


@pytest.mark.parametrize("path", ["", "/orders/7"])
async def test_an_error_of_our_own_does_not_put_the_token_into_the_log(client, hook, monkeypatch, path):
    async def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(webhooks, "_answer_at_once", broken)
    called = await hook()
    with capture_logs() as lines:
        assert (await client.post(called + path)).status == 500
    logged = [line for line in lines if line["event"] == "request failed"]
    assert [line["path"] for line in logged] == ["/webhooks/{token}/{rest}" if path else "/webhooks/{token}"]
    assert called.removeprefix("/webhooks/") not in str(lines)


async def test_a_failed_run_is_an_error_with_the_run_and_without_its_reasons(client, hook, worker):
    stop = {"id": "stop", "type": "stop", "config": {"status": "error", "message": "the-secret-reason"}}
    definition = workflow(mode="sync", nodes=[stop], edges=[{"source": "hook", "target": "stop"}])
    answer = await client.post(await hook(definition))
    body = await answer.json()
    assert (answer.status, body["error"]) == (500, "internal")
    assert "the-secret-reason" not in str(body)
    run = await (await client.get(f"/api/workflow-runs/{body['run_id']}")).json()
    assert run["status"] == "failed"


async def test_a_run_that_takes_longer_goes_on_and_the_caller_learns_its_id(client, hook, monkeypatch):
    monkeypatch.setattr(webhooks, "WAIT_SECONDS", 0.05)
    answer = await client.post(await hook(workflow(mode="sync")))
    body = await answer.json()
    assert (answer.status, body["error"]) == (504, "timeout")
    run = await (await client.get(f"/api/workflow-runs/{body['run_id']}")).json()
    assert run["status"] == "pending"


async def test_sync_mode_may_answer_at_once(client, hook):
    answer = await client.post(await hook(workflow(mode="sync", respond="at_once")))
    assert answer.status == 202


async def test_the_priority_and_time_limit_of_the_version_are_the_runs(client, hook, pool):
    definition = workflow() | {"settings": {"priority": 1, "timeout_seconds": 60}}
    await client.post(await hook(definition))
    row = await pool.fetchrow("SELECT priority, deadline_at - created_at AS allowed FROM runs")
    assert (row["priority"], row["allowed"].total_seconds()) == (1, 60)


async def test_many_calls_at_once_are_one_run_each(client, hook, worker):
    path = await hook(workflow(mode="sync"))

    async def one(number):
        answer = await client.post(path, json=number)
        return (await answer.json())["body"]

    assert await asyncio.gather(*(one(number) for number in range(50))) == list(range(50))
