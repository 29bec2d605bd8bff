"""Test data pinned to nodes: beside the draft, never in it."""

import asyncio
import io
import json

import pytest

from melagent.services.pinned import MAX_BYTES
from melagent.store.ids import new_id

FITS = MAX_BYTES - len('""')


@pytest.fixture
async def workflow(make_workflow):
    return f"/api/workflows/{(await make_workflow())['id']}"


def address(workflow, node_id="done"):
    return f"{workflow}/draft/nodes/{node_id}/pinned"


async def test_a_value_is_pinned_changed_and_taken_away(client, workflow):
    path = address(workflow)
    nothing = {"node_id": "done", "value": None, "updated_at": None}
    assert await (await client.get(path)).json() == nothing
    value = {"nul": "\u0000", "big": 2**64 - 1, "list": [None, 1.5]}
    pinned = await (await client.put(path, json={"value": value})).json()
    assert (pinned["node_id"], pinned["value"], pinned["updated_at"][-1]) == ("done", value, "Z")
    assert await (await client.get(path)).json() == pinned
    assert (await (await client.put(path, json={"value": False})).json())["value"] is False
    assert await (await client.put(path, json={"value": None})).json() == nothing
    assert await (await client.get(path)).json() == nothing


async def test_the_draft_its_revision_and_its_versions_know_nothing_of_it(client, workflow):
    draft = await (await client.get(f"{workflow}/draft")).json()
    await client.put(address(workflow), json={"value": "a secret of the test"})
    assert await (await client.get(f"{workflow}/draft")).json() == draft
    made = await client.post(f"{workflow}/versions", json={"name": "first"})
    assert "a secret of the test" not in await made.text()


async def test_up_to_a_mebibyte_can_be_pinned(client, workflow):
    bodies = [
        io.BytesIO(json.dumps({"value": letter * size}).encode()) for letter, size in (("x", FITS), ("y", FITS + 1))
    ]
    assert (await client.put(address(workflow), data=bodies[0])).status == 200
    refused = await client.put(address(workflow), data=bodies[1])
    assert (refused.status, (await refused.json())["error"]) == (413, "too_large")
    assert (await (await client.get(address(workflow))).json())["value"][0] == "x"


async def test_a_node_or_workflow_that_is_not_there_is_not_found(client, workflow):
    for path in (address(workflow, "nobody"), address(workflow, "%00"), address(f"/api/workflows/{new_id()}")):
        assert (await client.get(path)).status == 404
        assert (await client.put(path, json={"value": 1})).status == 404


async def test_what_is_pinned_to_a_node_that_was_taken_out_is_dropped_with_the_next_value(client, workflow, pool):
    await client.put(address(workflow), json={"value": 1})
    await client.delete(f"{workflow}/nodes/done")
    assert (await client.get(address(workflow))).status == 404
    assert await pool.fetchval("SELECT count(*) FROM pinned") == 1
    await client.put(address(workflow, "start"), json={"value": 2})
    assert [row["node_id"] for row in await pool.fetch("SELECT node_id FROM pinned")] == ["start"]


async def test_what_is_pinned_goes_with_the_workflow(client, workflow, pool):
    await client.put(address(workflow), json={"value": 1})
    assert (await client.delete(workflow)).status == 204
    assert await pool.fetchval("SELECT count(*) FROM pinned") == 0


async def test_of_many_at_once_one_value_stays_whole(client, workflow, pool):
    values = [{"by": number} for number in range(20)]
    answers = await asyncio.gather(*(client.put(address(workflow), json={"value": value}) for value in values))
    assert {answer.status for answer in answers} == {200}
    assert (await (await client.get(address(workflow))).json())["value"] in values
    assert await pool.fetchval("SELECT count(*) FROM pinned") == 1
