from dataclasses import replace

import pytest

from melagent.store import triggers, versions, workflows
from melagent.store.ids import LAST_ID, new_id
from melagent.store.triggers import TriggerNode


@pytest.fixture
async def workflow(pool):
    return await workflows.insert(pool, new_id(), "orders", "", b"{}")


@pytest.fixture
async def version(pool, workflow):
    values = {"description": "", "definition": b"{}", "definition_hash": b"", "created_by": "test"}
    return await versions.insert(pool, new_id(), workflow.id, name="v", **values)


def node(node_id, token="a-token", config=b"{}"):
    return TriggerNode(new_id(), node_id, "webhook", node_id, config, token)


async def test_a_trigger_keeps_id_and_token_when_its_node_is_deployed_again(pool, workflow, version):
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "first")])
    before = await triggers.find_by_token(pool, "first")
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "second", b'{"method":"GET"}')])
    after = await triggers.find_by_token(pool, "first")
    assert (after.id, after.config) == (before.id, b'{"method":"GET"}')
    assert await triggers.find_by_token(pool, "second") is None


async def test_a_retired_trigger_is_not_found_and_comes_back_as_it_was(pool, workflow, version):
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "first")])
    before = await triggers.find_by_token(pool, "first")
    await triggers.retire(pool, workflow.id)
    assert await triggers.find_by_token(pool, "first") is None
    assert await triggers.page(pool, None, LAST_ID, 10) == []
    assert await triggers.count(pool, workflow.id) == 0
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "other")])
    assert (await triggers.find_by_token(pool, "first")).id == before.id


async def test_only_nodes_that_are_kept_stay_armed(pool, workflow, version):
    await triggers.arm(pool, workflow.id, version.id, [node("a", "token-a"), node("b", "token-b")])
    await triggers.retire(pool, workflow.id, keep=["b"])
    assert [trigger.node_id for trigger in await triggers.page(pool, workflow.id, LAST_ID, 10)] == ["b"]


async def test_a_disabled_trigger_is_listed_but_not_called(pool, workflow, version):
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "first")])
    await pool.execute("UPDATE triggers SET enabled = false")
    assert await triggers.find_by_token(pool, "first") is None
    assert len(await triggers.page(pool, None, LAST_ID, 10)) == 1


async def test_a_node_that_becomes_another_trigger_is_not_called_until_it_is_a_webhook_again(pool, workflow, version):
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "first")])
    before = await triggers.find_by_token(pool, "first")
    await triggers.arm(pool, workflow.id, version.id, [replace(node("hook", None), type="clock")])
    assert await triggers.find_by_token(pool, "first") is None
    listed = await triggers.page(pool, workflow.id, LAST_ID, 10)
    assert [(trigger.id, trigger.type, trigger.token) for trigger in listed] == [(before.id, "clock", None)]
    await triggers.arm(pool, workflow.id, version.id, [node("hook", "second")])
    assert (await triggers.find_by_token(pool, "first")).id == before.id
