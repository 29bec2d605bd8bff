"""The cluster from any instance: who is there, who is silent, what waits, and why."""

from __future__ import annotations

import pytest

from melagent.maintenance.registrar import Registrar
from melagent.services.access import create_worker_token
from melagent.store.instances import Identity
from tests.builders import free_run, leased_run


@pytest.fixture
def registrar(pool):
    """An instance that is in the list once `one_pass` has been called."""

    def make(name, *, draining=False, **load):
        return Registrar(pool, Identity(name, "server", "1.2.3", "host", 7), lambda: load, lambda: draining)

    return make


@pytest.fixture
def cluster(client):
    async def get():
        answer = await client.get("/api/cluster")
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return get


async def test_an_instance_is_listed_until_it_leaves_and_a_dead_one_for_a_minute(cluster, registrar, pool):
    first, dead = registrar("first", callers=3), registrar("dead")
    for each in (first, dead, first):
        await each.one_pass()
    await pool.execute("UPDATE instances SET last_seen_at = now() - interval '30 s' WHERE id = 'dead'")
    listed = {instance["id"]: instance for instance in (await cluster())["instances"]}
    assert {name: instance["status"] for name, instance in listed.items()} == {"first": "active", "dead": "silent"}
    assert listed["first"]["load"] == {"callers": 3}
    await pool.execute("UPDATE instances SET last_seen_at = now() - interval '90 s' WHERE id = 'dead'")
    await first.one_pass()
    assert [instance["id"] for instance in (await cluster())["instances"]] == ["first"]
    await first.leave()
    assert (await cluster())["instances"] == []


async def test_a_draining_instance_says_so(cluster, registrar):
    await registrar("one", draining=True).one_pass()
    assert (await cluster())["instances"][0]["draining"] is True


async def test_workers_of_all_kinds_are_listed_with_what_they_hold(cluster, registrar, serve, services, pool):
    worker = {"id": "embedded-1", "concurrency": 100, "busy": 2, "offered": ["type:mine"]}
    await registrar("one", worker=worker).one_pass()
    _, token = await create_worker_token(pool, "worker")
    async with serve(services, key=token) as client:
        await client.post("/api/workers", json={"id": "remote", "labels": ["region=eu"], "concurrency": 7})
    await leased_run(pool, "remote")
    embedded, remote = sorted((await cluster())["workers"], key=lambda found: found["id"])
    assert (embedded["embedded"], embedded["busy"], embedded["node_types"]) == (True, 2, ["mine"])
    assert (remote["embedded"], remote["busy"], remote["labels"]) == (False, 1, ["region=eu"])


async def test_the_queue_is_counted_by_what_it_requires(cluster, pool):
    for requires in ("", "", "region=eu"):
        await free_run(pool, requires=requires)
    await leased_run(pool)
    queue = (await cluster())["queue"]
    assert queue["depth"] == 3
    assert {required: line["depth"] for required, line in queue["by_label"].items()} == {"": 2, "region=eu": 1}
    assert queue["oldest_age_seconds"] >= 0


@pytest.mark.parametrize(
    ("requires", "offered", "message"),
    [
        ("", None, "no worker is connected"),
        ("", [], None),
        ("region=eu", ["gpu=yes"], "no worker matches label region=eu"),
        ("region=eu type:mine", ["region=eu"], "no worker has the node type mine"),
        ("region=eu", ["gpu=yes", "region=eu"], None),
    ],
)
async def test_a_run_that_nobody_can_take_says_what_it_waits_for(  # noqa: PLR0917  # a table of three columns
    client, registrar, pool, requires, offered, message
):
    if offered is not None:
        worker = {"id": "embedded", "concurrency": 1, "busy": 0, "offered": offered}
        await registrar("one", worker=worker).one_pass()
    run = await free_run(pool, requires=requires)
    waiting_for = (await (await client.get(f"/api/workflow-runs/{run.id}")).json())["waiting_for"]
    assert (waiting_for and waiting_for["message"]) == message
    if message:
        assert waiting_for["requires"] == requires.split()


async def test_the_labels_of_a_workflow_and_of_a_start_are_what_its_runs_require(client, deploy, definition, pool):
    workflow_id = await deploy({**definition, "settings": {"labels": ["region=eu"]}})
    answer = await client.post(f"/api/workflows/{workflow_id}/execute", json={"labels": ["gpu=yes", "region=eu"]})
    assert answer.status == 202, await answer.text()
    (trigger,) = (await (await client.get("/api/triggers")).json())["triggers"]
    path = "/webhooks/" + trigger["webhook_url"].rsplit("/", 1)[1]
    assert (await client.post(path, json={})).status in (202, 504)
    rows = await pool.fetch("SELECT requires FROM work_items ORDER BY run_id")
    assert [row["requires"] for row in rows] == ["gpu=yes region=eu", "region=eu"]


async def test_a_label_that_is_none_is_refused(client, deploy):
    workflow_id = await deploy()
    answer = await client.post(f"/api/workflows/{workflow_id}/execute", json={"labels": ["no value"]})
    assert answer.status == 400
