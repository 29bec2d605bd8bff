"""The floor leaves the rows of the product behind, and the proof notices when one is missing."""

import asyncio

import pytest

from benchmarks import floor_remote
from benchmarks.floor import Floor, Shape, app_of
from benchmarks.floor_remote import RemoteFloor
from benchmarks.load import load
from benchmarks.proof import prove
from benchmarks.workloads import PURE
from melagent.domain.definition import Definition
from melagent.registry import Registry
from melagent.services import versions, workflows
from melagent.store.pool import create_pool
from melagent.vault import Vault


@pytest.fixture
async def deployed(pool):
    """Id and webhook token of a deployed workflow."""
    definition = Definition.model_validate(PURE.definition)
    made = await workflows.create(pool, "floor", "", definition)
    new = {"name": "1", "description": "", "definition": None, "created_by": "test"}
    version = await versions.create(pool, made.id, **new)
    deployed = await versions.deploy(pool, Registry.builtin(), Vault(()), made.id, version)
    [(_, token)] = deployed.new_tokens.values()
    return made.id, token


@pytest.fixture
def loaded(aiohttp_server, database_url, deployed):
    """Lets a floor of this shape answer calls; the workflow they were runs of, and how many it answered."""

    async def run(shape):
        workflow_id, token = deployed
        pool = await create_pool(database_url)
        server = await aiohttp_server(app_of(Floor(pool, shape), pool, Registry.builtin()))
        figures = await load(str(server.make_url(f"/webhooks/{token}")), "total", connections=5, seconds=0.2)
        await pool.close()
        assert figures["faults"] == {}
        return workflow_id, figures["answers"]

    return run


@pytest.mark.parametrize(("steps", "writes"), [(4, 1), (4, 3), (41, 1)])
async def test_each_answer_of_the_floor_has_one_completed_run(loaded, database_url, steps, writes):
    workflow_id, answers = await loaded(Shape(steps, writes))
    assert answers > 5
    await prove(database_url, workflow_id, answers, steps)


async def test_a_run_of_the_floor_with_workers_leaves_the_same_rows(aiohttp_server, database_url, deployed):
    workflow_id, token = deployed
    pool = await create_pool(database_url)
    floor = RemoteFloor(pool, Shape(steps=4, writes=1))
    server = await aiohttp_server(app_of(floor, pool, Registry.builtin()))
    url = str(server.make_url("/"))
    workers = [asyncio.create_task(floor_remote.work(url, 4)) for _ in range(2)]
    figures = await load(str(server.make_url(f"/webhooks/{token}")), "total", connections=5, seconds=0.2)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await pool.close()
    assert figures["faults"] == {}
    assert figures["answers"] > 5
    await prove(database_url, workflow_id, figures["answers"], 4)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM steps WHERE ctid = (SELECT min(ctid) FROM steps)",
        "DELETE FROM runs WHERE ctid = (SELECT min(ctid) FROM runs)",
        "UPDATE runs SET status = 'failed' WHERE ctid = (SELECT min(ctid) FROM runs)",
        "UPDATE steps SET status = 'failed' WHERE ctid = (SELECT min(ctid) FROM steps)",
    ],
)
async def test_the_proof_notices_what_is_missing(loaded, pool, database_url, damage):
    workflow_id, answers = await loaded(Shape(steps=4, writes=1))
    await pool.execute(damage)
    with pytest.raises(RuntimeError, match="the proof fails"):
        await prove(database_url, workflow_id, answers, 4)


async def test_the_proof_notices_an_answer_without_a_run(loaded, database_url):
    workflow_id, answers = await loaded(Shape(steps=4, writes=1))
    with pytest.raises(RuntimeError, match="the proof fails"):
        await prove(database_url, workflow_id, answers + 1, 4)
