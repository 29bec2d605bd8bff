"""Edits over real sockets on two instances: all copies are equal to each other and to the database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
import pytest

from melagent.domain.draft_state import Author
from melagent.domain.operations import apply
from melagent.realtime import edits as edits_module
from melagent.realtime import hub, lane, serving
from melagent.realtime.room import MAX_LOSSES
from melagent.services import rooms
from melagent.services.access import Role
from melagent.services.drafts import compact, load
from melagent.store import edits
from tests.builders import eventually
from tests.realtime.clients import put


@pytest.fixture
def edit_past_rooms(pool, stored):
    """An edit that comes through no room, as those of REST and the command line."""

    async def edit(workflow_id, *ops):
        state = await stored(workflow_id)
        seq = state.seq
        applied = apply(state, list(ops), seq + 1, Author("me", "Me"), datetime.now(UTC))
        new = edits.NewEdit(f"rest{uuid4().hex}", 1, "me", "Me", applied.ops_text, applied.inverse_text)
        async with pool.acquire() as conn:
            assert await edits.commit(conn, [edits.DraftEdits(UUID(workflow_id), seq, [new])])
        return seq + 1

    return edit


async def test_an_edit_reaches_everybody_on_every_instance(one, two, make_workflow, connect, converged):
    workflow_id = await make_workflow(one)
    ada, ben, eva = [await connect(instance, workflow_id) for instance in (one, two, two)]
    edit_id = await ada.edit(put("Finished"))
    frame = await ada.answer(edit_id)
    assert (frame["type"], frame["seq"], frame["client"]) == ("edit", 2, ada.name)
    for client in (ben, eva):
        assert await client.frame("edit") == frame
    state = await converged(workflow_id, ada, ben, eva)
    assert state.nodes["done"]["name"] == "Finished"


async def test_edits_from_both_instances_at_once_are_ordered_the_same_for_all(
    one, two, make_workflow, connect, converged
):
    workflow_id = await make_workflow(one)
    clients = [await connect(instance, workflow_id) for instance in (one, two, one, two)]

    async def type_away(client, number):
        sent = [await client.edit(put(f"{number}.{n}", "done" if n % 2 else "start")) for n in range(25)]
        return [await client.answer(edit_id) for edit_id in sent]

    answers = await asyncio.gather(*(type_away(client, number) for number, client in enumerate(clients)))
    assert sorted(frame["seq"] for frames in answers for frame in frames) == list(range(2, 102))
    for frames in answers:
        assert [frame["seq"] for frame in frames] == sorted(frame["seq"] for frame in frames)
    await converged(workflow_id, *clients)


async def test_many_rooms_share_a_commit_and_an_edit_larger_than_a_letter_arrives_whole(
    one, two, make_workflow, connect, converged
):
    workflows = [await make_workflow(one) for _ in range(5)]
    pairs = [[await connect(instance, workflow_id) for instance in (one, two)] for workflow_id in workflows]
    for here, there in pairs:
        await here.edit({"op": "node.set", "id": "done", "path": ["config", "text"], "value": "ü" * 20_000})
        await there.edit(put("Renamed"))
    for workflow_id, pair in zip(workflows, pairs, strict=True):
        state = await eventually(lambda pair=pair: all(client.state.seq == 3 for client in pair))
        state = await converged(workflow_id, *pair)
        assert (state.nodes["done"]["config"]["text"], state.nodes["done"]["name"]) == ("ü" * 20_000, "Renamed")


async def test_a_refused_edit_changes_nothing_and_is_told_to_its_author_alone(
    one, two, make_workflow, connect, converged
):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    wrong = await ada.edit(put("Half"), {"op": "node.remove", "id": "nowhere"})
    right = await ada.edit(put("Whole"))
    refused = await ada.answer(wrong)
    assert (refused["type"], refused["error"], refused["seq"]) == ("refused", "not_found", 1)
    assert refused["details"][0]["field"] == "ops[1].id"
    assert (await ada.answer(right))["seq"] == 2
    assert (await ben.frame("edit"))["seq"] == 2
    assert [frame["type"] for frame in ben.frames if frame["type"] in ("refused", "edit")] == ["edit"]
    await converged(workflow_id, ada, ben)


async def test_an_edit_of_what_another_one_has_just_removed_is_refused_as_gone(one, make_workflow, connect, converged):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    removed, late = await ada.edit({"op": "node.remove", "id": "done"}), await ada.edit(put("Too late"))
    assert (await ada.answer(removed))["type"] == "edit"
    refused = await ada.answer(late)
    assert (refused["error"], refused["gone"]["id"], refused["gone"]["seq"], refused["seq"]) == ("gone", "done", 2, 2)
    assert refused["gone"]["by"] == {"id": None, "name": "bootstrap"}
    await converged(workflow_id, ada)


async def test_what_was_removed_before_the_room_was_open_is_gone_as_well(one, two, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.answer(await ada.edit({"op": "node.remove", "id": "done"}))
    await compact(two.services.pool, UUID(workflow_id))
    ben = await connect(two, workflow_id)
    refused = await ben.answer(await ben.edit(put("Too late")))
    assert (refused["error"], refused["gone"]["id"], refused["gone"]["seq"], refused["seq"]) == ("gone", "done", 2, 2)


async def test_a_renamed_node_takes_the_expressions_that_name_it_along(one, two, make_workflow, connect, converged):
    text = {"id": "say", "type": "log", "config": {"message": "{{ steps.start.output }}"}}
    nodes = [{"id": "start", "type": "manual_trigger"}, text]
    workflow_id = await make_workflow(one, {"nodes": nodes, "edges": [{"source": "start", "target": "say"}]})
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    answer = await ada.answer(await ada.edit({"op": "node.rename", "id": "start", "to": "begin"}))
    assert answer["ops"][0]["sets"][0]["id"] == "say"
    state = await converged(workflow_id, ada, ben)
    assert "steps.begin.output" in state.nodes["say"]["config"]["message"]


async def test_edits_by_rest_on_one_instance_reach_the_peers_of_both(one, two, make_workflow, connect, http, converged):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    headers = {"Authorization": "Bearer the-bootstrap-key-of-the-tests"}
    url = one.url(f"/api/workflows/{workflow_id}/nodes")
    async with http.post(url, json={"id": "extra", "type": "noop"}, headers=headers) as answer:
        assert answer.status == 201
    for client in (ada, ben):
        assert (await client.frame("edit"))["client"].startswith("rest")
    state = await converged(workflow_id, ada, ben)
    assert "extra" in state.nodes


async def test_a_viewer_sees_everything_and_edits_nothing(one, make_workflow, connect, keys):
    workflow_id = await make_workflow(one)
    ada, eva = await connect(one, workflow_id), await connect(one, workflow_id, key=keys[Role.VIEWER])
    assert (ada.joined["role"], eva.joined["role"]) == ("admin", "viewer")
    refused = await eva.answer(await eva.edit(put("Mine")))
    assert (refused["error"], refused["seq"]) == ("forbidden", 1)
    await ada.edit(put("Hers"))
    assert (await eva.frame("edit"))["ops"][0]["value"] == "Hers"


async def test_who_comes_back_gets_the_edits_that_he_missed_and_no_more(one, two, make_workflow, connect, converged):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    await ben.close()
    for number in range(5):
        await ada.answer(await ada.edit(put(f"{number}")))
    again = await connect(one, workflow_id, name=ben.name, since=1, state=ben.state)
    assert [edit["seq"] for edit in again.joined["edits"]] == [2, 3, 4, 5, 6]
    assert "definition" not in again.joined
    level = await connect(one, workflow_id, since=6, state=again.state)
    assert level.joined["edits"] == []
    elsewhere = await connect(two, workflow_id, since=4)  # whose room holds no edits of before
    assert [edit["seq"] for edit in elsewhere.joined["edits"]] == [5, 6]
    assert elsewhere.joined["edits"] == again.joined["edits"][3:]
    await converged(workflow_id, ada, again)


@pytest.mark.parametrize("since", [7, 2**53 - 1, 0])
async def test_who_knows_of_edits_that_there_are_not_gets_the_whole_definition(one, make_workflow, connect, since):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id, since=since)
    assert ada.joined["definition"]["nodes"][1]["name"] == "Done"


async def test_who_missed_too_much_gets_the_whole_definition(one, two, make_workflow, connect, monkeypatch, converged):
    monkeypatch.setattr(serving, "MAX_MISSED", 3)
    monkeypatch.setattr(edits_module, "MAX_LOG", 2)
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    for number in range(6):
        await ada.answer(await ada.edit(put(f"{number}")))
    far, near = await connect(one, workflow_id, since=1), await connect(one, workflow_id, since=4)
    assert far.joined["definition"]["nodes"][1]["name"] == "5"
    assert [edit["seq"] for edit in near.joined["edits"]] == [5, 6, 7]


async def test_an_edit_that_is_sent_again_is_answered_as_the_first_time_on_any_instance(
    one, two, make_workflow, connect, converged
):
    workflow_id = await make_workflow(one)
    ada, eva = await connect(one, workflow_id), await connect(two, workflow_id)
    first = await ada.answer(await ada.edit(put("Once")))
    await ada.close()
    again = await connect(two, workflow_id, name=ada.name)
    assert again.joined["last_id"] == 1
    await again.send({"type": "edit", "id": 1, "ops": [put("Twice")]})
    assert await again.answer(1) == first
    await again.send({"type": "edit", "id": 2, "ops": [put("Next")]})
    assert (await again.answer(2))["seq"] == 3
    state = await converged(workflow_id, eva)
    assert state.nodes["done"]["name"] == "Next"


async def test_an_edit_that_is_sent_twice_at_once_is_committed_once(one, make_workflow, connect, stored):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    for _ in range(3):
        await ada.send({"type": "edit", "id": 1, "ops": [put("Once")]})
    await ada.until(lambda: len([frame for frame in ada.frames if frame.get("id") == 1]) == 3)
    assert {frame["seq"] for frame in ada.frames if frame.get("id") == 1} == {2}
    assert (await stored(workflow_id)).seq == 2


async def test_an_id_below_one_that_was_committed_is_a_conflict(one, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.send({"type": "edit", "id": 7, "ops": [put("Seven")]})
    await ada.answer(7)
    await ada.send({"type": "edit", "id": 3, "ops": [put("Three")]})
    assert (await ada.answer(3))["error"] == "conflict"


async def test_nobody_goes_on_with_the_client_of_somebody_else(one, two, make_workflow, connect, keys):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id, key=keys[Role.EDITOR])
    await ada.answer(await ada.edit(put("Hers")))
    thief = await connect(two, workflow_id, name=ada.name, join=False)
    await thief.send({"type": "join", "client": ada.name})
    assert await thief.close_code() == 4400
    again = await connect(two, workflow_id, name=ada.name, key=keys[Role.EDITOR])
    assert again.joined["you"]["peer"] == ada.joined["you"]["peer"]


async def test_edits_that_come_through_no_room_reach_the_peers_of_all(
    one, two, make_workflow, connect, converged, edit_past_rooms
):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    seq = await edit_past_rooms(workflow_id, put("From outside"))
    rooms.edited(one.broker, UUID(workflow_id), seq)
    for client in (ada, ben):
        assert (await client.frame("edit"))["by"] == {"id": "me", "name": "Me"}
    await converged(workflow_id, ada, ben)


async def test_an_edit_on_a_draft_that_has_moved_on_is_checked_again_on_what_it_became(
    one, make_workflow, connect, converged, edit_past_rooms
):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await edit_past_rooms(workflow_id, {"op": "node.remove", "id": "done"})  # nobody tells the room
    late, fine = await ada.edit(put("Late")), await ada.edit(put("Fine", "start"))
    refused = await ada.answer(late)
    assert (refused["error"], refused["seq"]) == ("gone", 2)
    assert (await ada.answer(fine))["seq"] == 3
    await converged(workflow_id, ada)


async def test_whoever_joins_sees_what_was_committed_before(one, two, make_workflow, connect, edit_past_rooms):
    workflow_id = await make_workflow(one)
    await connect(one, workflow_id)
    for number in range(3):
        seq = await edit_past_rooms(workflow_id, put(f"{number}"))
        late = await connect(one, workflow_id)
        assert late.joined["seq"] == seq
        assert late.joined["definition"]["nodes"][1]["name"] == f"{number}"


async def test_a_deleted_workflow_closes_its_rooms_everywhere(one, two, make_workflow, connect, http, pool):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    headers = {"Authorization": "Bearer the-bootstrap-key-of-the-tests"}
    assert (await http.delete(one.url(f"/api/workflows/{workflow_id}"), headers=headers)).status == 204
    assert (await ada.close_code(), await ben.close_code()) == (4404, 4404)


async def test_a_workflow_that_was_deleted_behind_all_backs_closes_its_room(one, make_workflow, connect, pool):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await pool.execute("UPDATE workflows SET deleted_at = now()")
    await ada.edit(put("Into the void"))
    assert await ada.close_code() == 4404


async def test_a_room_closes_after_its_last_peer_and_opens_again(one, make_workflow, connect, monkeypatch):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.answer(await ada.edit(put("Kept")))
    await ada.close()
    await eventually(lambda: not one.hub.peers)
    await one.hub.watch()
    assert len(one.hub.rooms) == 1
    monkeypatch.setattr(hub, "EMPTY_SECONDS", 0.0)
    await eventually(lambda: not one.hub.rooms)
    assert one.broker._receivers == {}
    again = await connect(one, workflow_id)
    assert again.joined["definition"]["nodes"][1]["name"] == "Kept"


@pytest.fixture
def snapshot(pool):
    """The snapshot of a draft, as soon as it has come to an edit."""

    async def snapshot(workflow_id, seq):
        async def written():
            row = await pool.fetchrow(
                "SELECT snapshot_seq, definition::text FROM drafts WHERE workflow_id = $1", workflow_id
            )
            return row["snapshot_seq"] >= seq and row

        row = await eventually(written)
        assert row["snapshot_seq"] == seq
        return orjson.loads(row["definition"])

    return snapshot


async def test_a_room_that_closes_leaves_a_snapshot_that_is_what_its_edits_lead_to(
    one, make_workflow, connect, converged, snapshot, monkeypatch
):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    added = {"op": "node.add", "id": "new", "type": "noop", "position": {"x": 1, "y": 0.5}}
    for op in (put("\u0007 Ä \U0001f600"), added, put("Written", "new")):
        assert (await ada.answer(await ada.edit(op)))["type"] == "edit"
    state = await converged(workflow_id, ada)
    await ada.close()
    monkeypatch.setattr(hub, "EMPTY_SECONDS", 0.0)
    assert await snapshot(workflow_id, 4) == state.definition()


async def test_a_snapshot_waits_for_what_is_being_committed(one, make_workflow, connect, snapshot, pool):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    room = one.hub.rooms[UUID(workflow_id)]
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM drafts WHERE workflow_id = $1 FOR UPDATE", workflow_id)
        await ada.edit(put("Under way"))
        await eventually(lambda: room.busy)
        room.wants_compaction = True
        await one.hub.watch()
    assert (await snapshot(workflow_id, 2))["nodes"][1]["name"] == "Under way"


async def test_deploys_and_starts_are_told_to_the_peers_of_all_instances(one, two, make_workflow, connect, http):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    base, headers = one.url(f"/api/workflows/{workflow_id}"), {"Authorization": "Bearer the-bootstrap-key-of-the-tests"}
    assert (await http.post(f"{base}/versions", json={"name": "first"}, headers=headers)).status == 201
    assert (await http.post(f"{base}/versions/1/deploy", headers=headers)).status == 200
    answer = await http.post(f"{base}/execute", json={}, headers=headers)
    run = await answer.json()
    for client in (ada, ben):
        deployed, started = await client.frame("version_deployed"), await client.frame("run_started")
        assert (deployed["version_number"], deployed["by"]["name"]) == (1, "bootstrap")
        assert (started["run_id"], started["status"]) == (run["id"], "pending")


async def test_problems_come_with_the_join_and_when_they_change(one, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    assert ada.joined["problems"] == []
    await ada.edit({"op": "node.add", "id": "odd", "type": "no_such_type"})
    told = await ada.frame("problems")
    assert (told["seq"], [problem["field"] for problem in told["problems"]]) == (2, ["nodes.odd.type"])
    late = await connect(one, workflow_id)
    assert late.joined["problems"] == told["problems"]


async def test_an_instance_that_loses_race_after_race_is_beaten_three_times_at_most(
    one, two, make_workflow, connect, converged, edit_past_rooms, monkeypatch
):
    """Somebody else is faster with each statement that takes effect only on the draft as it was."""
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    commit, beaten = edits.commit, []

    async def beaten_commit(conn, drafts):
        if not conn.is_in_transaction() and len(beaten) < 50:
            beaten.append(True)
            async with one.services.pool.acquire() as other:
                state = await load(other, UUID(workflow_id))
                seq, ops = state.seq, [put(f"{len(beaten)}", "start")]
                applied = apply(state, ops, seq + 1, Author("x", "X"), datetime.now(UTC))
                new = edits.NewEdit(f"rest{uuid4().hex}", 1, "x", "X", applied.ops_text, applied.inverse_text)
                await commit(other, [edits.DraftEdits(UUID(workflow_id), seq, [new])])
        return await commit(conn, drafts)

    monkeypatch.setattr(lane.edits, "commit", beaten_commit)
    for number in range(5):
        assert (await ada.answer(await ada.edit(put(f"{number}"))))["type"] == "edit"
    assert len(beaten) == MAX_LOSSES  # it knows then that it has to hold the draft
    monkeypatch.setattr(lane.edits, "commit", commit)
    await converged(workflow_id, ada, ben)
