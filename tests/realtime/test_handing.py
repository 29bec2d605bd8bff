"""Edits of a room in which several instances are busy: one commits them for all, and nothing depends on it."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import orjson
import pytest

from melagent.realtime import committer, handing, metrics
from melagent.services.access import Role
from tests.builders import eventually
from tests.realtime.clients import put


def room_of(instance, workflow_id):
    return instance.hub.rooms[UUID(workflow_id)]


def follow(committer, *instances, workflow_id):
    """Let instances take one of them for the committer, until the test ends."""
    for instance in instances:
        room_of(instance, workflow_id).handing.committer.heard(committer.hub.instance)


def number_of(counter):
    return counter._value.get()


class Post:
    """The letters of a kind on their way from one instance to the others; `lose` says of each whether it is lost."""

    def __init__(self, instance, kind):
        self.letters, self.kind = [], kind
        self.lose = lambda _letter: False
        self._send, instance.broker.send = instance.broker.send, self.send

    def send(self, topic, data, **options):
        if data[:1] == self.kind:
            self.letters.append(data[1:])
            if self.lose(data):
                return
        self._send(topic, data, **options)


@pytest.fixture(autouse=True)
def for_long(monkeypatch):
    monkeypatch.setattr(committer, "TERM_SECONDS", 600.0)


@pytest.fixture
async def led(one, two, make_workflow, connect):
    """A workflow in which `one` commits for all, with a client at each instance."""
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    follow(one, one, two, workflow_id=workflow_id)
    return workflow_id, ada, ben


async def test_the_committer_commits_for_all_and_everybody_is_told_as_ever(led, two, connect, keys, converged):
    workflow_id, ada, _ = led
    ben = await connect(two, workflow_id, key=keys[Role.EDITOR])
    post, before = Post(two, handing.HANDED), number_of(metrics.EDITS_HANDED_OVER)
    answers = [await ben.answer(await ben.edit(put(f"{number}"))) for number in range(5)]
    assert [answer["seq"] for answer in answers] == [2, 3, 4, 5, 6]
    assert {answer["by"]["name"] for answer in answers} == {"editor"}
    assert len(post.letters) == 5 == number_of(metrics.EDITS_HANDED_OVER) - before
    assert (await ada.answer(await ada.edit(put("Mine"))))["seq"] == 7
    assert number_of(metrics.EDITS_HANDED_OVER) - before == 5  # the committer commits what is its own
    await converged(workflow_id, ada, ben)
    assert not room_of(two, workflow_id).handing.pending


async def test_many_edits_of_all_come_in_the_order_of_each(led, one, two, connect, converged, stored):
    workflow_id, ada, ben = led
    clients = [ada, ben, await connect(one, workflow_id), await connect(two, workflow_id)]

    async def type_away(client):
        sent = [await client.edit(put(f"{client.name} {n}", "done" if n % 2 else "start")) for n in range(40)]
        return [(await client.answer(edit_id))["seq"] for edit_id in sent]

    numbers = await asyncio.gather(*map(type_away, clients))
    assert all(each == sorted(each) for each in numbers)
    assert sorted(seq for each in numbers for seq in each) == list(range(2, 162))
    await converged(workflow_id, *clients)


async def test_a_refusal_of_the_committer_reaches_the_author_alone(led, two):
    workflow_id, ada, ben = led
    refused = await ben.answer(await ben.edit(put("Nobody", "nowhere")))
    assert (refused["type"], refused["error"]) == ("refused", "not_found")
    assert (await ben.answer(await ben.edit({"op": "node.remove", "id": "done"})))["type"] == "edit"
    gone = await ben.answer(await ben.edit(put("Late")))
    assert (gone["error"], gone["gone"]["id"]) == ("gone", "done")
    assert not [frame for frame in ada.frames if frame["type"] == "refused"]
    assert not room_of(two, workflow_id).handing.pending


async def test_a_viewer_is_refused_where_he_is(led, two, connect, keys):
    workflow_id, _, _ = led
    post = Post(two, handing.HANDED)
    viewer = await connect(two, workflow_id, key=keys[Role.VIEWER])
    assert (await viewer.answer(await viewer.edit(put("Mine"))))["error"] == "forbidden"
    assert not post.letters


async def test_an_edit_that_is_too_large_for_a_letter_is_committed_where_it_is_when_its_turn_comes(
    led, one, two, converged
):
    workflow_id, ada, ben = led
    post, committer, follower = Post(two, handing.HANDED), room_of(one, workflow_id), room_of(two, workflow_id)
    committer.behind = True
    large = {"op": "node.set", "id": "done", "path": ["config", "text"], "value": "x" * handing.MAX_BYTES}
    sent = [await ben.edit(op) for op in (put("Before"), large, put("After"))]
    await eventually(lambda: (len(committer.waiting), len(follower.waiting)) == (1, 2))
    committer.caught_up()
    answers = [await ben.answer(edit_id) for edit_id in sent]
    assert [answer["seq"] for answer in answers] == [2, 3, 4]
    assert post.letters
    assert all(len(letter) < handing.MAX_BYTES for letter in post.letters)
    await converged(workflow_id, ada, ben)


async def test_many_edits_at_once_go_in_several_letters(led, two, converged):
    workflow_id, ada, ben = led
    post = Post(two, handing.HANDED)
    room = room_of(two, workflow_id)
    room.behind = True  # they gather
    sent = [await ben.edit(put("x" * 190)) for _ in range(60)]
    await eventually(lambda: len(room.waiting) == 60)
    room.caught_up()
    assert [(await ben.answer(edit_id))["seq"] for edit_id in sent] == list(range(2, 62))
    assert 1 < len(post.letters) < 10
    await converged(workflow_id, ada, ben)


async def test_what_the_committer_never_heard_of_is_committed_here(led, two, converged):
    workflow_id, ada, ben = led
    post = Post(two, handing.HANDED)
    post.lose = lambda _letter: True
    sent = [await ben.edit(put(f"{number}")) for number in range(3)]
    assert [(await ben.answer(edit_id))["seq"] for edit_id in sent] == [2, 3, 4]
    assert post.letters
    assert not room_of(two, workflow_id).handing.committer.is_elsewhere  # it is not asked again
    await converged(workflow_id, ada, ben)


async def test_an_edit_does_not_overtake_one_before_it_that_was_lost(led, two, converged, stored):
    workflow_id, ada, ben = led
    post = Post(two, handing.HANDED)
    post.lose = lambda _letter: len(post.letters) == 1
    first = await ben.edit(put("First"))
    await eventually(lambda: post.letters)
    second = await ben.edit(put("Second"))
    assert [(await ben.answer(edit_id))["seq"] for edit_id in (first, second)] == [2, 3]
    state = await converged(workflow_id, ada, ben)
    assert state.nodes["done"]["name"] == "Second"


async def test_an_edit_that_both_commit_is_committed_once(led, one, two, converged, stored):
    """The committer takes so long that its follower commits; what it had taken over it commits as well, or tries to."""
    workflow_id, ada, ben = led
    committer = room_of(one, workflow_id)
    committer.behind = True
    sent = [await ben.edit(put(f"{number}")) for number in range(3)]
    await eventually(lambda: len(committer.waiting) == 3)
    assert [(await ben.answer(edit_id))["seq"] for edit_id in sent] == [2, 3, 4]
    committer.caught_up()
    await eventually(lambda: not committer.waiting)
    await converged(workflow_id, ada, ben)
    assert (await stored(workflow_id)).seq == 4


async def test_a_client_that_comes_back_to_the_committer_is_answered_once(led, one, connect, converged, stored):
    """It sends again what is with the committer already, through a socket of the committer's own."""
    workflow_id, ada, ben = led
    committer = room_of(one, workflow_id)
    committer.behind = True
    await ben.edit(put("Once"))
    await eventually(lambda: len(committer.waiting) == 1)
    await ben.close()
    again = await connect(one, workflow_id, name=ben.name)
    await again.edit(put("Once"))
    await eventually(lambda: len(committer.waiting) == 2)
    committer.caught_up()
    assert (await again.answer(1))["seq"] == 2
    await converged(workflow_id, ada, again)
    assert (await stored(workflow_id)).seq == 2


async def test_an_edit_that_is_sent_again_while_it_is_with_the_committer_is_answered_each_time(led, one, two, stored):
    workflow_id, _, ben = led
    committer, follower = room_of(one, workflow_id), room_of(two, workflow_id)
    committer.behind = True
    for _ in range(3):
        await ben.send({"type": "edit", "id": 1, "ops": [put("Once")]})
    await eventually(lambda: (len(committer.waiting), len(follower.waiting)) == (1, 2))
    committer.caught_up()
    await ben.until(lambda: len([frame for frame in ben.frames if frame.get("id") == 1]) == 3)
    assert {frame["seq"] for frame in ben.frames if frame.get("id") == 1} == {2}
    assert (await stored(workflow_id)).seq == 2


async def test_an_edit_that_may_be_committed_is_never_called_unstorable(led, one, two):
    """The table does not have it yet, but the committer may be about to commit it."""
    workflow_id, _, ben = led
    committer, follower = room_of(one, workflow_id), room_of(two, workflow_id)
    committer.behind = True
    edit_id = await ben.edit(put("Maybe"))
    await eventually(lambda: committer.waiting)
    follower.handing.take_back()
    assert [edit.unknown for edit in follower.waiting] == [True]
    follower.refuse_old(time.monotonic() + 100)
    follower.outcome_known()
    follower.refuse_old(time.monotonic() + 100)
    assert len(follower.waiting) == 1
    assert (await ben.answer(edit_id))["seq"] == 2
    committer.caught_up()


async def test_clients_of_others_are_forgotten_when_none_of_their_edits_is_left(led, one):
    workflow_id, ada, ben = led
    clients = room_of(one, workflow_id).clients
    assert (await ben.answer(await ben.edit(put("Mine"))))["type"] == "edit"
    await eventually(lambda: clients.keys() == {ada.name})
    assert (await ben.answer(await ben.edit(put("More"))))["seq"] == 3


async def test_a_committer_takes_no_edits_that_come_late(led, one, two, monkeypatch):
    """Their author may have been answered otherwise meanwhile."""
    workflow_id, ada, ben = led
    post, back = Post(two, handing.HANDED), Post(one, handing.RETURNED)
    post.lose = lambda _letter: True
    edit_id = await ben.edit(put("Gone"))
    await eventually(lambda: post.letters)
    assert (await ben.answer(edit_id))["seq"] == 2
    room = room_of(one, workflow_id)
    monkeypatch.setattr(handing.time, "time", lambda now=time.time: now() + handing.PATIENCE_SECONDS + 1)
    late = orjson.loads(post.letters[0])
    late["edits"][0]["id"] = 99
    room.receive(handing.HANDED + orjson.dumps(late))
    assert not room.waiting
    assert [orjson.loads(letter)["id"] for letter in back.letters] == [99]
    assert (await ada.answer(await ada.edit(put("Mine"))))["seq"] == 3


async def test_a_committer_that_cannot_tell_what_a_client_has_committed_leaves_its_edits_to_its_instance(
    led, one, converged
):
    workflow_id, ada, ben = led
    assert (await ben.answer(await ben.edit(put("Known"))))["seq"] == 2
    back, edits = Post(one, handing.RETURNED), Post(one, b"e")
    edits.lose = lambda _letter: True
    assert (await ada.answer(await ada.edit(put("Unheard"))))["seq"] == 3
    room_of(one, workflow_id).log.clear()
    assert (await ben.answer(await ben.edit(put("Unknown"))))["seq"] == 4
    assert [orjson.loads(letter)["frame"] for letter in back.letters] == [None]
    await converged(workflow_id, ada, ben)


async def test_who_is_no_committer_hands_back_what_it_was_given(led, one, two, converged):
    """Each takes the other one for the committer: nothing goes in circles."""
    workflow_id, ada, ben = led
    there = room_of(one, workflow_id).handing.committer
    there.forget()
    there._follow(two.hub.instance)
    room_of(two, workflow_id).handing.committer._follow(one.hub.instance)
    sent = [
        (ada, await ada.edit(put("Ada"))),
        (ben, await ben.edit(put("Ben"))),
    ]
    assert sorted([(await who.answer(edit_id))["seq"] for who, edit_id in sent]) == [2, 3]
    await converged(workflow_id, ada, ben)


async def test_after_a_gap_of_the_broker_everything_is_taken_back_at_once(led, two, converged, monkeypatch):
    monkeypatch.setattr(handing, "PATIENCE_SECONDS", 600.0)  # not because it has waited
    workflow_id, ada, ben = led
    post = Post(two, handing.HANDED)
    post.lose = lambda _letter: True
    edit_id = await ben.edit(put("Lost"))
    await eventually(lambda: room_of(two, workflow_id).handing.pending)
    two.hub._gap()
    await eventually(lambda: not room_of(two, workflow_id).handing.pending)
    assert (await ben.answer(edit_id))["seq"] == 2
    await converged(workflow_id, ada, ben)


async def test_two_that_take_turns_in_beating_one_another_agree_on_a_committer(one, two, make_workflow, connect):
    workflow_id = await make_workflow(one)
    for instance in (one, two):
        await connect(instance, workflow_id)
    both = [room_of(instance, workflow_id).handing.committer for instance in (one, two)]
    for _ in range(committer.LEAST_LOST):
        for there in both:
            there.beaten()
    await eventually(lambda: both[0].name == both[1].name is not None)
    assert [there.is_elsewhere for there in both].count(True) == 1


@pytest.fixture
async def lonely(one, make_workflow, connect, monkeypatch):
    """The committer of a room as an instance sees it, and a clock that stands still."""
    workflow_id = await make_workflow(one)
    await connect(one, workflow_id)
    now = [100.0]
    monkeypatch.setattr(committer.time, "monotonic", lambda: now[0])
    return room_of(one, workflow_id).handing.committer, now


async def test_races_lost_now_and_then_make_nobody_a_committer(lonely, one):
    there, now = lonely
    for _ in range(20):
        there.beaten()
        now[0] += committer.PERIOD_SECONDS / 2
    assert there.name is None
    for _ in range(committer.LEAST_LOST):
        there.beaten()
    assert there.name == one.hub.instance


async def test_whoever_wins_most_races_needs_no_committer(lonely, one):
    there, _ = lonely
    there.beaten()
    for _ in range(committer.MOST_WON * 10):
        there.won()
    for _ in range(8):
        there.beaten()
    assert there.name is None
    there.beaten()
    assert there.name == one.hub.instance
