"""The broker is a hint: what it loses, doubles or brings in another order changes nothing."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import pytest

from melagent.broker.exchange import Post
from melagent.realtime import hub as hub_module
from tests.builders import eventually
from tests.realtime.clients import put


class Mangled:
    """What one instance hears of the others, as a bad broker brings it."""

    def __init__(self, instance, seed):
        self.broker = instance.broker
        self.dice = random.Random(seed)
        self.hand_out = instance.broker._hand_out
        self.kept: list[Post] = []
        self.lost = self.doubled = self.late = 0
        instance.broker._hand_out = self.mangle

    def mangle(self, post):
        if not post.letters:
            self.hand_out(post)
            return
        for letter in post.letters:
            one, fate = Post(post.topic, post.sender, (letter,)), self.dice.random()
            if fate < 0.2:
                self.lost += 1
            elif fate < 0.4:
                self.doubled += 1
                self.hand_out(one)
                self.hand_out(one)
            elif fate < 0.7:
                self.late += 1
                self.kept.append(one)
            else:
                self.hand_out(one)
                self.dice.shuffle(self.kept)
                while self.kept:
                    self.hand_out(self.kept.pop())


@pytest.mark.parametrize(("seed", "led"), [(1, False), (2, False), (3, True)])
async def test_letters_that_are_lost_doubled_and_late_change_nothing(
    one, two, make_workflow, connect, converged, seed, led
):
    """The same where one of the instances commits for all, and is handed the edits of the other one's peers."""
    mangled = [Mangled(one, seed), Mangled(two, seed + 100)]
    workflow_id = await make_workflow(one)
    clients = [await connect(instance, workflow_id) for instance in (one, two, one, two)]
    if led:
        for instance in (one, two):
            instance.hub.rooms[UUID(workflow_id)].handing.committer.heard(one.hub.instance)

    async def type_away(client, number):
        for n in range(15):
            await client.answer(await client.edit(put(f"{number}.{n}", "done" if n % 2 else "start")))

    await asyncio.gather(*(type_away(client, number) for number, client in enumerate(clients)))
    await converged(workflow_id, *clients)
    assert all(each.lost and each.doubled and each.late for each in mangled)


async def test_what_the_broker_lost_is_read_within_seconds(one, two, make_workflow, connect, converged, monkeypatch):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    two.broker._hand_out = lambda post: None
    await ada.answer(await ada.edit(put("Unheard")))
    await converged(workflow_id, ben)
    assert (await ben.frame("edit"))["ops"][0]["value"] == "Unheard"


async def test_after_a_gap_rooms_are_compared_at_once(one, two, make_workflow, connect, converged):
    for loop in two.hub._loops:
        loop._interval = 3600
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    await two.hub.compare()
    hand_out, two.broker._hand_out = two.broker._hand_out, lambda post: None
    await ada.answer(await ada.edit(put("Unheard")))
    two.broker._hand_out = hand_out
    two.hub._gap()
    await converged(workflow_id, ben)


async def test_one_comparison_does_not_read_what_is_only_on_its_way(one, make_workflow, connect, monkeypatch):
    workflow_id = await make_workflow(one)
    await connect(one, workflow_id)
    room = one.hub.rooms[UUID(workflow_id)]
    began = []
    monkeypatch.setattr(one.hub, "behind", began.append)
    head = room.seq
    room.expected = head
    await one.hub.compare()
    assert began == []


async def test_a_hole_in_the_table_is_jumped_over(one, make_workflow, connect, pool, stored):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await pool.execute(
        'UPDATE drafts SET seq = seq + 3, definition = \'{"nodes": [], "edges": []}\' WHERE workflow_id = $1',
        UUID(workflow_id),
    )
    await eventually(lambda: any(f["type"] == "tick" and f["seq"] == 4 for f in ada.frames))
    await ada.close()
    again = await connect(one, workflow_id, name=ada.name, since=1, state=ada.state)
    assert again.joined["definition"]["nodes"] == []
    answer = await again.answer(await again.edit({"op": "node.add", "id": "new", "type": "noop"}))
    assert answer["seq"] == 5


async def test_a_join_asks_the_table_how_far_the_draft_is(one, two, make_workflow, connect):
    for loop in two.hub._loops:
        loop._interval = 3600
    workflow_id = await make_workflow(one)
    ada, _ = await connect(one, workflow_id), await connect(two, workflow_id)
    two.broker._hand_out = lambda post: None
    await ada.answer(await ada.edit(put("Unheard")))
    late = await connect(two, workflow_id)
    assert late.joined["seq"] == 2
    assert hub_module.COMPARE_SECONDS < 5
