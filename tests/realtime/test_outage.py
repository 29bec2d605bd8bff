"""The database goes away, or its answer is lost: nothing is acknowledged that is not stored, nothing stored is lost."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from melagent.realtime import catching_up, lane
from melagent.realtime import room as room_module
from melagent.store import edits as store
from tests.builders import eventually
from tests.proxy import proxy_to
from tests.realtime.clients import put


@pytest.fixture
def kind():
    return "postgres"


@pytest.fixture
async def line(database_url):
    async with proxy_to(database_url) as line:
        yield line


@pytest.fixture
async def far(start, line, monkeypatch):
    """An instance whose statements go over a line that can be cut."""
    monkeypatch.setattr(catching_up, "RETRY_SECONDS", 0.02)
    return await start(database=line.url)


async def test_while_the_database_is_away_nothing_is_acknowledged_and_then_everything(
    far, line, make_workflow, connect, converged
):
    workflow_id = await make_workflow(far)
    ada = await connect(far, workflow_id)
    await ada.answer(await ada.edit(put("Before")))
    line.away = True
    line.cut()
    waiting = [await ada.edit(put(f"During {number}")) for number in range(3)]
    room = far.hub.rooms[UUID(workflow_id)]
    await eventually(lambda: len(room.waiting) == 3 and not room.busy)
    assert not [frame for frame in ada.frames if frame.get("id") in waiting]
    line.away = False
    assert [(await ada.answer(edit_id))["seq"] for edit_id in waiting] == [3, 4, 5]
    await converged(workflow_id, ada)


async def test_an_edit_waits_only_so_long_for_the_database(far, line, make_workflow, connect, monkeypatch, converged):
    workflow_id = await make_workflow(far)
    ada = await connect(far, workflow_id)
    room = far.hub.rooms[UUID(workflow_id)]
    line.away = True
    line.cut()
    first = await ada.edit(put("Perhaps"))  # the answer to its commit is lost, so nobody knows
    await eventually(lambda: room.waiting and room.waiting[0].unknown)
    second = await ada.edit(put("Surely not"))
    await eventually(lambda: len(room.waiting) == 2)
    monkeypatch.setattr(room_module, "WAIT_SECONDS", 0.0)
    refused = await ada.answer(second)
    assert (refused["type"], refused["error"]) == ("refused", "unavailable")
    assert not [frame for frame in ada.frames if frame.get("id") == first]
    monkeypatch.setattr(room_module, "WAIT_SECONDS", 60.0)
    line.away = False
    assert (await ada.answer(first))["seq"] == 2
    state = await converged(workflow_id, ada)
    assert state.nodes["done"]["name"] == "Perhaps"


async def test_an_edit_whose_acknowledgement_was_lost_is_there_once(
    far, line, make_workflow, connect, stored, converged
):
    workflow_id = await make_workflow(far)
    ada, ben = await connect(far, workflow_id), await connect(far, workflow_id)
    line.lose_answer("INSERT 0 1")  # that of the commit
    answer = await ada.answer(await ada.edit(put("Once")))
    assert line.lost == 1
    assert (answer["type"], answer["seq"]) == ("edit", 2)
    assert (await ada.answer(await ada.edit(put("Next"))))["seq"] == 3
    await converged(workflow_id, ada, ben)
    assert len([frame for frame in ben.frames if frame["type"] == "edit"]) == 2


async def test_what_the_database_does_not_take_is_refused_alone(far, make_workflow, connect, monkeypatch, converged):
    import asyncpg

    workflow_id = await make_workflow(far)
    ada, commit = await connect(far, workflow_id), store.commit

    async def picky(conn, drafts):
        if any(b"poison" in edit.ops for draft in drafts for edit in draft.edits):
            raise asyncpg.UntranslatableCharacterError("cannot be stored")
        return await commit(conn, drafts)

    monkeypatch.setattr(lane.edits, "commit", picky)
    sent = [await ada.edit(put(name)) for name in ("good", "poison", "fine")]
    answers = [await ada.answer(edit_id) for edit_id in sent]
    assert [frame["type"] for frame in answers] == ["edit", "refused", "edit"]
    assert answers[1]["error"] == "unprocessable"
    state = await converged(workflow_id, ada)
    assert (state.seq, state.nodes["done"]["name"]) == (3, "fine")


async def test_whoever_comes_while_the_database_is_away_is_told_to_come_again(far, line, make_workflow, connect):
    workflow_id = await make_workflow(far)
    await connect(far, workflow_id)
    ada = await connect(far, workflow_id, join=False)
    line.away = True
    line.cut()
    await ada.send({"type": "join", "client": "a"})
    assert await ada.close_code() == 4503


async def test_a_hung_commit_is_given_up_and_found_out_about(far, make_workflow, connect, converged, monkeypatch, pool):
    monkeypatch.setattr(lane, "COMMIT_SECONDS", 0.2)
    workflow_id = await make_workflow(far)
    ada = await connect(far, workflow_id)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK drafts, edits IN ACCESS EXCLUSIVE MODE")  # so that nobody can find out meanwhile
        edit_id = await ada.edit(put("Stuck"))
        room = far.hub.rooms[UUID(workflow_id)]
        await eventually(lambda: room.waiting and room.waiting[0].unknown)
        assert not [frame for frame in ada.frames if frame.get("id") == edit_id]
    assert (await ada.answer(edit_id))["type"] == "edit"
    await converged(workflow_id, ada)


async def test_edits_of_a_peer_that_is_gone_are_committed_all_the_same(far, line, make_workflow, connect, stored):
    workflow_id = await make_workflow(far)
    ada = await connect(far, workflow_id)
    line.away = True
    line.cut()
    await ada.edit(put("Farewell"))
    room = far.hub.rooms[UUID(workflow_id)]
    await eventually(lambda: room.waiting)
    await ada.close()
    line.away = False

    async def is_there():
        return (await stored(workflow_id)).nodes["done"]["name"] == "Farewell"

    await eventually(is_there)
    await asyncio.sleep(0)
