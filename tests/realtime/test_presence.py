"""Who is there: the same people on every instance, gone when they are gone, and never while they come back."""

from __future__ import annotations

from uuid import UUID

import pytest
from aiohttp import WSMsgType

from melagent.domain.seats import Seat
from melagent.realtime import hub as hub_module
from melagent.realtime import seating
from melagent.realtime.presence import MAX_BYTES_PER_SECOND, Presence
from melagent.realtime.redis_seats import HUBS
from melagent.services.access import Role
from melagent.store.ids import new_id
from tests.builders import eventually

ADMIN = {"X-API-Key": "the-bootstrap-key-of-the-tests"}


@pytest.fixture
def people_of(http):
    async def people_of(instance, workflow_id):
        async with http.get(instance.url(f"/api/workflows/{workflow_id}/presence"), headers=ADMIN) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["peers"]

    return people_of


@pytest.fixture
def expire(kind, pool):
    """Let an instance have been silent for longer than seats are kept."""

    async def expire(instance):
        if kind == "postgres":
            await pool.execute("UPDATE hubs SET seen_at = now() - interval '10 s' WHERE instance = $1", instance.name)
        else:
            await instance.hub.seating.store._redis.zincrby(HUBS, -10_000_000, instance.name)

    return expire


def die(instance):
    """What others notice when an instance is killed: it says nothing more, and writes nothing."""
    hub = instance.hub
    for loop in hub.seating.loops:
        loop._stopping = True
        loop.wake()
    instance.broker.send = lambda *_, **__: None
    hub.leave = hub.linger = lambda *_: None


async def test_everybody_sees_the_same_people_and_what_they_do(one, two, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    names = {client.joined["you"]["peer"] for client in (ada, ben)}
    await ada.until(lambda: ada.people.keys() == names)
    await ben.until(lambda: ben.people.keys() == names)
    state = {"cursor": [3, 4], "selection": ["done"], "text": 'ü"'}
    await ada.send({"type": "presence", "state": state})
    mine = ada.joined["you"]["peer"]
    for client in (ada, ben):
        await client.until(lambda client=client: client.people[mine]["state"] == state)
    assert ada.people == ben.people
    late = await connect(two, workflow_id)
    assert late.people[mine] == ada.people[mine]


async def test_identity_comes_from_the_credential_and_not_from_the_client(one, make_workflow, connect, keys):
    workflow_id = await make_workflow(one)
    eva = await connect(one, workflow_id, key=keys[Role.VIEWER])
    await eva.send({"type": "presence", "state": {"name": "Root", "color": "red", "id": "0"}})
    mine = eva.joined["you"]["peer"]
    await eva.until(lambda: eva.people[mine]["state"])
    assert (eva.people[mine]["name"], eva.people[mine]["color"]) == ("viewer", eva.joined["you"]["color"])


async def test_a_newcomer_of_a_fresh_room_learns_who_is_there_elsewhere(one, two, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ada = await connect(one, workflow_id)
    await ada.send({"type": "presence", "state": {"cursor": 1}})
    await ada.until(lambda: ada.people[ada.joined["you"]["peer"]]["state"])
    ben = await connect(two, workflow_id)  # nobody had the room open there
    await ben.until(lambda: ben.people.get(ada.joined["you"]["peer"], {}).get("state") == {"cursor": 1})


async def test_whoever_leaves_by_choice_is_gone_at_once_everywhere(one, two, make_workflow, connect, people_of):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    await ben.until(lambda: len(ben.people) == 2)
    await ada.close()
    await ben.until(lambda: ben.people.keys() == {ben.joined["you"]["peer"]})

    async def alone():
        return [person["peer"] for person in await people_of(one, workflow_id)] == [ben.joined["you"]["peer"]]

    await eventually(alone)


async def test_whoever_comes_back_on_another_instance_is_never_shown_as_gone(
    one, two, make_workflow, connect, people_of, monkeypatch
):
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0.5)
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    mine = ada.joined["you"]["peer"]
    await ada.send({"type": "presence", "state": {"cursor": 7}})
    await ben.until(lambda: ben.people.get(mine, {}).get("state") == {"cursor": 7})
    ada.socket._response.connection.transport.abort()  # the line breaks
    await eventually(lambda: len(one.hub.peers) == 1)
    again = await connect(two, workflow_id, name=ada.name)
    assert again.joined["you"]["peer"] == mine
    await eventually(lambda: not one.hub._lingering)  # its time to come back is over
    told = await eventually(lambda: one.hub.rooms[UUID(workflow_id)].presence.people.get(mine))
    assert told.instance == two.name
    assert not [f for f in ben.frames if f["type"] == "presence" and f["changes"].get(mine, 1) is None]

    async def seated():
        return [p["instance"] for p in await people_of(one, workflow_id) if p["peer"] == mine] == [two.name]

    await eventually(seated)


async def test_whoever_does_not_come_back_is_gone_after_a_moment(one, make_workflow, connect, monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0.0)
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(one, workflow_id)
    await ben.until(lambda: len(ben.people) == 2)
    ada.socket._response.connection.transport.abort()
    await ben.until(lambda: len(ben.people) == 1)


async def test_the_people_of_a_killed_instance_are_gone_soon(
    one, two, make_workflow, connect, people_of, expire, monkeypatch
):
    workflow_id = await make_workflow(one)
    await connect(one, workflow_id)
    ben = await connect(two, workflow_id)
    await ben.until(lambda: len(ben.people) == 2)

    async def both():
        return len(await people_of(two, workflow_id)) == 2

    await eventually(both)
    die(one)
    await expire(one)
    await ben.until(lambda: ben.people.keys() == {ben.joined["you"]["peer"]}, seconds=15)
    assert len(await people_of(two, workflow_id)) == 1
    assert seating.EXPIRY_SECONDS + seating.SWEEP_SECONDS + 2 * seating.COMPARE_SECONDS < 17


async def test_without_letters_people_elsewhere_are_learned_from_the_seats(one, two, make_workflow, connect):
    workflow_id = await make_workflow(one)
    ben = await connect(two, workflow_id)
    two.broker._hand_out = lambda post: None
    ada = await connect(one, workflow_id)
    await ben.until(lambda: ada.joined["you"]["peer"] in ben.people)
    await ada.close()
    await ben.until(lambda: ada.joined["you"]["peer"] not in ben.people)


async def test_a_store_that_lost_everything_is_filled_again_and_nobody_is_declared_dead(
    one, two, make_workflow, connect, people_of, kind, pool
):
    workflow_id = await make_workflow(one)
    ada, ben = await connect(one, workflow_id), await connect(two, workflow_id)
    await ben.until(lambda: len(ben.people) == 2)

    async def all_seated():
        return len(await people_of(one, workflow_id)) == 2

    await eventually(all_seated)
    if kind == "postgres":
        await pool.execute("TRUNCATE hubs, seats")
    else:
        await one.hub.seating.store._redis.flushdb()
    assert await people_of(one, workflow_id) == []
    await two.hub.seating.one_pass()
    assert two.hub.seating._quiet_until > 0
    await two.hub.seating.compare()
    await two.hub.seating.compare()
    await eventually(all_seated)
    for client in (ada, ben):
        assert not [f for f in client.frames if f["type"] == "presence" and None in f["changes"].values()]


async def test_a_store_that_was_away_declares_nobody_dead_when_it_is_back(one, make_workflow, connect, monkeypatch):
    workflow_id = await make_workflow(one)
    await connect(one, workflow_id)
    keeper, store = one.hub.seating, one.hub.seating.store
    swept = []

    async def away(*_):
        raise OSError("away")

    async def sweep(_seconds):
        swept.append(True)
        return []

    touch = store.touch
    monkeypatch.setattr(store, "sweep", sweep)
    monkeypatch.setattr(store, "touch", away)
    await keeper.one_pass()
    await keeper.sweep()
    monkeypatch.setattr(store, "touch", touch)
    await keeper.one_pass()
    swept.clear()
    await keeper.sweep()
    assert swept == []
    keeper._quiet_until = 0.0
    await keeper.sweep()
    assert swept == [True]


async def test_connections_are_told_for_all_instances_from_any(one, two, make_workflow, connect, http):
    workflows = [await make_workflow(one) for _ in range(2)]
    clients = [await connect(instance, workflow_id) for instance in (one, two) for workflow_id in workflows]

    async def told(query=""):
        async with http.get(two.url(f"/api/realtime/connections{query}"), headers=ADMIN) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def all_there():
        found = await told()
        mine = [each for each in found["connections"] if each["instance"] in (one.name, two.name)]
        counts = {each["instance"]: (each["connections"], each["rooms"]) for each in found["instances"]}
        counted = (counts.get(one.name), counts.get(two.name)) == ((2, 2), (2, 2))  # by a statement of its own
        return found if len(mine) == 4 and counted else None

    found = await eventually(all_there)
    mine = {client.joined["you"]["peer"] for client in clients}
    assert mine <= {each["peer"] for each in found["connections"]}
    first = await told("?limit=1")
    second = await told(f"?limit=1&cursor={first['next_cursor']}")
    assert first["connections"] + second["connections"] == found["connections"][:2]
    async with http.get(two.url("/api/realtime/connections?cursor=x"), headers=ADMIN) as answer:
        assert answer.status == 400


async def test_presence_of_what_is_no_workflow_is_not_found(one, http):
    async with http.get(one.url(f"/api/workflows/{new_id()}/presence"), headers=ADMIN) as answer:
        assert answer.status == 404


async def test_health_and_metrics_tell_of_rooms_and_peers(one, make_workflow, connect, http):
    await connect(one, await make_workflow(one))
    async with http.get(one.url("/health"), headers={"X-Debug": "true"}) as answer:
        debug = (await answer.json())["debug"]
    assert (debug["rooms"], debug["peers"]) == (1, 1)
    await one.hub.watch()
    async with http.get(one.url("/metrics")) as answer:
        lines = (await answer.text()).splitlines()
    assert {"mel_rooms 1.0", "mel_peers 1.0"} <= set(lines)
    assert [line for line in lines if line.startswith("mel_edit_commit_seconds_count")]


async def test_a_ping_of_the_library_is_answered(one, make_workflow, connect):
    ada = await connect(one, await make_workflow(one))
    await ada.socket.send_frame(b"x", WSMsgType.PING)
    await ada.send({"type": "ping"})
    assert await ada.frame("tick")


# The rules alone


def seat(peer, owner, instance="here"):
    return Seat(new_id(), peer, owner, instance, "id", "Name", "#000000")


def test_changes_are_gathered_into_one_frame():
    presence = Presence("here")
    presence.join(seat("a", "o1"))
    presence.join(seat("b", "o2"))
    presence.show("a", "o1", b'{"x":1}')
    presence.leave("b", "o2")
    frame = presence.take_frame()
    assert frame == (
        b'{"type":"presence","changes":{"a":{"id":"id","name":"Name","color":"#000000","state":{"x":1}},"b":null}}'
    )
    assert presence.take_frame() is None


def test_an_old_socket_shows_and_removes_nothing_when_a_newer_one_has_the_seat():
    presence = Presence("here")
    presence.join(seat("a", "old"))
    presence.show("a", "old", b'{"x":1}')
    presence.join(seat("a", "new"))
    presence.show("a", "old", b'{"x":2}')
    presence.leave("a", "old")
    assert (presence.people["a"].owner, presence.people["a"].state) == ("new", b'{"x":1}')


def test_what_one_instance_tells_another_one_understands():
    here, there = Presence("here"), Presence("there")
    here.join(seat("a", "o1"))
    here.show("a", "o1", b'{"x":[1,{"y":"\xc3\xbc"}]}')
    for letter in here.take_letters():
        there.heard(letter)
    assert there.whole() == here.whole()
    assert there.people["a"].instance == "here"
    here.leave("a", "o1")
    for letter in here.take_letters():
        there.heard(letter)
    assert there.whole() == b"{}"
    assert list(there.take_letters()) == []


def test_somebody_elsewhere_without_a_seat_is_gone_after_the_second_look():
    presence = Presence("here")
    presence.join(seat("mine", "o1"))
    presence.compare([seat("theirs", "o2", "there")])
    assert presence.people.keys() == {"mine", "theirs"}
    presence.compare([])
    presence.compare([seat("theirs", "o2", "there")])
    presence.compare([])
    assert "theirs" in presence.people
    presence.compare([])
    assert presence.people.keys() == {"mine"}


def test_a_large_room_is_told_less_often():
    presence = Presence("here")
    assert presence.pause_seconds(None, 10) == presence.pause_seconds(b"x" * 100, 10) == 0.05
    assert presence.pause_seconds(b"x" * MAX_BYTES_PER_SECOND, 10) == 10
