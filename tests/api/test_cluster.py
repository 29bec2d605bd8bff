"""The cluster from any instance: who is there, who is silent, what waits, and why."""

from __future__ import annotations

import random
from string import ascii_letters

import pytest

from melagent.domain.requirement import MAX_LENGTH
from melagent.engine.lifecycle.rescue import take_back_expired
from melagent.maintenance.registrar import Registrar
from melagent.services.access import create_worker_token
from melagent.store.instances import Identity
from tests.builders import expire, free_run, leased_run


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


async def test_rooms_and_peers_of_instances_that_are_heard_of_add_up(cluster, registrar, pool):
    await registrar("one", rooms=2, peers=5).one_pass()
    await registrar("two", rooms=1, peers=3).one_pass()
    await registrar("dead", rooms=9, peers=9).one_pass()
    await registrar("of before").one_pass()
    await pool.execute("UPDATE instances SET last_seen_at = now() - interval '30 s' WHERE id = 'dead'")
    assert (await cluster())["realtime"] == {"rooms": 3, "peers": 8}


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


@pytest.fixture
def register(serve, services, pool):
    """Registers a remote worker with these labels; a `bound` one with a token for them alone."""

    async def register(*labels, bound=False):
        _, token = await create_worker_token(pool, "worker", labels if bound else ())
        async with serve(services, key=token) as client:
            assert (await client.post("/api/workers", json={"id": token, "labels": labels})).status == 201

    return register


@pytest.fixture
def waiting_for(client):
    """The message of what a run waits for; null when it only waits for its turn."""

    async def get(run):
        found = (await (await client.get(f"/api/workflow-runs/{run.id}")).json())["waiting_for"]
        return found and found["message"]

    return get


async def test_a_run_without_labels_waits_when_all_workers_are_bound_to_some(register, waiting_for, pool):
    await register("region=eu", bound=True)
    plain, labelled = await free_run(pool), await free_run(pool, requires="region=eu")
    assert await waiting_for(plain) == "every connected worker is bound to labels, and this run requires none"
    assert await waiting_for(labelled) is None
    await register("region=eu")
    assert await waiting_for(plain) is None


async def test_a_worker_is_silent_when_it_was_not_heard_of_for_longer_than_a_poll(register, waiting_for, cluster, pool):
    await register()
    run = await free_run(pool)
    for seconds, status, message in ((35, "active", None), (45, "silent", "no worker is connected")):
        await pool.execute("UPDATE workers SET last_contact_at = now() - make_interval(secs => $1)", float(seconds))
        assert [worker["status"] for worker in (await cluster())["workers"]] == [status]
        assert await waiting_for(run) == message


async def test_workers_that_drain_take_no_run(register, registrar, waiting_for, pool):
    await register()
    await pool.execute("UPDATE workers SET draining = true")
    worker = {"id": "embedded", "concurrency": 1, "busy": 0, "offered": []}
    await registrar("one", draining=True, worker=worker).one_pass()
    assert await waiting_for(await free_run(pool)) == "no worker is connected"


async def test_the_worker_of_a_dead_instance_takes_no_run_and_that_of_another_does(
    registrar, waiting_for, cluster, pool
):
    worker = {"id": "embedded", "concurrency": 1, "busy": 0, "offered": []}
    await registrar("dead", worker=worker).one_pass()
    await pool.execute("UPDATE instances SET last_seen_at = now() - interval '20 s'")
    run = await free_run(pool)
    assert await waiting_for(run) == "no worker is connected"
    assert [worker["status"] for worker in (await cluster())["workers"]] == ["silent"]
    await registrar("alive", worker=worker).one_pass()
    assert await waiting_for(run) is None


async def test_lists_do_not_say_what_their_runs_wait_for(client, pool):
    await free_run(pool)
    (listed,) = (await (await client.get("/api/workflow-runs")).json())["runs"]
    assert listed["waiting_for"] is None


LONG = [f"{number:063}={number:063}" for number in range(20)]
"""Labels that are too long together, and few enough for a start."""


async def test_labels_that_the_queue_cannot_hold_are_refused_by_deploy_and_start(
    client, make_workflow, deploy, definition, pool
):
    async def refused(path, body):
        answer = await client.post(f"/api/workflows/{path}", json=body)
        found = await answer.json()
        assert (answer.status, found["error"]) == (422, "unprocessable")
        return [detail["field"] for detail in found["details"]]

    demanding = (await make_workflow({**definition, "settings": {"labels": LONG}}, "demanding"))["id"]
    assert (await client.post(f"/api/workflows/{demanding}/versions", json={"name": "first"})).status == 201
    assert await refused(f"{demanding}/versions/1/deploy", {}) == ["settings.labels"]
    assert await refused(f"{demanding}/execute", {"version": 1}) == ["labels"]
    assert await refused(f"{await deploy()}/execute", {"labels": LONG}) == ["labels"]
    assert await pool.fetchval("SELECT count(*) FROM runs") == 0


async def test_a_run_that_requires_as_much_as_is_allowed_can_be_leased_and_freed_again(pool):
    requires = "".join(random.Random(1).choices(ascii_letters, k=MAX_LENGTH))
    run = await leased_run(pool, requires=requires)
    await expire(pool)
    assert (await take_back_expired(pool))[0] == [run.run_id]


async def test_autoscalers_see_workers_instances_and_the_queue_by_requirement(client, registrar, register, pool):
    for name, draining in (("one", False), ("two", False), ("old", True), ("dead", True)):
        await registrar(name, draining=draining).one_pass()
    await pool.execute("UPDATE instances SET last_seen_at = now() - interval '20 s' WHERE id = 'dead'")
    await register()
    for requires in ("", "region=eu", "region=eu"):
        await free_run(pool, requires=requires)
    lines = (await (await client.get("/metrics")).text()).splitlines()
    assert {
        'mel_instances{status="active"} 2.0',
        'mel_instances{status="draining"} 1.0',
        'mel_instances{status="silent"} 1.0',
        'mel_workers{status="active"} 1.0',
        'mel_workers{status="silent"} 0.0',
        "mel_queue_depth 3.0",
        'mel_queue_depth_by_requirement{requires=""} 1.0',
        'mel_queue_depth_by_requirement{requires="region=eu"} 2.0',
    } <= set(lines)


async def test_the_series_of_the_queue_stay_few_and_add_up(client, pool):
    for number in range(60):
        await free_run(pool, requires=f"n={number}")
    await free_run(pool, requires="n=59")
    text = await (await client.get("/metrics")).text()
    series = [line for line in text.splitlines() if line.startswith("mel_queue_depth_by_requirement{")]
    assert len(series) == 51
    assert 'mel_queue_depth_by_requirement{requires="n=59"} 2.0' in series
    assert sum(float(line.split()[-1]) for line in series) == 61


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
