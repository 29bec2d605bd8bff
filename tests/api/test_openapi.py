"""The API against its own description: what the document allows ends neither in an error of ours nor in a surprise."""

import asyncio
from itertools import count, cycle

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error, response_schema_conformance

from melagent.services.access import create_worker_token
from tests.builders import chain, free_run, stored

EXAMPLES = 40
CHECKS = [not_a_server_error, response_schema_conformance]
SKIPPED = ("/demo/slow", "/demo/status", "/workflow-runs/{id}/events", "/webhooks", "/ready")
"""Slow or a 5xx on purpose, a stream that ends with its run, a token that cannot be guessed, a 503 that may be."""

RUNS = 20

LIMITS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
async def described(client, deploy):
    """The document, and a workflow and a run to be found."""
    workflow_id = await deploy()
    run = await (await client.post(f"/api/workflows/{workflow_id}/execute")).json()
    return await (await client.get("/api/openapi.json")).json(), workflow_id, run["id"]


@pytest.fixture
async def remote(client, pool):
    """A worker as its calls name it: its token, its session, a version, and the items that it holds."""
    _, token = await create_worker_token(pool, "tests")
    headers = {"Authorization": f"Bearer {token}"}
    registered = await client.post("/api/workers", json={"id": "probe", "concurrency": RUNS}, headers=headers)
    session = (await registered.json())["session"]
    version_id = await stored(pool, chain(("start", "manual_trigger")))
    for _ in range(RUNS):
        await free_run(pool, version_id=version_id)
    claim = {"session": session, "max_items": RUNS}
    items = await (await client.post("/api/workers/probe/claim-work", json=claim, headers=headers)).json()
    assert len(items) == RUNS
    return headers, session, str(version_id), items


# The loops of the engine draw random numbers meanwhile, in another thread; the generator takes that for its own doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_nothing_that_the_document_allows_is_an_error_of_ours(client, described, services):
    api, workflow_id, run_id = described
    headers = {"Authorization": f"Bearer {services.bootstrap_key}"}

    def aim(case):
        if "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = run_id if "workflow-runs" in case.path else workflow_id

    called = await asyncio.to_thread(probe, api, str(client.make_url("/")), headers, aim)
    assert called > EXAMPLES * 20


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_nothing_that_a_worker_may_send_is_an_error_of_ours(client, described, remote):
    headers, session, version_id, items = remote
    held = {"leases": {item["run_id"]: item["lease"] for item in items}}
    item, numbers = cycle(items), count(1)

    def aim(case):
        mine = next(item)
        run = {"run_id": mine["run_id"], "lease": mine["lease"]}
        names = {"id": "probe", "version_id": version_id, "item_id": mine["run_id"], "hash": "0" * 64, **run}
        case.path_parameters = {name: names.get(name, sent) for name, sent in (case.path_parameters or {}).items()}
        if case.method != "DELETE" and case.query:
            case.query = {**case.query, "session": session, "lease": mine["lease"]}
        if isinstance(case.body, dict):
            case.body |= {"session": session, "wait_seconds": 0, **(held if "heartbeat" in case.path else {})}
            for sent in (case.body, *_objects(case.body.get("entries")), *_objects(case.body.get("events"))):
                sent |= {**run, "seq": next(numbers)}

    called = await asyncio.to_thread(probe, described[0], str(client.make_url("/")), headers, aim, only="/api/workers")
    assert called > EXAMPLES * 5


def _objects(sent):
    return [each for each in sent if isinstance(each, dict)] if isinstance(sent, list) else []


def probe(api, base_url, headers, aim, only="/"):
    """Call every operation with generated input; half of the calls are aimed at what exists."""
    called = 0
    with requests.Session() as session:
        for found in schemathesis.openapi.from_dict(api).get_all_operations():
            operation = found.ok()
            if any(part in operation.path for part in SKIPPED) or not operation.path.startswith(only):
                continue

            @LIMITS
            @given(case=operation.as_strategy())
            def call(case):
                nonlocal called
                called += 1
                if called % 2:
                    aim(case)
                case.call_and_validate(base_url=base_url, session=session, headers=headers, checks=CHECKS, timeout=20)

            call()
    return called
