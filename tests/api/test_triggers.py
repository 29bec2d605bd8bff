from dataclasses import replace
from ipaddress import ip_network

from melagent.services.access import Role


async def test_triggers_say_what_starts_which_workflow(client, deploy):
    workflow_id = await deploy()
    body = await (await client.get("/api/triggers")).json()
    trigger = body["triggers"][0]
    assert (body["total"], body["next_cursor"]) == (1, None)
    assert (trigger["type"], trigger["node_id"], trigger["workflow_id"]) == ("webhook", "hook", workflow_id)
    assert (trigger["enabled"], trigger["config"]["method"]) == (True, "POST")


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
