from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path

from melagent.api.node_types import NodeTypeAnswer
from melagent.registry import Registry
from tests.packages import installed

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom-node"


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


async def test_packages_that_bring_node_types_are_listed_with_what_they_bring(serve, services, tmp_path, monkeypatch):
    for folder in installed(EXAMPLE, tmp_path):
        monkeypatch.syspath_prepend(str(folder))
    invalidate_caches()
    package = {"name": "melagent-node-best-match", "version": "0.1.0", "node_types": ["best_match"]}
    async with serve(replace(services, registry=Registry.installed())) as client:
        assert package in await (await client.get("/api/extensions")).json()


async def test_without_such_packages_there_are_no_extensions(client):
    assert await (await client.get("/api/extensions")).json() == []
