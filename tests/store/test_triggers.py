from dataclasses import replace

import pytest

from melagent.store import trigger_tokens, triggers, versions, workflows
from melagent.store.ids import LAST_ID, new_id
from melagent.store.triggers import TriggerNode


@pytest.fixture
async def workflow(pool):
    return await workflows.insert(pool, new_id(), "orders", "", b"{}")


@pytest.fixture
async def version(pool, workflow):
    values = {"description": "", "definition": b"{}", "definition_hash": b"", "created_by": "test"}
    return await versions.insert(pool, new_id(), workflow.id, name="v", **values)


@pytest.fixture
def arm(pool, workflow, version):
    """Arm nodes, and give those that have no token one that is like their name."""

    async def arm(*nodes):
        armed = await triggers.arm(pool, workflow.id, version.id, nodes)
        await trigger_tokens.set_tokens(pool, [(one.id, one.node_id.encode(), None) for one in armed if one.tokenless])
        return armed

    return arm


def node(node_id, config=b"{}"):
    return TriggerNode(new_id(), node_id, "webhook", node_id, config)


async def called(pool, token):
    return await trigger_tokens.find_by_token(pool, token, ["webhook"])


async def test_a_trigger_keeps_id_and_token_when_its_node_is_deployed_again(pool, arm):
    assert [one.tokenless for one in await arm(node("hook"))] == [True]
    before = await called(pool, b"hook")
    assert [one.tokenless for one in await arm(node("hook", b'{"method":"GET"}'))] == [False]
    after = await called(pool, b"hook")
    assert (after.id, after.config) == (before.id, b'{"method":"GET"}')


async def test_a_retired_trigger_is_not_found_and_comes_back_as_it_was(pool, workflow, arm):
    await arm(node("hook"))
    before = await called(pool, b"hook")
    await triggers.retire(pool, workflow.id)
    assert await called(pool, b"hook") is None
    assert await triggers.find(pool, before.id) is None
    assert await triggers.page(pool, None, LAST_ID, 10) == []
    assert await triggers.count(pool, workflow.id) == 0
    await arm(node("hook"))
    assert (await called(pool, b"hook")).id == before.id


async def test_only_nodes_that_are_kept_stay_armed(pool, workflow, arm):
    await arm(node("a"), node("b"))
    await triggers.retire(pool, workflow.id, keep=["b"])
    assert [trigger.node_id for trigger in await triggers.page(pool, workflow.id, LAST_ID, 10)] == ["b"]


async def test_a_disabled_trigger_is_listed_but_not_called(pool, arm):
    await arm(node("hook"))
    await pool.execute("UPDATE triggers SET enabled = false")
    assert await called(pool, b"hook") is None
    assert len(await triggers.page(pool, None, LAST_ID, 10)) == 1


async def test_a_node_that_becomes_another_trigger_is_not_called_until_it_is_a_webhook_again(pool, workflow, arm):
    await arm(node("hook"))
    before = await called(pool, b"hook")
    await arm(replace(node("hook"), type="clock"))
    assert await called(pool, b"hook") is None
    assert not await trigger_tokens.lock_called(pool, before.id, ["webhook"])
    listed = await triggers.page(pool, workflow.id, LAST_ID, 10)
    assert [(trigger.id, trigger.type) for trigger in listed] == [(before.id, "clock")]
    await arm(node("hook"))
    assert (await called(pool, b"hook")).id == before.id
