import pytest


@pytest.fixture
def trigger_of(client):
    async def trigger_of(workflow_id):
        body = await (await client.get(f"/api/triggers?workflow_id={workflow_id}")).json()
        return body["triggers"][0] if body["triggers"] else None

    return trigger_of


@pytest.fixture
def add_version(client):
    async def add_version(workflow_id, definition=None, name="next"):
        body = {"name": name} if definition is None else {"name": name, "definition": definition}
        return await client.post(f"/api/workflows/{workflow_id}/versions", json=body)

    return add_version


async def test_a_version_holds_what_the_draft_held(client, make_workflow, add_version):
    made = await make_workflow()
    answer = await add_version(made["id"])
    version = await answer.json()
    assert answer.status == 201
    assert (version["version_number"], version["is_current"], version["created_by"]) == (1, False, "bootstrap")
    await client.put(f"/api/workflows/{made['id']}", json={"name": "x", "definition": {"nodes": []}})
    kept = await (await client.get(f"/api/workflows/{made['id']}/versions/1")).json()
    assert kept["definition"] == made["definition"]


async def test_a_version_needs_a_name(make_workflow, add_version):
    made = await make_workflow()
    assert (await add_version(made["id"], name="")).status == 400


async def test_versions_are_named_by_number_latest_and_current(client, deploy, add_version):
    workflow_id = await deploy()
    await add_version(workflow_id)
    path = f"/api/workflows/{workflow_id}/versions"
    assert (await (await client.get(f"{path}/latest")).json())["version_number"] == 2
    assert (await (await client.get(f"{path}/current")).json())["version_number"] == 1
    for name in ("3", "0", "-1", "x", "99999999999999999999", "%00", "1.0"):
        assert (await client.get(f"{path}/{name}")).status == 404, name
    listed = await (await client.get(f"{path}?limit=1")).json()
    assert (listed["total"], listed["next_cursor"], len(listed["versions"])) == (2, 2, 1)


async def test_deploying_makes_a_version_current(client, deploy):
    workflow_id = await deploy()
    workflow = await (await client.get(f"/api/workflows/{workflow_id}")).json()
    assert (workflow["current_version"], workflow["has_changes"]) == (1, False)


async def test_a_definition_with_problems_is_not_deployed_and_every_problem_is_told(client, make_workflow, add_version):
    made = await make_workflow({"nodes": [{"id": "a", "type": "teleport"}], "edges": [{"source": "a", "target": "b"}]})
    assert (await add_version(made["id"])).status == 201
    answer = await client.post(f"/api/workflows/{made['id']}/versions/1/deploy")
    body = await answer.json()
    assert (answer.status, body["error"]) == (422, "unprocessable")
    assert {detail["field"] for detail in body["details"]} == {"edges[0].target", "nodes.a.type", "nodes"}
    workflow = await (await client.get(f"/api/workflows/{made['id']}")).json()
    assert workflow["current_version"] is None


async def test_a_webhook_keeps_its_address_through_deploy_and_rollback(
    client, deploy, add_version, trigger_of, definition
):
    workflow_id = await deploy()
    path = f"/api/workflows/{workflow_id}/versions"
    first = await trigger_of(workflow_id)
    without = {"nodes": [{"id": "start", "type": "manual_trigger"}], "edges": []}
    assert (await add_version(workflow_id, without)).status == 201
    assert (await client.post(f"{path}/2/deploy")).status == 200
    assert await trigger_of(workflow_id) is None
    assert (await client.post(f"{path}/1/deploy")).status == 200
    again = await trigger_of(workflow_id)
    assert (again["id"], again["webhook_url"]) == (first["id"], first["webhook_url"])


async def test_a_disabled_trigger_node_is_not_armed(deploy, trigger_of, definition):
    definition["nodes"][1]["disabled"] = True
    assert await trigger_of(await deploy(definition)) is None


async def test_a_token_has_256_random_bits(deploy, trigger_of):
    one, other = await trigger_of(await deploy()), await trigger_of(await deploy())
    tokens = [trigger["webhook_url"].rsplit("/", 1)[1] for trigger in (one, other)]
    assert len(set(tokens)) == 2
    assert all(len(token) == 43 for token in tokens)
