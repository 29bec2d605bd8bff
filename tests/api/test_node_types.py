from melagent.api.node_types import NodeTypeAnswer


async def test_every_node_type_describes_itself_as_documented(client, registry):
    types = await (await client.get("/api/node-types")).json()
    assert {found["id"] for found in types} == {found.node.id for found in registry.all()}
    for found in types:
        assert set(NodeTypeAnswer.model_json_schema()["required"]) <= found.keys()


async def test_node_types_are_listed_by_kind(client):
    triggers = await (await client.get("/api/node-types?kind=trigger")).json()
    assert {"manual_trigger", "webhook"} <= {found["id"] for found in triggers}
    assert all("trigger" in found["kinds"] for found in triggers)
    assert await (await client.get("/api/node-types?kind=unheard")).json() == []


async def test_one_node_type_is_read_by_its_id(client):
    assert (await (await client.get("/api/node-types/noop")).json())["id"] == "noop"
    assert (await client.get("/api/node-types/teleport")).status == 404
