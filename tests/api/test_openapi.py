"""The API against its own description: what the document allows ends neither in an error of ours nor in a surprise."""

import asyncio

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error, response_schema_conformance

EXAMPLES = 40
CHECKS = [not_a_server_error, response_schema_conformance]
SKIPPED = ("/demo/slow", "/demo/status", "/events", "/webhooks", "/ready")
"""Slow or a 5xx on purpose, a stream that ends with its run, a token that cannot be guessed, a 503 that may be."""

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


# The loops of the engine draw random numbers meanwhile, in another thread; the generator takes that for its own doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_nothing_that_the_document_allows_is_an_error_of_ours(client, described, services):
    api, workflow_id, run_id = described
    headers = {"Authorization": f"Bearer {services.bootstrap_key}"}
    called = await asyncio.to_thread(probe, api, str(client.make_url("/")), headers, workflow_id, run_id)
    assert called > EXAMPLES * 20


def probe(api, base_url, headers, workflow_id, run_id):
    """Call every operation with generated input; half of the calls go to the workflow and the run that exist."""
    called = 0
    with requests.Session() as session:
        for found in schemathesis.openapi.from_dict(api).get_all_operations():
            operation = found.ok()
            if any(part in operation.path for part in SKIPPED):
                continue

            @LIMITS
            @given(case=operation.as_strategy())
            def call(case):
                nonlocal called
                called += 1
                if called % 2 and "id" in (case.path_parameters or {}):
                    case.path_parameters["id"] = run_id if "workflow-runs" in case.path else workflow_id
                case.call_and_validate(base_url=base_url, session=session, headers=headers, checks=CHECKS, timeout=20)

            call()
    return called
