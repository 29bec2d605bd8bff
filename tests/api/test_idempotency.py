"""`Idempotency-Key`: the first answer again, nothing made twice, nothing lost; also over two instances and a crash."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg
import orjson
import pytest

from melagent.api.routes import ROUTES
from melagent.broker.postgres import postgres_broker
from melagent.engine.engine import Engine
from melagent.services import idempotency
from melagent.services.access import Role, create_key

START = {"nodes": [{"id": "start", "type": "manual_trigger"}]}

CALLS = {
    "/api/workflows": {"name": "orders"},
    "/api/workflows/{id}/nodes": {"type": "noop"},
    "/api/workflows/{id}/edges": {"source": "start", "target": "hook"},
    "/api/workflows/{id}/versions": {"name": "next"},
    "/api/workflows/{id}/execute": {"input": 1},
    "/api/workflow-runs": {"definition": START, "input": {"n": 1}},
    "/api/workflow-runs/{id}/retry": {},
    "/api/workflow-runs/{id}/replay": {"input": 1},
    "/api/workflow-runs/{id}/signals/{name}": {"n": 1},
    "/api/triggers": {"name": "daily", "type": "schedule", "workflow_id": "{workflow}", "config": {"cron": "@daily"}},
    "/api/triggers/{id}/fire": {"input": 1},
    "/api/triggers/{id}/deliveries/{delivery_id}/replay": {},
}
"""A good body for every route that takes a key."""

OTHERS = {
    "/api/workflows": {"name": "sales"},
    "/api/workflows/{id}/nodes": {"type": "log"},
    "/api/workflows/{id}/edges": {"source": "hook", "target": "start"},
    "/api/workflows/{id}/versions": {"name": "another"},
    "/api/workflows/{id}/execute": {"input": 2},
    "/api/workflow-runs": {"definition": START, "input": {"n": 2}},
    "/api/workflow-runs/{id}/retry": {"n": 2},
    "/api/workflow-runs/{id}/replay": {"input": 2},
    "/api/workflow-runs/{id}/signals/{name}": {"n": 2},
    "/api/triggers": {"name": "hourly", "type": "schedule", "workflow_id": "{workflow}", "config": {"cron": "@hourly"}},
    "/api/triggers/{id}/fire": {"input": 2},
    "/api/triggers/{id}/deliveries/{delivery_id}/replay": {"n": 2},
}
"""Another good one."""

BY_ID = [path for path in CALLS if not path.endswith(("/nodes", "/edges"))]
"""Routes whose result has the id that was stored with the key."""


@pytest.fixture
async def workflow_id(deploy):
    return await deploy()


DELIVERY = UUID(int=7)
KEEP_DELIVERY = """
INSERT INTO deliveries (id, trigger_id, request, body, body_size, outcome, status)
VALUES ($1, $2, '{"method": "POST", "path": "/", "query": {}, "headers": {}}', '{}', 2, 'refused', 429)
"""


@pytest.fixture
async def url_of(client, pool, workflow_id):
    """The address of a route: of the workflow, of its webhook, of a cancelled run, or of one that goes on."""
    hook = await pool.fetchval("SELECT id FROM triggers")
    await pool.execute(KEEP_DELIVERY, DELIVERY, hook)
    runs = []
    for _ in range(2):
        answer = await client.post(f"/api/workflows/{workflow_id}/execute")
        runs.append((await answer.json())["id"])
    await client.post(f"/api/workflow-runs/{runs[0]}/cancel")

    def url_of(path):
        target = workflow_id if "workflow-runs" not in path else runs["signals" in path]
        target = str(hook) if "triggers" in path else target
        return path.replace("{id}", target).replace("{name}", "go").replace("{delivery_id}", str(DELIVERY))

    return url_of


@pytest.fixture
def body_of(workflow_id):
    """What is sent to a route."""

    def body_of(path, bodies=CALLS):
        return {name: workflow_id if value == "{workflow}" else value for name, value in bodies[path].items()}

    return body_of


@pytest.fixture
def call(client, url_of, body_of):
    """POST to a route with a key; the status and the bytes of the answer."""

    async def call(path, key="k", body=None, via=None, **headers):
        headers = {"Idempotency-Key": key, **headers} if key is not None else headers
        async with (via or client).post(
            url_of(path), json=body_of(path) if body is None else body, headers=headers
        ) as answer:
            return answer.status, await answer.read()

    return call


@asynccontextmanager
async def other_engine(database_url):
    """The engine of a second instance, on a pool of its own."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=5) as pool:
        broker = postgres_broker(database_url)
        engine = Engine(pool, broker)
        await broker.start()
        await engine.open()
        yield engine
        await engine.close()
        await broker.stop()


@pytest.fixture
async def second(database_url, serve, services):
    """A client of a second instance on the same database."""
    async with other_engine(database_url) as engine:
        instance = replace(services, engine=engine, pool=engine.pool, instance="second")
        async with serve(instance) as client:
            yield client


def id_of(answer):
    found = orjson.loads(answer[1])
    return UUID(found.get("id") or found["run_id"])


def test_every_route_that_takes_a_key_is_tested_here():
    assert {route.path for route in ROUTES if route.keyed} == CALLS.keys()


@pytest.mark.parametrize("path", CALLS)
async def test_the_same_key_and_body_answer_the_first_result_again(call, path, client, workflow_id):
    first = await call(path)
    assert first[0] in (201, 202)
    await client.put(f"/api/workflows/{workflow_id}", json={"name": "changed", "description": "meanwhile"})
    assert await call(path) == first
    assert (await call(path, key="other")) != first


@pytest.mark.parametrize("path", CALLS)
async def test_the_same_key_with_another_body_is_a_conflict_and_makes_nothing(call, pool, path, body_of):
    first = await call(path)
    before = await everything(pool)
    status, answer = await call(path, body=body_of(path, OTHERS))
    assert (status, b'"conflict"' in answer, b"Idempotency-Key" in answer) == (409, True, True)
    assert await everything(pool) == before
    assert await call(path) == first


async def test_a_key_belongs_to_its_caller_and_its_address(call, pool, deploy):
    _, key = await create_key(pool, "somebody else", Role.EDITOR)
    mine = await call("/api/workflows")
    assert id_of(await call("/api/workflows", Authorization=f"Bearer {key}")) != id_of(mine)
    assert id_of(await call("/api/workflow-runs")) != id_of(mine)


async def test_the_same_key_starts_each_of_two_workflows(client, deploy):
    runs = set()
    for workflow_id in (await deploy(), await deploy()):
        answer = await client.post(f"/api/workflows/{workflow_id}/execute", headers={"Idempotency-Key": "k"})
        runs.add((await answer.json())["id"])
    assert len(runs) == 2


async def test_a_call_that_was_refused_may_be_repeated_when_the_reason_is_gone(client, make_workflow):
    workflow = f"/api/workflows/{(await make_workflow())['id']}"
    key = {"Idempotency-Key": "k"}
    assert (await client.post(f"{workflow}/execute", headers=key)).status == 409
    await client.post(f"{workflow}/versions", json={"name": "v"})
    await client.post(f"{workflow}/versions/1/deploy")
    assert (await client.post(f"{workflow}/execute", headers=key)).status == 202


@pytest.mark.parametrize("path", CALLS)
async def test_a_key_that_has_expired_is_new_again(call, pool, path, body_of):
    first = await call(path)
    await pool.execute("UPDATE run_keys SET expires_at = now()")
    again = await call(path, body=body_of(path, OTHERS))
    assert again[0] == first[0]
    assert again != first
    assert (
        await pool.fetchval(
            "SELECT count(*) FROM run_keys WHERE expires_at > now() + interval '23 h' AND scope <> 'signal'"
        )
        == 1
    )


@pytest.mark.parametrize("path", BY_ID)
async def test_a_call_that_died_before_it_made_anything_is_finished_by_its_repetition(
    call, pool, path, url_of, body_of
):
    scope = f"bootstrap POST {url_of(path)}"
    body = json.dumps(body_of(path)).encode()
    claim, kept = await idempotency.claim(pool, scope, "k", b"\n" + body)
    assert kept is None
    assert id_of(await call(path)) == claim.resource


@pytest.mark.parametrize("path", CALLS)
async def test_a_call_that_died_before_it_was_answered_makes_nothing_again(call, pool, path, monkeypatch):
    async def die(*_):
        raise ConnectionError("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "keep", die)
        assert (await call(path))[0] == 503
    before = await everything(pool)
    first = await call(path)
    assert first[0] in (201, 202)
    assert await everything(pool) == before
    assert await call(path) == first


async def everything(pool):
    """How much there is of what calls make."""
    return tuple(
        await pool.fetchrow(
            "SELECT (SELECT count(*) FROM workflows), (SELECT count(*) FROM versions), (SELECT count(*) FROM runs),"
            " (SELECT count(*) FROM run_inbox), (SELECT sum(seq) FROM drafts), (SELECT count(*) FROM triggers)"
        )
    )


@pytest.mark.parametrize("wait_seconds", [0, 10])
async def test_of_200_calls_at_once_one_starts_a_run_and_all_get_its_answer(call, pool, worker, wait_seconds):
    body = {**CALLS["/api/workflow-runs"], "wait_seconds": wait_seconds}
    answers = await asyncio.gather(*(call("/api/workflow-runs", body=body) for _ in range(200)))
    assert len(set(answers)) == 1
    assert answers[0][0] in ((200,) if wait_seconds else (200, 202))
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE workflow_id IS NULL") == 1


@pytest.mark.parametrize("path", CALLS)
async def test_of_200_calls_at_once_on_two_instances_one_makes_something(call, client, second, pool, path):
    before = await everything(pool)
    calls = [call(path, via=via) for _ in range(100) for via in (client, second)]
    answers = await asyncio.gather(*calls)
    assert len(set(answers)) == 1
    assert answers[0][0] in (201, 202)
    made = [after - was for was, after in zip(before, await everything(pool), strict=True)]
    assert (max(made), sum(made) <= 2) == (1, True), (
        made
    )  # a workflow comes with a draft, an unlisted run with a version


async def test_many_keys_at_once_on_two_instances_do_not_get_into_each_others_way(call, client, second, pool):
    calls = [
        call("/api/workflow-runs", key=f"k{key}", via=via)
        for turn in range(4)
        for key in (range(25) if turn % 2 else reversed(range(25)))
        for via in (client, second)
    ]
    answers = await asyncio.gather(*calls)
    assert {status for status, _ in answers} == {202}
    assert len(set(answers)) == await pool.fetchval("SELECT count(*) FROM runs WHERE workflow_id IS NULL") == 25


async def test_a_call_without_a_key_asks_the_database_nothing_about_keys(call, pool):
    await pool.execute("DROP TABLE run_keys")
    for path in CALLS:
        assert (await call(path, key=None))[0] in (201, 202), path


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "ä"])
async def test_a_key_that_is_none_is_a_bad_request(call, pool, key):
    status, answer = await call("/api/workflows", key=key)
    assert (status, b"Idempotency-Key" in answer) == (400, True)
    assert await pool.fetchval("SELECT count(*) FROM workflows") == 1


async def test_two_keys_at_once_are_a_bad_request(client):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await client.post("/api/workflows", json={"name": "x"}, headers=headers)).status == 400


async def test_a_body_that_does_not_fit_uses_up_no_key(call, pool):
    assert (await call("/api/workflows", body={}))[0] == 400
    assert (await call("/api/workflows"))[0] == 201


async def test_an_address_of_any_length_is_not_found(client):
    answer = await client.post(f"/api/workflows/{'x' * 5000}/execute", headers={"Idempotency-Key": "k"})
    assert answer.status == 404
