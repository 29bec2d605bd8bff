"""What is kept of calls, replays, test addresses, and addresses that are renewed."""

import asyncio
import hashlib
import json
from dataclasses import replace
from uuid import UUID

import pytest

from melagent.api import webhook_terms
from melagent.api.context import DELIVERIES
from melagent.broker.postgres import postgres_broker
from melagent.engine.engine import Engine
from melagent.maintenance.sweeper import Sweeper
from melagent.services import deliveries as deliveries_service
from melagent.services.access import Role
from melagent.services.webhook_tests import WebhookTests
from melagent.store import work
from melagent.store.ids import new_id
from melagent.vault import Vault
from tests.api.calling import github, slack
from tests.api.test_webhooks import workflow

SECRET = "correct horse battery staple"
MINE, GONE = str(UUID(int=1)), str(UUID(int=9))


class Hook:
    """A deployed webhook: its trigger, and the path to call."""

    def __init__(self, client, trigger):
        self._client = client
        self.trigger = f"/api/triggers/{trigger['id']}"
        self.path = path_of(trigger["webhook_url"])

    async def kept(self, **query):
        answer = await self._client.get(f"{self.trigger}/deliveries", params=query)
        assert answer.status == 200, await answer.text()
        return (await answer.json())["deliveries"]


def path_of(url):
    return "/webhooks/" + url.rsplit("/", 1)[1]


@pytest.fixture
def hook(client, deploy, secrets):
    secrets[MINE] = SECRET
    secrets[GONE] = "there when it was deployed"

    async def hook(definition=None, **config):
        workflow_id = await deploy(definition or workflow(**config))
        del secrets[GONE]
        body = await (await client.get(f"/api/triggers?workflow_id={workflow_id}")).json()
        return Hook(client, body["triggers"][0])

    return hook


@pytest.fixture
async def other(serve, services, pool, database_url):
    """A second instance, with a broker and an engine of its own."""
    broker = postgres_broker(database_url)
    engine = Engine(pool, broker, answering=["http_response"])
    await broker.start()
    await engine.open()
    async with serve(replace(services, engine=engine, instance="other")) as client:
        yield client
    await engine.close()
    await broker.stop()


async def run_of(client, run_id):
    return await (await client.get(f"/api/workflow-runs/{run_id}")).json()


# What is kept


async def test_calls_that_are_accepted_are_not_kept_unless_the_webhook_asks_for_it(client, hook):
    plain, asking = await hook(), await hook(deliveries="all")
    for one in (plain, asking):
        assert (await client.post(f"{one.path}/a?b=c", json={"n": 1})).status == 202
    assert await plain.kept() == []
    [kept] = await asking.kept()
    assert (kept["outcome"], kept["status"], kept["body_size"], kept["body_kept"]) == ("accepted", 202, 8, True)
    assert {name: kept["request"][name] for name in ("method", "path", "query")} == {
        "method": "POST", "path": "/a", "query": {"b": "c"},
    }  # fmt: skip
    assert (await run_of(client, kept["run_id"]))["input"]["body"] == {"n": 1}
    whole = await (await client.get(f"{asking.trigger}/deliveries/{kept['id']}")).json()
    assert whole == kept | {"body": '{"n": 1}'}


@pytest.mark.parametrize(
    ("config", "call", "status", "reason"),
    [
        ({"method": "PUT"}, {}, 405, "POST is not allowed here; allowed: PUT."),
        ({"maxBodyBytes": 1}, {"data": b"xx"}, 413, "at most 1 bytes"),
        ({}, {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not valid JSON"),
        ({"auth": "header", "secret": MINE}, {}, 401, "X-Webhook-Secret does not hold the secret"),
        ({"auth": "hmac", "preset": "github", "secret": MINE}, {}, 401, "X-Hub-Signature-256 is missing"),
        ({"auth": "header", "secret": GONE}, {}, 503, "no connection"),
        ({}, {"headers": {"Idempotency-Key": "a b"}}, 400, "Idempotency-Key"),
    ],
)
async def test_a_call_that_starts_nothing_is_kept_with_the_reason(client, hook, *, config, call, status, reason):
    one = await hook(**config)
    assert (await client.post(one.path, **call)).status == status
    [kept] = await one.kept()
    assert (kept["outcome"], kept["status"]) == ("failed" if status == 503 else "refused", status)
    assert reason in kept["reason"]
    assert kept["run_id"] is None


async def test_a_call_that_comes_too_often_is_kept(client, hook):
    one = await hook(perSecond=0.01)
    assert [(await client.post(one.path)).status for _ in range(2)] == [202, 429]
    assert [kept["status"] for kept in await one.kept()] == [429]


async def test_a_webhook_may_keep_nothing(client, hook):
    one = await hook(deliveries="none", maxBodyBytes=0)
    assert (await client.post(one.path, data=b"x")).status == 413
    assert await one.kept() == []


async def test_a_repetition_is_kept_as_one(client, hook):
    one = await hook(deliveries="all")
    for _ in range(2):
        await client.post(one.path, headers={"Idempotency-Key": "k"})
    kept = await one.kept()
    assert [delivery["outcome"] for delivery in kept] == ["duplicate", "accepted"]
    assert kept[0]["run_id"] == kept[1]["run_id"]


async def test_no_secret_is_kept_of_a_call(client, hook, pool):
    one = await hook(auth="header", secret=MINE, authHeader="X-Custom", deliveries="all")
    canary = "canary-7f3a"
    headers = {
        "X-Custom": SECRET, "Authorization": canary, "Cookie": canary, "X-Api-Key": canary, "X-Hub-Signature": canary,
        "X-Auth-Token": canary, "X-Plain": "seen",
    }  # fmt: skip
    assert (await client.post(one.path, headers=headers)).status == 202
    assert (await client.post(one.path, headers=headers | {"X-Custom": "wrong-" + canary})).status == 401
    text = json.dumps(await one.kept())
    rows = str([tuple(row) for row in await pool.fetch("SELECT convert_from(request, 'UTF8') FROM deliveries")])
    for seen in (text, rows):
        assert canary not in seen
        assert SECRET not in seen
        assert "seen" in seen


async def test_a_body_that_is_too_large_is_not_kept_but_its_size_is(client, hook, monkeypatch):
    monkeypatch.setattr(webhook_terms, "MAX_BODY_BYTES", 3)
    one = await hook(deliveries="all")
    for body in (b"123", b"1234"):
        await client.post(one.path, data=body)
    assert [(kept["body_size"], kept["body_kept"]) for kept in await one.kept()] == [(4, False), (3, True)]


async def test_bytes_that_are_no_text_are_shown_as_a_file(client, hook):
    one = await hook(deliveries="all")
    await client.post(one.path, data=b"\xff\x00", headers={"Content-Type": "image/png"})
    [kept] = await one.kept()
    whole = await (await client.get(f"{one.trigger}/deliveries/{kept['id']}")).json()
    assert whole["body"] == {"filename": None, "content_type": "image/png", "size": 2, "base64": "/wA="}


async def test_strange_paths_and_headers_can_be_kept(client, hook):
    one = await hook(deliveries="all")
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"POST {one.path}/%ff/%00?%ff=%00 HTTP/1.1\r\nHost: x\r\n".encode())
    writer.write(b"X-Strange: \xff\x80\r\nContent-Length: 2\r\n\r\n\xff\x00")
    await writer.drain()
    assert b" 202 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert len(await one.kept()) == 1


async def test_of_each_webhook_the_newest_are_kept(client, hook, monkeypatch):
    monkeypatch.setattr(deliveries_service, "KEPT", 3)
    one, other = await hook(deliveries="all"), await hook(deliveries="all")
    await client.post(other.path, json=0)
    for number in range(5):
        await client.post(one.path, json=number)
        await one.kept()
    bodies = [
        (await (await client.get(f"{one.trigger}/deliveries/{kept['id']}")).json())["body"] for kept in await one.kept()
    ]
    assert bodies == ["4", "3", "2"]
    assert len(await other.kept()) == 1


async def test_deliveries_end_after_some_days_and_with_their_runs(client, hook, pool):
    one = await hook(deliveries="all")
    await client.post(one.path)
    [kept] = await one.kept()
    await Sweeper(pool, deliveries_days=7).one_pass()
    assert await one.kept() == [kept]
    old = UUID(int=UUID(kept["id"]).int - (8 * 24 * 3600 * 1000 << 80))
    await pool.execute("UPDATE deliveries SET id = $1", old)
    await Sweeper(pool, deliveries_days=7).one_pass()
    assert await one.kept() == []


async def test_what_is_noted_is_written_by_itself_and_at_the_end(client, hook, pool, *, eventually, serve, services):
    one = await hook(method="PUT")
    assert (await client.post(one.path)).status == 405
    assert await eventually(lambda: pool.fetchval("SELECT count(*) FROM deliveries"))
    async with serve(services) as leaving:
        assert (await leaving.post(one.path)).status == 405
    assert await pool.fetchval("SELECT count(*) FROM deliveries") == 2


async def test_what_cannot_be_written_now_is_written_later(client, hook, pool, monkeypatch):
    one = await hook(method="PUT")
    written = deliveries_service.deliveries.insert

    async def away(*_):
        raise ConnectionError

    monkeypatch.setattr(deliveries_service.deliveries, "insert", away)
    assert (await client.post(one.path)).status == 405
    assert (await client.get(f"{one.trigger}/deliveries")).status == 503
    assert (await client.post(one.path)).status == 405
    monkeypatch.setattr(deliveries_service.deliveries, "insert", written)
    assert len(await one.kept()) == 2


async def test_a_call_that_the_database_cannot_take_is_kept_and_can_be_replayed(client, hook, pool, monkeypatch):
    one = await hook()
    start = work.start

    async def away(*_):
        raise TypeError("broken")

    monkeypatch.setattr(work, "start", away)
    assert (await client.post(one.path, json={"n": 1})).status >= 500
    monkeypatch.setattr(work, "start", start)
    [kept] = await one.kept()
    assert (kept["outcome"], kept["body_kept"]) == ("failed", True)
    answer = await client.post(f"{one.trigger}/deliveries/{kept['id']}/replay")
    assert (await run_of(client, (await answer.json())["run_id"]))["input"]["body"] == {"n": 1}


async def test_large_deliveries_are_written_in_batches(client, hook, monkeypatch):
    monkeypatch.setattr(deliveries_service, "BATCH_BYTES", 1000)
    one, sizes, insert = await hook(deliveries="all"), [], deliveries_service.deliveries.insert

    async def counted(conn, batch):
        sizes.append(len(batch))
        await insert(conn, batch)

    monkeypatch.setattr(deliveries_service.deliveries, "insert", counted)
    async with client.server.app[DELIVERIES]._writing:  # so that all are noted before the first is written
        for _ in range(5):
            assert (await client.post(one.path, data=b"x" * 2000)).status == 202
    assert len(await one.kept()) == 5
    assert sizes == [1] * 5


async def test_deliveries_come_in_pages_the_newest_first(client, hook):
    one = await hook(deliveries="all")
    for _ in range(5):
        await client.post(one.path)
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        body = await (await client.get(f"{one.trigger}/deliveries", params=query)).json()
        found += [kept["id"] for kept in body["deliveries"]]
        if (cursor := body["next_cursor"]) is None:
            break
    assert len(found) == 5
    assert found == sorted(found, reverse=True)


async def test_another_triggers_delivery_is_not_found(client, hook):
    one, other = await hook(deliveries="all"), await hook()
    await client.post(one.path)
    [kept] = await one.kept()
    assert (await client.get(f"{other.trigger}/deliveries/{kept['id']}")).status == 404
    assert (await client.post(f"{other.trigger}/deliveries/{kept['id']}/replay")).status == 404
    assert (await client.get(f"/api/triggers/{new_id()}/deliveries")).status == 404


# Replay


async def test_a_replay_starts_a_new_run_with_the_same_call(client, hook, pool):
    one = await hook(deliveries="all")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    first = await client.post(f"{one.path}/x?q=1", data=b"a=1&a=2", headers=form)
    [kept] = await one.kept()
    answer = await client.post(f"{one.trigger}/deliveries/{kept['id']}/replay")
    assert answer.status == 202
    run_id = (await answer.json())["run_id"]
    assert run_id != (await first.json())["run_id"]
    again = await run_of(client, run_id)
    given = (await run_of(client, kept["run_id"]))["input"]
    assert given["body"] == {"a": ["1", "2"]}
    given["headers"]["authorization"] = "•••"  # is not kept
    assert again["input"] == given
    assert (again["trigger"]["type"], again["trigger"]["node_id"]) == ("webhook", "hook")


async def test_what_was_refused_can_be_replayed(client, hook):
    one = await hook(auth="hmac", preset="github", secret=MINE, rawBody=True)
    assert (await client.post(one.path, json={"n": 1})).status == 401
    [kept] = await one.kept()
    answer = await client.post(f"{one.trigger}/deliveries/{kept['id']}/replay")
    given = (await run_of(client, (await answer.json())["run_id"]))["input"]
    assert (given["body"], given["raw"]["size"]) == ({"n": 1}, 8)


async def test_a_replay_with_a_key_happens_once(client, hook, pool):
    one = await hook(deliveries="all")
    await client.post(one.path)
    [kept] = await one.kept()
    for _ in range(2):
        path = f"{one.trigger}/deliveries/{kept['id']}/replay"
        assert (await client.post(path, headers={"Idempotency-Key": "k"})).status == 202
    assert await pool.fetchval("SELECT count(*) FROM runs") == 2


async def test_what_was_not_kept_whole_cannot_be_replayed(client, hook):
    one = await hook(method="PUT")
    await client.post(one.path, json=1)
    [kept] = await one.kept()
    answer = await client.post(f"{one.trigger}/deliveries/{kept['id']}/replay")
    assert (answer.status, (await answer.json())["error"]) == (409, "conflict")


async def test_a_body_that_could_not_be_read_then_cannot_be_read_in_a_replay(client, hook):
    one = await hook()
    await client.post(one.path, data=b"{", headers={"Content-Type": "application/json"})
    [kept] = await one.kept()
    assert (await client.post(f"{one.trigger}/deliveries/{kept['id']}/replay")).status == 400


# Test addresses


async def listen(client, one):
    answer = await client.post(f"{one.trigger}/test")
    assert answer.status == 201, await answer.text()
    body = await answer.json()
    return f"{one.trigger}/test/{body['id']}", path_of(body["test_url"])


async def captured(client, test, wait=0):
    answer = await client.get(test, params={"wait_seconds": wait})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["call"]


async def test_a_test_address_takes_one_call_and_starts_nothing(client, hook, pool):
    one = await hook()
    test, path = await listen(client, one)
    assert await captured(client, test) is None
    answer = await client.post(f"{path}/a?b=c", json={"n": 1})
    assert (answer.status, await answer.json()) == (200, {"captured": True})
    call = await captured(client, test)
    assert call["refused"] is None
    assert (call["input"]["path"], call["input"]["query"], call["input"]["body"]) == ("/a", {"b": "c"}, {"n": 1})
    assert (await client.post(path, json={"n": 2})).status in (404, 410)
    assert (await captured(client, test))["input"]["body"] == {"n": 1}
    assert await pool.fetchval("SELECT count(*) FROM runs") == 0
    assert (await client.post(one.path)).status == 202


@pytest.mark.parametrize("hints", [True, False], ids=["with hints", "without hints"])
async def test_a_call_that_another_instance_takes_reaches_whoever_waits(client, hook, other, monkeypatch, hints):
    if not hints:
        monkeypatch.setattr(other.server.app[webhook_terms.WEBHOOK_TESTS]._broker, "publish", lambda *_: None)
    test, path = await listen(client, await hook())
    waiting = asyncio.create_task(captured(client, test, wait=30))
    assert (await other.post(path, json={"n": 1})).status == 200
    assert (await waiting)["input"]["body"] == {"n": 1}


async def test_of_many_calls_on_two_instances_one_is_taken(client, hook, other):
    test, path = await listen(client, await hook())
    answers = await asyncio.gather(
        *(instance.post(path, json=number) for number in range(10) for instance in (client, other))
    )
    assert sorted({answer.status for answer in answers}) in ([200, 410], [200, 404, 410])
    assert [answer.status for answer in answers].count(200) == 1
    assert await captured(client, test) is not None


async def test_a_test_address_shows_why_a_call_would_be_refused(client, hook):
    one = await hook(auth="hmac", preset="github", secret=MINE)
    test, path = await listen(client, one)
    assert (await client.post(path, data=b"{}", headers=github("wrong", b"{}"))).status == 200
    call = await captured(client, test)
    assert call["refused"] == "The signature does not fit the body and the secret."
    assert call["input"]["headers"]["x-hub-signature-256"] == "•••"
    test, path = await listen(client, one)
    assert (await client.post(path, data=b"{}", headers=github(SECRET, b"{}"))).status == 200
    assert (await captured(client, test))["refused"] is None


async def test_a_test_address_ends(client, hook, pool):
    test, path = await listen(client, await hook())
    await pool.execute("UPDATE webhook_tests SET expires_at = now()")
    assert (await client.post(path)).status == 404
    assert (await client.get(test)).status == 410
    await Sweeper(pool).one_pass()
    assert (await client.get(test)).status == 410
    await pool.execute("UPDATE webhook_tests SET expires_at = now() - interval '2 h'")
    await Sweeper(pool).one_pass()
    assert (await client.get(test)).status == 404


async def test_who_waits_for_a_test_is_let_go_when_the_instance_stops(client, hook, services):
    test, _ = await listen(client, await hook())
    waiting = asyncio.create_task(captured(client, test, wait=50))
    services.draining.set()
    async with asyncio.timeout(30):
        assert await waiting is None


async def test_a_listener_that_went_away_leaves_nothing_behind(pool, engine, hook):
    one = await hook()
    tests = WebhookTests(pool, engine.broker)
    listening = await tests.listen(UUID(one.trigger.rsplit("/", 1)[1]))
    waiting = asyncio.create_task(
        tests.captured(UUID(one.trigger.rsplit("/", 1)[1]), listening.id, 30, asyncio.Event())
    )
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert tests._waiting == {}


# Addresses


async def test_a_deploy_answers_the_addresses_that_it_made_and_only_those(client, make_workflow):
    made = await make_workflow(workflow())
    versions = f"/api/workflows/{made['id']}/versions"
    await client.post(versions, json={"name": "1"})
    first = await (await client.post(f"{versions}/1/deploy")).json()
    [new] = first["new_webhooks"]
    assert (new["node_id"], first["version_number"]) == ("hook", 1)
    assert (await client.post(path_of(new["webhook_url"]))).status == 202
    two = workflow(nodes=[{"id": "second", "type": "webhook"}])
    await client.post(versions, json={"name": "2", "definition": two})
    second = await (await client.post(f"{versions}/2/deploy")).json()
    assert [webhook["node_id"] for webhook in second["new_webhooks"]] == ["second"]
    assert (await (await client.post(f"{versions}/1/deploy")).json())["new_webhooks"] == []
    assert (await client.post(path_of(new["webhook_url"]))).status == 202


async def test_the_database_holds_no_token(client, hook, pool):
    one = await hook()
    token = one.path.rsplit("/", 1)[1]
    assert len(token) == 43  # 256 bits in base64
    row = await pool.fetchrow("SELECT * FROM triggers")
    assert token not in str(row)
    assert token.encode() not in row["token_sealed"]
    assert (row["token"], row["token_hash"]) == (None, hashlib.sha256(token.encode()).digest())


async def test_without_a_key_an_address_is_shown_once(serve, services, pool, definition):
    async with serve(replace(services, vault=Vault(()))) as client:
        made = await (await client.post("/api/workflows", json={"name": "x", "definition": definition})).json()
        await client.post(f"/api/workflows/{made['id']}/versions", json={"name": "1"})
        deployed = await (await client.post(f"/api/workflows/{made['id']}/versions/1/deploy")).json()
        [trigger] = (await (await client.get("/api/triggers")).json())["triggers"]
        assert "webhook_url" not in trigger
        assert await pool.fetchval("SELECT token_sealed FROM triggers") is None
        assert (await client.post(path_of(deployed["new_webhooks"][0]["webhook_url"]))).status == 202
        renewed = await (await client.post(f"/api/triggers/{trigger['id']}/renew")).json()
        assert (await client.post(path_of(renewed["webhook_url"]))).status == 202


async def test_a_new_address_ends_the_old_one_here_at_once_and_elsewhere_within_a_second(
    client, hook, serve, services, *, keys, eventually
):
    one = await hook()
    async with serve(services) as other:
        assert (await other.post(one.path)).status == 202
        answer = await client.post(f"{one.trigger}/renew")
        assert answer.status == 200
        new = path_of((await answer.json())["webhook_url"])
        assert (await client.post(one.path)).status == 404
        assert (await client.post(new)).status == 202

        async def ended():
            return (await other.post(one.path)).status == 404

        assert await eventually(ended, seconds=5)
        assert (await other.post(new)).status == 202
    [trigger] = (await (await client.get("/api/triggers")).json())["triggers"]
    assert path_of(trigger["webhook_url"]) == new
    viewer = {"Authorization": f"Bearer {keys[Role.VIEWER]}"}
    assert (await client.post(f"{one.trigger}/renew", headers=viewer)).status == 403


async def test_only_a_webhook_has_an_address(client, deploy, pool):
    await deploy()
    await pool.execute("UPDATE triggers SET type = 'workflow_trigger'")
    [trigger] = (await (await client.get("/api/triggers")).json())["triggers"]
    assert "webhook_url" not in trigger
    for path in ("renew", "test"):
        assert (await client.post(f"/api/triggers/{trigger['id']}/{path}")).status == 404


async def test_what_an_earlier_version_stored_works_and_is_sealed(client, hook, pool, vault):
    one = await hook()
    token = "t" * 43
    await pool.execute("UPDATE triggers SET token = $1, token_hash = NULL, token_sealed = NULL", token)
    await Sweeper(pool).one_pass()
    assert await pool.fetchval("SELECT token FROM triggers") == token  # there is no key to seal it under
    assert (await client.post(f"/webhooks/{token}")).status == 202
    await Sweeper(pool, vault).one_pass()
    assert await pool.fetchval("SELECT token FROM triggers") is None
    [trigger] = (await (await client.get("/api/triggers")).json())["triggers"]
    assert path_of(trigger["webhook_url"]) == f"/webhooks/{token}"
    assert trigger["id"] == one.trigger.rsplit("/", 1)[1]


# Slack


COMMAND = (
    b"command=%2Fdeploy&text=shop+now&user_id=U1&user_name=ada&channel_id=C1&team_id=T1"
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1&trigger_id=1.2"
)


def commanding(**config):
    nodes = [{"id": "command", "type": "slack", "config": {"secret": MINE, **config}}, {"id": "done", "type": "noop"}]
    return {"nodes": nodes, "edges": [{"source": "command", "target": "done"}]}


async def test_a_slash_command_is_answered_at_once_and_starts_a_run(client, hook, worker, pool, eventually):
    one = await hook(commanding(text="On it.", responseType="in_channel"))
    answer = await client.post(one.path, data=COMMAND, headers=slack(SECRET, COMMAND))
    assert (answer.status, await answer.json()) == (200, {"response_type": "in_channel", "text": "On it."})
    run_id = await pool.fetchval("SELECT id FROM runs")

    async def ended():
        run = await run_of(client, run_id)
        return run if run["status"] == "completed" else None

    output = (await eventually(ended))["output"]
    assert (output["command"], output["text"]) == ("/deploy", "shop now")
    assert output["response_url"] == "https://hooks.slack.com/commands/1"


async def test_a_slash_command_may_be_answered_with_nothing(client, hook):
    one = await hook(commanding())
    answer = await client.post(one.path, data=COMMAND, headers=slack(SECRET, COMMAND))
    assert (answer.status, await answer.read()) == (200, b"")


async def test_a_slash_command_without_slacks_signature_is_refused(client, hook, pool):
    one = await hook(commanding())
    signed = slack(SECRET, COMMAND)
    for body, headers in ((COMMAND + b"&text=x", signed), (COMMAND, slack("wrong", COMMAND)), (COMMAND, {})):
        assert (await client.post(one.path, data=body, headers=headers)).status == 401
    assert (await client.get(one.path)).status == 405
    assert await pool.fetchval("SELECT count(*) FROM runs") == 0
    assert (await client.post(one.path, data=COMMAND, headers=signed)).status == 200
    assert (await client.post(one.path, data=COMMAND, headers=signed)).status == 401


async def test_slack_may_look_whether_the_address_answers(client, hook, pool):
    one = await hook(commanding())
    body = b"ssl_check=1&token=x"
    assert (await client.post(one.path, data=body, headers=slack(SECRET, body))).status == 200
    assert await pool.fetchval("SELECT count(*) FROM runs") == 0


async def test_a_slash_command_without_a_secret_lets_nobody_in(client, hook):
    one = await hook(commanding(secret=None))
    assert (await client.post(one.path, data=COMMAND, headers=slack("", COMMAND))).status == 503
