import asyncio

from melagent.store import drafts, versions, workflows
from melagent.store.ids import LAST_ID, new_id
from melagent.store.rows import StoredWorkflow


async def make(pool, name="orders", definition=b'{"nodes": []}'):
    return await workflows.insert(pool, new_id(), name, "", definition)


async def add_version(conn, workflow_id, definition=b'{"nodes": []}'):
    values = {"description": "", "definition_hash": b"", "created_by": "test"}
    return await versions.insert(conn, new_id(), workflow_id, name="v", definition=definition, **values)


async def test_a_new_workflow_has_a_draft_at_revision_one(pool):
    made = await make(pool)
    [draft] = await drafts.find(pool, [made.id])
    assert (draft.seq, draft.snapshot_seq, draft.definition) == (1, 1, b'{"nodes": []}')
    assert await workflows.find(pool, made.id) == StoredWorkflow(made, is_behind=False)


async def test_a_definition_comes_back_byte_for_byte_with_nul_and_key_order(pool):
    text = b'{"b":"\\u0000","a":1.0}'
    made = await make(pool, definition=text)
    assert (await workflows.find(pool, made.id)).workflow.definition == text


async def test_a_workflow_has_changes_until_its_draft_is_what_the_current_version_holds(pool):
    made = await make(pool)
    version = await add_version(pool, made.id)
    await workflows.set_current_version(pool, made.id, version.id)
    assert not (await workflows.find(pool, made.id)).workflow.has_changes
    await pool.execute("UPDATE drafts SET seq = 2")
    await drafts.write_snapshot(pool, made.id, b'{"nodes": [1]}', 2)
    assert (await workflows.find(pool, made.id)).workflow.has_changes


async def test_a_deleted_workflow_is_found_by_nobody(pool):
    made = await make(pool)
    await add_version(pool, made.id)
    await workflows.mark_deleted(pool, made.id)
    assert await workflows.find(pool, made.id) is None
    assert await drafts.find(pool, [made.id]) == []
    assert await drafts.lock(pool, made.id) is None
    assert await versions.find(pool, made.id, 1) is None
    assert await versions.page(pool, made.id, 10, 10) == []
    assert await workflows.page(pool, LAST_ID, 10) == []
    assert await workflows.count(pool) == 0
    assert not await workflows.lock(pool, made.id)


async def test_pages_go_from_new_to_old_without_gap_or_repetition(pool):
    made = [await make(pool, f"w{number}") for number in range(5)]
    ids = sorted((workflow.id for workflow in made), reverse=True)
    first = await workflows.page(pool, LAST_ID, 3)
    second = await workflows.page(pool, first[-1].workflow.id, 3)
    assert [stored.workflow.id for stored in (*first, *second)] == ids


async def test_versions_are_numbered_from_one_in_each_workflow(pool):
    one, other = await make(pool), await make(pool)
    numbers = [(await add_version(pool, workflow.id)).version_number for workflow in (one, one, other)]
    assert numbers == [1, 2, 1]


async def test_concurrent_versions_of_a_locked_workflow_get_different_numbers(pool):
    made = await make(pool)

    async def one():
        async with pool.acquire() as conn, conn.transaction():
            await workflows.lock(conn, made.id)
            return (await add_version(conn, made.id)).version_number

    assert sorted(await asyncio.gather(*(one() for _ in range(6)))) == [1, 2, 3, 4, 5, 6]


async def test_the_same_unlisted_definition_is_stored_once(pool):
    async def keep():
        values = {"name": "x", "definition": b"{}", "definition_hash": b"same", "created_by": "test"}
        async with pool.acquire() as conn:
            return await versions.keep_unlisted(conn, new_id(), **values)

    ids = await asyncio.gather(*(keep() for _ in range(6)))
    assert len(set(ids)) == 1
    assert await versions.definition_of(pool, ids[0]) == b"{}"


async def test_the_current_version_says_that_it_is(pool):
    made = await make(pool)
    first = await add_version(pool, made.id)
    await add_version(pool, made.id)
    await workflows.set_current_version(pool, made.id, first.id)
    assert (await versions.find_current(pool, made.id)).version_number == 1
    assert [version.is_current for version in await versions.page(pool, made.id, 100, 10)] == [False, True]
