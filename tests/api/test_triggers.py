from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from uuid import uuid4

import pytest
from yarl import URL

from melagent.maintenance.scheduler import Scheduler
from melagent.services.access import Role
from melagent.vault import Vault
from tests.api.test_canary import dump
from tests.scheduling import let_pass


async def test_triggers_say_what_starts_which_workflow(client, deploy):
    workflow_id = await deploy()
    body = await (await client.get("/api/triggers")).json()
    trigger = body["triggers"][0]
    assert (body["total"], body["next_cursor"]) == (1, None)
    assert (trigger["type"], trigger["node_id"], trigger["workflow_id"]) == ("webhook", "hook", workflow_id)
    assert (trigger["enabled"], trigger["config"]["method"]) == (True, "POST")
    assert trigger["workflow_name"] == "orders"


async def test_the_address_of_a_webhook_is_shown_only_to_those_who_may_edit(client, deploy, keys):
    await deploy()
    shown = {}
    for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN):
        answer = await client.get("/api/triggers", headers={"Authorization": f"Bearer {keys[role]}"})
        shown[role] = "webhook_url" in (await answer.json())["triggers"][0]
    assert shown == {Role.VIEWER: False, Role.EDITOR: True, Role.ADMIN: True}


async def test_addresses_begin_with_the_public_url_or_with_where_the_request_went(client, deploy, serve, services):
    await deploy()
    trigger = (await (await client.get("/api/triggers")).json())["triggers"][0]
    assert trigger["webhook_url"].startswith(f"http://{client.host}:{client.port}/webhooks/")
    async with serve(replace(services, public_url="https://mel.example/")) as other:
        trigger = (await (await other.get("/api/triggers")).json())["triggers"][0]
        assert trigger["webhook_url"].startswith("https://mel.example/webhooks/")


async def test_addresses_are_those_that_the_client_sees_through_a_trusted_proxy(client, deploy, serve, services):
    await deploy()
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mel.example"}

    async def begins(some_client, with_what):
        async with some_client.get("/api/triggers", headers=told) as answer:
            (trigger,) = (await answer.json())["triggers"]
        assert trigger["webhook_url"].startswith(f"{with_what}/webhooks/")

    await begins(client, f"http://{client.host}:{client.port}")
    for networks, expected in (("127.0.0.0/8", "https://mel.example"), ("10.0.0.0/8", None)):
        async with serve(replace(services, trusted_proxies=(ip_network(networks),))) as other:
            await begins(other, expected or f"http://{other.host}:{other.port}")


async def test_triggers_come_in_pages_and_by_workflow(client, deploy):
    ids = [await deploy() for _ in range(3)]
    first = await (await client.get("/api/triggers?limit=2")).json()
    second = await (await client.get(f"/api/triggers?limit=2&cursor={first['next_cursor']}")).json()
    listed = [trigger["workflow_id"] for trigger in (*first["triggers"], *second["triggers"])]
    assert sorted(listed) == sorted(ids)
    one = await (await client.get(f"/api/triggers?workflow_id={ids[0]}")).json()
    assert [trigger["workflow_id"] for trigger in one["triggers"]] == [ids[0]]


NIGHTLY = {"name": "nightly", "type": "schedule", "config": {"cron": "@daily", "timezone": "Europe/Berlin"}}


@pytest.fixture
def make_trigger(client):
    async def make(workflow_id, status=201, **changes):
        answer = await client.post("/api/triggers", json=NIGHTLY | {"workflow_id": workflow_id} | changes)
        assert answer.status == status, await answer.text()
        return await answer.json()

    return make


async def only_trigger(client):
    (found,) = (await (await client.get("/api/triggers")).json())["triggers"]
    return found


def path_of(webhook):
    return URL(webhook["webhook_url"]).path


CLOCK = {"nodes": [{"id": "clock", "type": "schedule", "config": {"cron": "0 9 * * *"}}]}


async def test_a_schedule_says_when_it_fires_next_and_last(client, deploy, pool, engine, registry):
    await deploy(CLOCK)
    trigger = await only_trigger(client)
    assert (trigger["type"], trigger["node_id"], trigger["last_fired_at"]) == ("schedule", "clock", None)
    assert trigger["next_fire_at"].endswith("T09:00:00Z")
    await let_pass(pool, timedelta(days=1))
    await Scheduler(engine, registry).one_pass()
    fired = await (await client.get(f"/api/triggers/{trigger['id']}")).json()
    assert fired["last_fired_at"] is not None
    assert fired["next_fire_at"] == trigger["next_fire_at"]


async def test_a_run_names_its_trigger_and_its_planned_moment(client, deploy, pool, engine, registry):
    await deploy(CLOCK)
    trigger = await only_trigger(client)
    await let_pass(pool, timedelta(days=1))
    await Scheduler(engine, registry).one_pass()
    (run,) = (await (await client.get(f"/api/workflow-runs?trigger_id={trigger['id']}")).json())["runs"]
    assert run["trigger"] | {"scheduled_for": ""} == {
        "type": "schedule", "id": trigger["id"], "node_id": "clock", "scheduled_for": "",
    }  # fmt: skip
    assert run["trigger"]["scheduled_for"].endswith("T09:00:00Z")
    assert (await (await client.get(f"/api/workflow-runs?trigger_id={uuid4()}")).json())["runs"] == []


async def test_a_trigger_is_made_read_changed_and_deleted(client, deploy, make_trigger):
    workflow_id = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]})
    made = await make_trigger(workflow_id)
    assert (made["node_id"], made["enabled"], made["config"]) == (None, True, NIGHTLY["config"])
    assert made["next_fire_at"] is not None
    url = f"/api/triggers/{made['id']}"
    assert await (await client.get(url)).json() == made
    paused = await (await client.put(url, json={"enabled": False})).json()
    assert (paused["enabled"], paused["next_fire_at"], paused["name"]) == (False, None, "nightly")
    changed = await (
        await client.put(url, json={"name": "hourly", "config": {"cron": "@hourly"}, "enabled": True})
    ).json()
    assert (changed["name"], changed["config"]) == ("hourly", {"cron": "@hourly"})
    assert changed["next_fire_at"].endswith(":00:00Z")
    assert (await client.delete(url)).status == 204
    assert [
        (await client.get(url)).status,
        (await client.put(url, json={})).status,
        (await client.delete(url)).status,
    ] == [404] * 3


async def test_making_a_trigger_under_the_same_key_makes_one(client, deploy):
    workflow_id = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]})
    body, headers = NIGHTLY | {"workflow_id": workflow_id}, {"Idempotency-Key": "k"}
    ids = {(await (await client.post("/api/triggers", json=body, headers=headers)).json())["id"] for _ in range(2)}
    assert ids == {(await only_trigger(client))["id"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"cron": "61 * * * *"}}, (422, "config.cron")),
        ({"config": {"cron": "@sunrise"}}, (422, "config.cron")),
        ({"config": {"cron": "0 0 30 2 *"}}, (422, "config.cron")),
        ({"config": {"cron": "0 0 */29 2 MON#5"}}, (422, "config.cron")),
        ({"config": {"cron": "@daily", "timezone": "Mars/Olympus"}}, (422, "config.timezone")),
        ({"config": {"cron": "@daily", "timezone": "../../etc/passwd"}}, (422, "config.timezone")),
        ({"config": {"cron": "@daily", "timezone": "a\x00b"}}, (422, "config.timezone")),
        ({"config": {"cron": "@daily", "missed": "some"}}, (422, "config.missed")),
        ({"config": {"cron": "@daily", "jitter": 3601}}, (422, "config.jitter")),
        ({"config": {"cron": "@daily", "colour": 1}}, (422, "config.colour")),
        ({"config": {}}, (422, "config.cron")),
        ({"config": {"cron": "{{ vars.when }}"}}, (422, "config.cron")),
        ({"type": "timer"}, (400, "type")),
        ({"type": "error"}, (400, "type")),
        ({"name": " "}, (400, "name")),
        ({"node_id": "start"}, (400, "node_id")),
    ],
)
async def test_what_cannot_work_is_refused_by_the_name_of_its_field(client, deploy, make_trigger, changes, expected):
    workflow_id, (status, field) = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]}), expected
    refused = await make_trigger(workflow_id, status, **changes)
    assert [detail["field"] for detail in refused["details"]] == [field]
    assert (await (await client.get("/api/triggers")).json())["total"] == 0


async def test_a_trigger_of_a_node_can_be_paused_but_follows_its_version_else(client, deploy):
    await deploy(CLOCK)
    trigger = await only_trigger(client)
    url = f"/api/triggers/{trigger['id']}"
    refused = await client.put(url, json={"config": {"cron": "@daily"}, "name": "mine", "enabled": False})
    assert refused.status == 422
    assert [detail["field"] for detail in (await refused.json())["details"]] == ["name", "config"]
    assert await only_trigger(client) == trigger
    assert (await (await client.put(url, json={"enabled": False})).json())["next_fire_at"] is None
    assert (await (await client.put(url, json={"enabled": True})).json())["next_fire_at"] == trigger["next_fire_at"]
    assert (await client.delete(url)).status == 409


async def test_a_trigger_fires_when_it_is_told_to_and_under_the_same_key_once(client, deploy, worker):
    await deploy(CLOCK)
    trigger = await only_trigger(client)
    url, headers = f"/api/triggers/{trigger['id']}/fire", {"Idempotency-Key": "k"}
    answers = [await client.post(url, json={"input": {"a": 1}}, headers=headers) for _ in range(2)]
    runs = [await answer.json() for answer in answers]
    assert [answer.status for answer in answers] == [202, 202]
    assert runs[0]["id"] == runs[1]["id"]
    assert runs[0]["trigger"] == {"type": "schedule", "id": trigger["id"], "node_id": "clock", "scheduled_for": None}
    assert runs[0]["input"] == {"a": 1}
    after = await only_trigger(client)
    assert after["last_fired_at"] is not None
    assert after["next_fire_at"] == trigger["next_fire_at"]
    assert (await client.post(f"/api/triggers/{uuid4()}/fire")).status == 404


async def test_a_paused_schedule_can_be_fired_and_one_without_a_version_cannot(
    client, deploy, make_workflow, make_trigger
):
    await deploy(CLOCK)
    paused = await only_trigger(client)
    await client.put(f"/api/triggers/{paused['id']}", json={"enabled": False})
    assert (await client.post(f"/api/triggers/{paused['id']}/fire", json={})).status == 202
    waiting = await make_trigger((await make_workflow())["id"])
    assert (await client.post(f"/api/triggers/{waiting['id']}/fire", json={})).status == 409


async def test_a_webhook_made_by_hand_has_a_url_that_starts_the_deployed_version(client, deploy, make_trigger):
    workflow_id = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]})
    made = await make_trigger(workflow_id, type="webhook", config={"method": "PUT"})
    answer = await client.put(path_of(made), json={"a": 1})
    assert answer.status == 202
    run = await (await client.get(f"/api/workflow-runs/{(await answer.json())['run_id']}")).json()
    assert run["trigger"] == {"type": "webhook", "id": made["id"], "node_id": "start", "scheduled_for": None}
    assert run["input"]["body"] == {"a": 1}
    await client.put(f"/api/triggers/{made['id']}", json={"enabled": False})
    assert (await client.put(path_of(made))).status == 404


@pytest.fixture
def make_hook():
    """Makes a webhook by hand under a key, as often as it is asked to; its address, or null."""

    async def make_hook(client, workflow_id, key="k"):
        body = {"name": "hook", "type": "webhook", "workflow_id": workflow_id}
        answer = await client.post("/api/triggers", json=body, headers={"Idempotency-Key": key})
        assert answer.status == 201, await answer.text()
        return await answer.json()

    return make_hook


async def test_the_address_of_a_webhook_made_under_a_key_is_kept_nowhere_and_shown_again(
    client, make_workflow, make_hook, pool
):
    workflow_id = (await make_workflow())["id"]
    made = await make_hook(client, workflow_id)
    token = made["webhook_url"].rpartition("/")[2]
    assert token not in await dump(pool)
    assert await make_hook(client, workflow_id) == made
    assert token not in await dump(pool)
    assert made["id"] in await dump(pool)


async def test_a_repetition_shows_the_address_that_is_good_now(client, deploy, make_hook):
    workflow_id = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]})
    made = await make_hook(client, workflow_id)
    renewed = await (await client.post(f"/api/triggers/{made['id']}/renew")).json()
    assert renewed["webhook_url"] != made["webhook_url"]
    assert await make_hook(client, workflow_id) == made | {"webhook_url": renewed["webhook_url"]}
    await client.delete(f"/api/triggers/{made['id']}")
    assert await make_hook(client, workflow_id) == {name: made[name] for name in made if name != "webhook_url"}


async def test_without_an_encryption_key_only_the_first_answer_shows_the_address(
    serve, services, make_workflow, make_hook, pool
):
    workflow_id = (await make_workflow())["id"]
    async with serve(replace(services, vault=Vault(()))) as client:
        made = await make_hook(client, workflow_id)
        assert made.pop("webhook_url").rpartition("/")[2] not in await dump(pool)
        assert await make_hook(client, workflow_id) == made


async def test_a_webhook_made_by_hand_waits_for_a_version(client, make_workflow, make_trigger):
    made = await make_trigger((await make_workflow())["id"], type="webhook", config={})
    assert (await client.post(path_of(made))).status == 404


async def test_the_triggers_of_a_deleted_workflow_are_gone(client, deploy, make_trigger):
    workflow_id = await deploy({"nodes": [{"id": "start", "type": "manual_trigger"}]})
    made = await make_trigger(workflow_id)
    assert (await client.delete(f"/api/workflows/{workflow_id}")).status == 204
    assert (await client.get(f"/api/triggers/{made['id']}")).status == 404
    await make_trigger(workflow_id, 404)
