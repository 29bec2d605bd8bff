"""The table of edits: added one after the other, each draft's all or none."""

import asyncio

import pytest

from melagent.store import drafts, edits, workflows
from melagent.store.edits import DraftEdits, NewEdit
from melagent.store.ids import new_id
from melagent.store.pool import transaction


async def make(pool):
    return (await workflows.insert(pool, new_id(), "w", "", b"{}")).id


def edit(number=1, client="c", ops=b"[]", inverse=b"[]", **more):
    return NewEdit(client, number, "ada", "Ada", ops, inverse, **more)


async def seq_of(pool, workflow_id):
    [draft] = await drafts.find(pool, [workflow_id])
    return draft.seq


async def test_edits_of_several_drafts_are_committed_in_one_statement_in_their_order(pool):
    one, other = await make(pool), await make(pool)
    batch = [
        DraftEdits(other, 1, [edit(1), edit(2), edit(3)]),
        DraftEdits(one, 1, [edit(1, ops=b'[{"op":"x","text":"\\u0000 \xc3\xa9"}]')]),
    ]
    won = await edits.commit(pool, batch)
    assert won.keys() == {one, other}
    assert [(e.seq, e.client_edit_id, e.at) for e in await edits.after(pool, other, 1, 10)] == [
        (2, 1, won[other]), (3, 2, won[other]), (4, 3, won[other]),
    ]  # fmt: skip
    [stored] = await edits.after(pool, one, 1, 10)
    assert stored.ops == b'[{"op":"x","text":"\\u0000 \xc3\xa9"}]'
    assert (stored.client, stored.by_id, stored.by_name) == ("c", "ada", "Ada")
    assert (await seq_of(pool, one), await seq_of(pool, other)) == (2, 4)


async def test_a_draft_that_was_edited_meanwhile_loses_and_the_others_win(pool):
    stale, fresh, gone = [await make(pool) for _ in range(3)]
    await edits.commit(pool, [DraftEdits(stale, 1, [edit()])])
    await workflows.mark_deleted(pool, gone)
    batch = [DraftEdits(stale, 1, [edit(2)]), DraftEdits(fresh, 1, [edit()]), DraftEdits(gone, 1, [edit()])]
    batch.append(DraftEdits(new_id(), 1, [edit()]))
    assert (await edits.commit(pool, batch)).keys() == {fresh}
    assert [e.client_edit_id for e in await edits.after(pool, stale, 0, 10)] == [1]
    assert await edits.after(pool, gone, 0, 10) == []
    assert await seq_of(pool, stale) == 2


async def test_an_edit_alone_is_stored_as_it_is_with_others(pool):
    alone, accompanied, stale, gone = [await make(pool) for _ in range(4)]
    new = edit(7, ops=b'[{"op":"x","text":"\\u0000 \xc3\xa9"}]', inverse=b'[{"op":"y"}]', reverts=(3, 5))
    won = await edits.commit(pool, [DraftEdits(alone, 1, [new])])
    others = await edits.commit(pool, [DraftEdits(accompanied, 1, [new]), DraftEdits(stale, 1, [edit()])])
    assert (won.keys(), others.keys()) == ({alone}, {accompanied, stale})
    stored = [await pool.fetchrow("SELECT * FROM edits WHERE workflow_id = $1", each) for each in (alone, accompanied)]
    one, other = [{**row, "workflow_id": None, "at": None} for row in stored]
    assert one == other
    assert (one["seq"], one["client_edit_id"], one["reverts"]) == (2, 7, [3, 5])
    assert [row["at"] for row in stored] == [won[alone], others[accompanied]]
    await workflows.mark_deleted(pool, gone)
    for lost in (DraftEdits(stale, 1, [edit(2)]), DraftEdits(gone, 1, [edit()]), DraftEdits(new_id(), 1, [edit()])):
        assert await edits.commit(pool, [lost]) == {}
    assert await pool.fetchval("SELECT count(*) FROM edits") == 3
    assert [await seq_of(pool, each) for each in (alone, stale)] == [2, 2]


async def test_of_many_who_commit_on_one_state_exactly_one_wins(pool):
    workflow_id = await make(pool)
    tries = [edits.commit(pool, [DraftEdits(workflow_id, 1, [edit(number, f"c{number}")])]) for number in range(8)]
    won = [winner for winner in await asyncio.gather(*tries) if winner]
    assert len(won) == 1
    assert await seq_of(pool, workflow_id) == 2
    assert len(await edits.after(pool, workflow_id, 0, 10)) == 1


async def test_whoever_waits_for_the_lock_of_a_faster_one_loses_and_tries_again(pool):
    """The lock is waited for, and what it was waited for is then looked at again."""
    workflow_id = await make(pool)
    async with transaction(pool) as conn:
        await edits.commit(conn, [DraftEdits(workflow_id, 1, [edit(1, "first")])])
        waiting = asyncio.create_task(edits.commit(pool, [DraftEdits(workflow_id, 1, [edit(1, "second")])]))
        async with asyncio.timeout(10):
            while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
    assert await waiting == {}
    assert (await edits.commit(pool, [DraftEdits(workflow_id, 2, [edit(1, "second")])])).keys() == {workflow_id}
    assert [(e.seq, e.client) for e in await edits.after(pool, workflow_id, 0, 10)] == [(2, "first"), (3, "second")]


async def test_two_instances_with_the_same_drafts_never_wait_for_one_another_in_a_circle(pool):
    ids = [await make(pool) for _ in range(6)]
    seqs = dict.fromkeys(ids, 1)

    async def instance(name, order):
        for number in range(1, 16):
            found = {draft.workflow_id: draft.seq for draft in await drafts.find(pool, ids)}
            await edits.commit(pool, [DraftEdits(one, found[one], [edit(number, name)]) for one in order])

    await asyncio.gather(instance("a", ids), instance("b", ids[::-1]), instance("c", ids[3:] + ids[:3]))
    for workflow_id in seqs:
        stored = await edits.after(pool, workflow_id, 0, 100)
        assert [e.seq for e in stored] == list(range(2, await seq_of(pool, workflow_id) + 1))


async def test_a_crash_before_the_commit_leaves_neither_number_nor_edit(pool):
    workflow_id = await make(pool)

    async def crash():
        async with transaction(pool) as conn:
            await edits.commit(conn, [DraftEdits(workflow_id, 1, [edit()])])
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        await crash()
    assert await seq_of(pool, workflow_id) == 1
    assert await edits.after(pool, workflow_id, 0, 10) == []


async def test_an_edit_is_found_by_the_name_that_its_author_gave_it(pool):
    workflow_id, other = await make(pool), await make(pool)
    await edits.commit(pool, [DraftEdits(workflow_id, 1, [edit(3, "a"), edit(7, "a"), edit(9, "b")])])
    assert await edits.last_id(pool, workflow_id, "a") == 7
    assert await edits.last_id(pool, workflow_id, "nobody") == 0
    assert await edits.last_id(pool, other, "a") == 0
    assert (await edits.find(pool, workflow_id, "a", 7)).seq == 3
    assert await edits.find(pool, workflow_id, "a", 5) is None


async def test_edits_that_a_snapshot_holds_and_that_are_old_are_forgotten_in_small_batches(pool):
    workflow_id = await make(pool)
    await edits.commit(pool, [DraftEdits(workflow_id, 1, [edit(number) for number in range(1, 8)])])
    await pool.execute("UPDATE edits SET at = now() - interval '2 days' WHERE seq <= 7")
    assert await edits.prune(pool, 86_400, 100) == 0, "no snapshot holds them"
    await pool.execute("UPDATE drafts SET definition = '{}'")
    await pool.execute("UPDATE drafts SET snapshot_seq = 6")
    assert await edits.prune(pool, 86_400, 3) == 3
    assert await edits.prune(pool, 86_400, 3) == 2
    assert await edits.prune(pool, 86_400, 3) == 0
    assert [e.seq for e in await edits.after(pool, workflow_id, 0, 10)] == [7, 8]


async def test_what_a_program_of_before_writes_is_the_new_snapshot(pool):
    workflow_id = await make(pool)
    await edits.commit(pool, [DraftEdits(workflow_id, 1, [edit(1), edit(2)])])
    await pool.execute("UPDATE drafts SET definition = '{\"nodes\": []}', seq = seq + 1")
    [draft] = await drafts.find(pool, [workflow_id])
    assert (draft.seq, draft.snapshot_seq, draft.definition) == (4, 4, b'{"nodes": []}')
