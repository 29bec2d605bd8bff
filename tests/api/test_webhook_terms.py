"""Webhooks that ask for more than their address: proof, size, rate, and one run for each delivery."""

import asyncio
import base64
import time
from dataclasses import replace
from io import BytesIO
from uuid import UUID

import pytest

from melagent.engine.engine import Engine
from melagent.services import webhook_gate
from melagent.store import work
from tests.api.calling import github, slack, stripe
from tests.api.test_webhooks import responding, workflow

SECRET = "correct horse battery staple"
MINE, LOGIN, GONE = (str(UUID(int=number)) for number in (1, 2, 3))


@pytest.fixture
def hook(client, deploy, secrets):
    """Deploy a webhook with these parameters; the path to call."""
    secrets[MINE] = SECRET

    async def hook(definition=None, **config):
        workflow_id = await deploy(definition or workflow(**config))
        body = await (await client.get(f"/api/triggers?workflow_id={workflow_id}")).json()
        return "/webhooks/" + body["triggers"][0]["webhook_url"].rsplit("/", 1)[1]

    return hook


@pytest.fixture
def other(serve, services, database_url, pool):
    """The same webhooks on another instance, with a client for it."""
    engine = Engine(pool, services.engine.broker, answering=["http_response"])
    return serve(replace(services, engine=engine, instance="other"))


async def runs(pool):
    return await pool.fetchval("SELECT count(*) FROM runs")


async def input_of(client, answer):
    run_id = (await answer.json())["run_id"]
    return (await (await client.get(f"/api/workflow-runs/{run_id}")).json())["input"]


# Proof


async def test_a_secret_header_lets_a_call_pass_and_is_not_given_to_the_run(client, hook, pool):
    path = await hook(auth="header", secret=MINE, authHeader="X-Token")
    answer = await client.post(path, headers={"x-token": SECRET})
    assert answer.status == 202
    given = await input_of(client, answer)
    assert given["headers"]["x-token"] == "•••"
    assert SECRET not in str(given)


@pytest.mark.parametrize("headers", [{}, {"X-Token": ""}, {"X-Token": SECRET[:-1]}, {"X-Token": "ä"}, {"X": SECRET}])
async def test_another_header_is_refused_and_starts_nothing(client, hook, pool, headers):
    path = await hook(auth="header", secret=MINE, authHeader="X-Token")
    answer = await client.post(path, headers=headers)
    body = await answer.json()
    assert (answer.status, body["error"], body["message"]) == (
        401, "unauthenticated", "This call is not authenticated.",
    )  # fmt: skip
    assert await runs(pool) == 0


def basic(user_and_password):
    return {"Authorization": "Basic " + base64.b64encode(user_and_password.encode()).decode()}


async def test_user_and_password_let_a_call_pass_and_are_not_given_to_the_run(client, hook, secrets):
    secrets[LOGIN] = "ada:pass:wörd"
    path = await hook(auth="basic", secret=LOGIN)
    answer = await client.post(path, headers=basic("ada:pass:wörd"))
    assert answer.status == 202
    assert (await input_of(client, answer))["headers"]["authorization"] == "•••"
    for wrong in (basic("ada:other"), basic(""), {"Authorization": "Bearer x"}, {"Authorization": "Basic %%%"}):
        answer = await client.post(path, headers=wrong)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="webhook"')


async def test_a_signed_call_passes_and_its_bytes_survive(client, hook):
    path = await hook(auth="hmac", preset="github", secret=MINE, rawBody=True)
    body = b'{ "a": 1.0, "b": "\xc3\xa9\\u0000" }\r\n'
    answer = await client.post(path, data=body, headers=github(SECRET, body))
    assert answer.status == 202
    given = await input_of(client, answer)
    assert given["body"] == {"a": 1.0, "b": "é\x00"}
    assert base64.b64decode(given["raw"]["base64"]) == body


async def test_a_large_body_is_signed_like_any_other(client, hook):
    path = await hook(auth="hmac", preset="github", secret=MINE)
    body = b'"' + b"x" * 300_000 + b'"'
    assert (await client.post(path, data=body, headers=github(SECRET, body[:-1]))).status == 401
    assert (await client.post(path, data=body, headers=github(SECRET, body))).status == 202


async def test_binary_bodies_are_signed_and_given_as_files(client, hook):
    path = await hook(auth="hmac", preset="github", secret=MINE)
    body = bytes(range(256))
    headers = github(SECRET, body) | {"Content-Type": "image/png"}
    answer = await client.post(path, data=body, headers=headers)
    file = {"filename": None, "content_type": "image/png", "size": 256, "base64": base64.b64encode(body).decode()}
    assert (await input_of(client, answer))["body"] == file


@pytest.mark.parametrize(
    ("preset", "sign"), [("github", github), ("stripe", stripe), ("slack", slack)], ids=["github", "stripe", "slack"]
)
async def test_a_call_that_was_tampered_with_is_refused_and_starts_nothing(client, hook, pool, preset, sign):
    path = await hook(auth="hmac", preset=preset, secret=MINE)
    body = b'{"id":"1"}'
    for sent, headers in (
        (b'{"id":"2"}', sign(SECRET, body)),
        (body, sign("another", body)),
        (body, {}),
        (body, {name: value + "é" for name, value in sign(SECRET, body).items()}),
    ):
        assert (await client.post(path, data=sent, headers=headers)).status == 401
    assert await runs(pool) == 0
    assert (await client.post(path, data=body, headers=sign(SECRET, body))).status == 202


@pytest.mark.parametrize("sign", [stripe, slack], ids=["stripe", "slack"])
async def test_a_call_that_comes_late_is_refused(client, hook, sign):
    path = await hook(auth="hmac", preset=sign.__name__, secret=MINE)
    for at, status in ((time.time() - 301, 401), (time.time() + 310, 401), (time.time() - 290, 202)):
        assert (await client.post(path, data=b"{}", headers=sign(SECRET, b"{}", at))).status == status


async def test_the_caller_is_not_told_what_was_wrong(client, hook):
    path = await hook(auth="hmac", preset="stripe", secret=MINE)
    texts = set()
    for headers in ({}, stripe(SECRET, b"{}", 1), stripe("x", b"{}")):
        body = await (await client.post(path, data=b"{}", headers=headers)).json()
        texts.add((body["message"], *body["details"]))
    assert texts == {("This call is not authenticated.",)}


async def test_without_its_secret_a_webhook_lets_nobody_in(client, hook, secrets):
    secrets[GONE] = "there when it was deployed"
    path = await hook(auth="header", secret=GONE)
    del secrets[GONE]
    assert (await client.post(path, headers={"X-Webhook-Secret": ""})).status == 503
    secrets[GONE] = ""
    assert (await client.post(path, headers={"X-Webhook-Secret": ""})).status == 503


async def test_a_webhook_that_asks_for_proof_must_name_a_secret(client, make_workflow):
    made = await make_workflow(workflow(auth="hmac"))
    await client.post(f"/api/workflows/{made['id']}/versions", json={"name": "1"})
    answer = await client.post(f"/api/workflows/{made['id']}/versions/1/deploy")
    body = await answer.json()
    assert (answer.status, body["details"][0]["field"]) == (422, "nodes.hook.config")
    assert "secret" in body["details"][0]["problem"]


# Signatures that come again


async def test_a_signature_that_was_used_before_is_refused(client, hook, pool):
    path = await hook(auth="hmac", preset="slack", secret=MINE)
    headers = slack(SECRET, b"text=1")
    assert (await client.post(path, data=b"text=1", headers=headers)).status == 202
    assert (await client.post(path, data=b"text=1", headers=headers)).status == 401
    assert await runs(pool) == 1


async def test_a_signature_that_was_overheard_does_not_count_for_another_delivery(client, hook, pool):
    """GitHub's signature covers neither a time nor the id of the delivery."""
    path = await hook(auth="hmac", preset="github", secret=MINE)
    first = await client.post(path, data=b"{}", headers=github(SECRET, b"{}", "one"))
    assert first.status == 202
    again = await client.post(path, data=b"{}", headers=github(SECRET, b"{}", "one"))
    assert (again.status, await again.read()) == (202, await first.read())
    for headers in (github(SECRET, b"{}", "two"), github(SECRET, b"{}")):
        assert (await client.post(path, data=b"{}", headers=headers)).status == 401
    assert await runs(pool) == 1


async def test_a_webhook_may_take_a_signature_more_than_once(client, hook, pool):
    path = await hook(auth="hmac", secret=MINE, signaturePrefix="sha256=", replayProtection=False)
    headers = {"X-Signature": github(SECRET, b"{}")["X-Hub-Signature-256"]}
    for _ in range(2):
        assert (await client.post(path, data=b"{}", headers=headers)).status == 202
    assert await runs(pool) == 2


async def test_a_signed_call_that_died_half_way_can_be_made_again(client, hook, pool, monkeypatch):
    """Its signature was claimed, but nothing was answered yet."""
    path = await hook(auth="hmac", preset="slack", secret=MINE)
    headers = slack(SECRET, b"text=1")
    keep = webhook_gate.Gate.keep

    async def dies(*_):
        raise ConnectionError

    monkeypatch.setattr(webhook_gate.Gate, "keep", dies)
    assert (await client.post(path, data=b"text=1", headers=headers)).status == 503
    monkeypatch.setattr(webhook_gate.Gate, "keep", keep)
    assert (await client.post(path, data=b"text=1", headers=headers)).status == 202
    assert await runs(pool) == 1


# Deliveries that come again


async def test_a_call_with_the_same_idempotency_key_gets_the_first_answer(client, hook, pool):
    path = await hook()
    answers = [await client.post(path, json={"n": 1}, headers={"Idempotency-Key": "k"}) for _ in range(3)]
    assert {answer.status for answer in answers} == {202}
    assert len({await answer.read() for answer in answers}) == 1
    assert await runs(pool) == 1
    other = await client.post(path, json={"n": 2}, headers={"Idempotency-Key": "k"})
    assert (other.status, (await other.json())["error"]) == (409, "conflict")


async def test_a_key_counts_for_one_webhook_only(client, hook, pool):
    for path in (await hook(), await hook()):
        assert (await client.post(path, headers={"Idempotency-Key": "k"})).status == 202
    assert await runs(pool) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
async def test_a_key_that_is_none_is_refused(client, hook, key):
    answer = await client.post(await hook(), headers={"Idempotency-Key": key})
    assert (answer.status, (await answer.json())["details"][0]["field"]) == (400, "Idempotency-Key")


async def test_an_event_of_stripe_that_comes_again_under_a_new_signature_is_one_run(client, hook, pool):
    path = await hook(auth="hmac", preset="stripe", secret=MINE)
    bodies = [b'{"id":"evt_1","pending_webhooks":2}', b'{"id":"evt_1","pending_webhooks":1}']
    answers = [
        await client.post(path, data=body, headers=stripe(SECRET, body, time.time() - number))
        for number, body in enumerate(bodies)
    ]
    assert [answer.status for answer in answers] == [202, 202]
    assert await answers[0].read() == await answers[1].read()
    assert await runs(pool) == 1


async def test_an_expression_tells_which_calls_are_the_same(client, hook, pool):
    path = await hook(dedupeKey="input.body.order.id")
    for order, count in ((7, 1), (7, 1), (8, 2), ("7", 3), ([7], 4), ([7], 4)):
        assert (await client.post(path, json={"order": {"id": order}, "sent": count})).status == 202
        assert await runs(pool) == count


async def test_a_call_for_which_the_expression_has_no_value_is_no_repetition(client, hook, pool):
    path = await hook(dedupeKey="input.headers['x-delivery'] | default(none)")
    for _ in range(2):
        assert (await client.post(path)).status == 202
    assert await runs(pool) == 2


async def test_a_call_to_which_the_expression_does_not_fit_is_refused_with_the_reason(client, hook, pool):
    path = await hook(dedupeKey="input.body.order.id")
    answer = await client.post(path, json={"other": 1})
    body = await answer.json()
    assert (answer.status, body["details"][0]["field"]) == (400, "dedupeKey")
    assert await runs(pool) == 0


async def test_an_expression_that_is_none_is_not_deployed(client, make_workflow):
    made = await make_workflow(workflow(dedupeKey="input.("))
    await client.post(f"/api/workflows/{made['id']}/versions", json={"name": "1"})
    answer = await client.post(f"/api/workflows/{made['id']}/versions/1/deploy")
    assert (answer.status, (await answer.json())["details"][0]["field"]) == (422, "nodes.hook.config.dedupeKey")


async def test_many_calls_of_one_delivery_at_once_on_two_instances_are_one_run(client, hook, pool, other):
    path = await hook(auth="hmac", preset="github", secret=MINE)
    headers = github(SECRET, b"{}", "one")
    async with other as second:
        answers = await asyncio.gather(
            *(instance.post(path, data=b"{}", headers=headers) for _ in range(20) for instance in (client, second))
        )
        assert {answer.status for answer in answers} == {202}
        assert len({await answer.read() for answer in answers}) == 1
    assert await runs(pool) == 1


async def test_a_repeated_call_gets_the_answer_of_the_run_with_its_status_and_headers(client, hook, pool, worker):
    path = await hook(responding(statusCode=418, headers={"X-A": "b", "Content-Type": "text/html"}, body="<p>tea"))
    answers = [await client.post(path, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    for answer in answers:
        assert (answer.status, await answer.text(), answer.headers["X-A"]) == (418, "<p>tea", "b")
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 2
    assert await runs(pool) == 1


async def test_concurrent_calls_of_one_delivery_wait_for_the_same_run(client, hook, pool, worker):
    path = await hook(mode="sync")
    answers = await asyncio.gather(
        *(client.post(path, json={"n": 1}, headers={"Idempotency-Key": "k"}) for _ in range(10))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({await answer.read() for answer in answers}) == 1
    assert await runs(pool) == 1


async def test_a_call_that_was_told_to_wait_can_be_made_again_for_the_answer(client, hook, pool):
    path = await hook(mode="sync")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("melagent.api.webhooks.WAIT_SECONDS", 0.01)
        told = [await client.post(path, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status for answer in told] == [504, 504]
    run_id = (await told[1].json())["run_id"]
    await client.post(f"/api/workflow-runs/{run_id}/cancel")
    answer = await client.post(path, headers={"Idempotency-Key": "k"})
    assert (answer.status, (await answer.json())["run_id"]) == (500, run_id)
    assert await runs(pool) == 1


async def test_a_call_that_died_before_its_run_was_there_can_be_made_again(client, hook, pool, monkeypatch):
    path = await hook()
    start = work.start

    async def dies(*_):
        raise TypeError("broken")

    monkeypatch.setattr(work, "start", dies)
    assert (await client.post(path, headers={"Idempotency-Key": "k"})).status >= 500
    monkeypatch.setattr(work, "start", start)
    assert (await client.post(path, headers={"Idempotency-Key": "k"})).status == 202
    assert await runs(pool) == 1


# Size and rate


async def test_a_body_that_is_larger_than_the_webhook_takes_is_refused(client, hook, pool):
    path = await hook(maxBodyBytes=10)

    async def chunked():
        yield b"x" * 11

    for body in (b"x" * 11, chunked()):
        answer = await client.post(path, data=body)
        assert (answer.status, (await answer.json())["error"]) == (413, "too_large")
    assert await runs(pool) == 0
    assert (await client.post(path, data=b"x" * 10)).status == 202


async def test_no_webhook_takes_more_than_ten_mebibytes(client, hook):
    body = BytesIO(b"x" * (10 * 1024 * 1024 + 1))
    assert (await client.post(await hook(), data=body)).status == 413


async def test_a_webhook_that_is_called_too_often_says_when_to_come_again(client, hook, pool):
    path = await hook(perSecond=0.1, burst=3)
    answers = [await client.post(path) for _ in range(5)]
    assert [answer.status for answer in answers] == [202, 202, 202, 429, 429]
    assert 9 <= int(answers[-1].headers["Retry-After"]) <= 10
    assert (await answers[-1].json())["error"] == "rate_limited"
    assert await runs(pool) == 3


async def test_the_budget_of_a_webhook_is_shared_by_all_instances(client, hook, other):
    path = await hook(perSecond=0.01, burst=10)
    async with other as second:
        answers = await asyncio.gather(*(instance.post(path) for _ in range(10) for instance in (client, second)))
    assert [answer.status for answer in answers].count(202) == 10


async def test_the_operator_limits_every_webhook_whatever_its_node_allows(serve, services, hook):
    plain, generous = await hook(), await hook(perSecond=1000, burst=1000)
    async with serve(replace(services, webhook_per_second=0.01)) as limited:
        assert [(await limited.post(plain)).status for _ in range(2)] == [202, 429]
        statuses = [(await limited.post(generous)).status for _ in range(1001)]
        assert (statuses.count(202), statuses[-1]) == (1000, 429)


# What it costs


class Statements:
    """Counts the statements that connections of a pool run."""

    def __init__(self, pool):
        self._pool = pool
        self.run = []

    async def __aenter__(self):
        self._connections = [await self._pool.acquire() for _ in range(10)]
        for connection in self._connections:
            connection.add_query_logger(self._log)
            await self._pool.release(connection)
        return self

    async def __aexit__(self, *_):
        for holder in self._pool._holders:
            if holder._con is not None:
                holder._con._query_loggers.clear()

    def _log(self, query):
        if "run_keys" in query.query or "INSERT INTO" in query.query or "UPDATE" in query.query:
            self.run.append(query.query)


async def test_a_plain_webhook_costs_one_statement_and_a_keyed_one_three(client, hook, pool):
    path = await hook()
    assert (await client.post(path)).status == 202
    async with Statements(pool) as statements:
        assert (await client.post(path)).status == 202
        assert len(statements.run) == 1, statements.run
        statements.run.clear()
        assert (await client.post(path, headers={"Idempotency-Key": "k"})).status == 202
        assert len(statements.run) == 3, statements.run
