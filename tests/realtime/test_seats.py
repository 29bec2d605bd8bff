"""Both stores of seats: the newest socket holds a seat, and an instance that falls silent loses its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from melagent.domain.seats import Seat, color_of, peer_of
from melagent.realtime.redis_seats import HUBS, RedisSeats
from melagent.realtime.seats import PostgresSeats
from melagent.store.ids import FIRST_ID, new_id


@pytest.fixture
async def store(kind, pool, redis_port):
    if kind == "postgres":
        yield PostgresSeats(pool)
        return
    seats = RedisSeats(f"redis://127.0.0.1:{redis_port}/1")
    await seats._redis.flushdb()
    yield seats
    await seats.close()


@pytest.fixture
def silence(kind, store, pool):
    """Let an instance have been silent for so many seconds."""

    async def silence(instance, seconds):
        if kind == "postgres":
            await pool.execute(
                "UPDATE hubs SET seen_at = now() - make_interval(secs => $2) WHERE instance = $1", instance, seconds
            )
        else:
            await store._redis.zincrby(HUBS, -seconds * 1_000_000, instance)

    return silence


def seat(workflow_id, peer="ada", instance="one", **changes):
    made = Seat(workflow_id, peer, uuid4().hex, instance, "id of Ada", "Ada ü", "#123456")
    return replace(made, **changes)


async def test_a_seat_is_told_to_everybody_until_its_owner_leaves(store):
    workflow_id = new_id()
    await store.register("one")
    ada = seat(workflow_id)
    taken = await store.put("one", [ada])
    (found,) = await store.of_rooms([workflow_id, new_id()])
    assert found == replace(ada, joined_at=taken[ada.owner])
    assert abs((datetime.now(UTC) - found.joined_at).total_seconds()) < 60
    await store.remove([ada])
    assert await store.of_rooms([workflow_id]) == []


async def test_the_newest_socket_of_a_client_holds_its_seat_and_an_older_one_removes_nothing(store):
    workflow_id = new_id()
    for instance in ("one", "two"):
        await store.register(instance)
    old, new = seat(workflow_id), seat(workflow_id, instance="two")
    first = await store.put("one", [old])
    second = await store.put("two", [new])
    assert first[old.owner] <= second[new.owner]
    await store.remove([old])
    assert [found.owner for found in await store.of_rooms([workflow_id])] == [new.owner]
    assert await store.put("one", [replace(old, joined_at=first[old.owner])]) == {}
    assert await store.count() == [("one", 0, 0), ("two", 1, 1)]


async def test_seats_of_an_instance_that_is_not_known_are_not_taken(store):
    assert await store.put("nobody", [seat(new_id(), instance="nobody")]) is None
    assert await store.touch("nobody") is False
    await store.register("nobody")
    assert await store.touch("nobody") is True


async def test_an_instance_that_fell_silent_loses_its_seats_and_no_others(store, silence):
    workflow_id = new_id()
    for instance in ("one", "two"):
        await store.register(instance)
    gone, here = seat(workflow_id), seat(workflow_id, "ben", "two")
    await store.put("one", [gone])
    await store.put("two", [here])
    await silence("one", 8.0)
    assert await store.sweep(9.0) == []
    await silence("one", 9.5)
    assert [found.owner for found in await store.sweep(9.0)] == [gone.owner]
    assert [found.owner for found in await store.of_rooms([workflow_id])] == [here.owner]
    assert await store.touch("one") is False
    assert await store.sweep(9.0) == []


async def test_a_seat_that_was_taken_over_does_not_go_with_the_instance_that_had_it(store, silence):
    workflow_id = new_id()
    for instance in ("one", "two"):
        await store.register(instance)
    await store.put("one", [seat(workflow_id)])
    new = seat(workflow_id, instance="two")
    await store.put("two", [new])
    await silence("one", 10.0)
    assert await store.sweep(9.0) == []
    assert [found.owner for found in await store.of_rooms([workflow_id])] == [new.owner]


async def test_an_instance_that_leaves_takes_its_seats_along(store):
    workflow_id = new_id()
    await store.register("one")
    await store.put("one", [seat(workflow_id)])
    await store.leave("one")
    assert (await store.of_rooms([workflow_id]), await store.count()) == ([], [])


async def test_pages_go_through_all_seats(store):
    await store.register("one")
    workflows = sorted(new_id() for _ in range(3))
    seats = [seat(workflow_id, peer) for workflow_id in workflows for peer in ("a", "b")]
    await store.put("one", seats)
    after, found = (FIRST_ID, ""), []
    while page := await store.page(after, 4):
        found += page
        after = (page[-1].workflow_id, page[-1].peer)
    assert [(s.workflow_id, s.peer) for s in found] == [(s.workflow_id, s.peer) for s in seats]
    assert await store.count() == [("one", 6, 3)]


def test_a_client_is_called_the_same_after_it_came_back_and_like_nobody_else():
    assert peer_of("ada", "c") == peer_of("ada", "c")
    assert len({peer_of("ada", "c"), peer_of("ada", "d"), peer_of("ben", "c"), peer_of("ad", "a\nc")}) == 4


def test_a_person_has_the_colour_that_the_editor_reckons_as_well():
    """web/src/canvas/colors.test.ts expects the same."""
    assert [color_of("ada"), color_of("Grüße")] == ["#c92a2a", "#087f5b"]
