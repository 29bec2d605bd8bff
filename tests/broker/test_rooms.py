"""Topics that come and go: letters reach whoever has one open, in order, however large, and a lost line is told."""

from __future__ import annotations

import asyncio

import pytest

from melagent.broker import exchange, postgres
from melagent.broker.postgres import packed
from tests.builders import eventually


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(exchange, "RECONNECT_SECONDS", 0.05)


async def healthy(*brokers):
    await eventually(lambda: all(broker.health == "healthy" for broker in brokers))


async def test_a_letter_reaches_every_other_instance_that_has_the_topic_open(direct, listening):
    async with (
        listening(direct()) as (one, _, _),
        listening(direct()) as (two, _, _),
        listening(direct()) as (three, *_),
    ):
        await healthy(one, two, three)
        at_one, at_two = [], []
        await one.open("room", at_one.append)
        await two.open("room", at_two.append)
        await two.open("other", at_two.append)
        one.send("room", b'{"a":1}')
        three.send("room", b'"\xc3\xbc"')
        three.send("nobody", b"1")
        three.send("other", b"2")
        await eventually(lambda: len(at_two) == 3 and at_one)
    assert at_one == [b'"\xc3\xbc"']
    assert sorted(at_two) == sorted([b'{"a":1}', b'"\xc3\xbc"', b"2"])


async def test_whoever_has_opened_a_topic_misses_nothing_that_is_sent_afterwards(direct, listening):
    async with listening(direct()) as (one, _, _), listening(direct()) as (two, _, _):
        await healthy(one, two)
        for number in range(50):
            received = []
            await two.open(f"room {number}", received.append)
            one.send(f"room {number}", b"%d" % number)
            await eventually(lambda received=received: received)


async def test_a_topic_that_was_closed_is_heard_no_more_and_can_be_opened_again(direct, listening):
    async with listening(direct()) as (one, _, _), listening(direct()) as (two, _, _):
        await healthy(one, two)
        received, again, marks = [], [], []
        await two.open("mark", marks.append)
        await two.open("room", received.append)
        two.close("room")
        one.send("room", b"1")
        one.send("mark", b"1")
        await eventually(lambda: marks)
        await two.open("room", again.append)
        one.send("room", b"2")
        await eventually(lambda: again)
    assert (received, again) == ([], [b"2"])


async def test_letters_arrive_in_their_order_and_an_idle_line_does_not_wait(direct, listening):
    async with listening(direct()) as (one, _, _), listening(direct()) as (two, _, _):
        await healthy(one, two)
        received = []
        await two.open("a", received.append)
        await two.open("b", received.append)
        for number in range(3_000):
            one.send("ab"[number % 2], b"%d" % number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(received) == 3_000)
    for parity in (0, 1):
        numbers = [int(data) for data in received if int(data) % 2 == parity]
        assert numbers == sorted(numbers)


async def test_a_letter_that_the_server_cannot_carry_is_replaced(direct, listening, kind):
    async with listening(direct()) as (one, _, _), listening(direct()) as (two, _, _):
        await healthy(one, two)
        received = []
        await two.open("room", received.append)
        one.send("room", b"x" * 100_000, instead=b"short")
        one.send("room", b"y" * 5_000_000)
        one.send("room", b"end")
        await eventually(lambda: b"end" in received)
    assert received == [b"x" * 100_000 if kind == "redis" else b"short", b"end"]


async def test_what_is_said_here_as_well_is_heard_at_once_and_once(direct, listening):
    async with listening(direct(), "hint") as (one, hints, _), listening(direct(), "hint") as (two, elsewhere, _):
        await healthy(one, two)
        here, there = [], []
        await one.open("room", here.append)
        await two.open("room", there.append)
        one.send("room", b"1", here=True)
        one.announce("hint", "now")
        assert (here, hints) == ([b"1"], [("hint", "now")])
        await eventually(lambda: there and elsewhere)
        one.send("room", b"2")
        await eventually(lambda: len(there) == 2)
    assert (here, hints) == ([b"1"], [("hint", "now")])


async def test_topics_are_open_again_when_the_line_is(relay, direct, listening, impatient):
    async with listening(relay.broker()) as (one, _, gaps), listening(direct()) as (other, _, _):
        await healthy(one, other)
        received = []
        await one.open("room", received.append)
        relay.cut()
        await eventually(lambda: len(gaps) >= 2)

        async def arrived():
            other.send("room", b"1")
            return received

        await eventually(arrived)


async def test_opening_does_not_wait_for_a_server_that_is_away(relay, direct, listening, impatient):
    relay.away = True
    async with listening(relay.broker()) as (one, _, gaps), listening(direct()) as (other, _, _):
        await healthy(other)
        received = []
        async with asyncio.timeout(1):
            await one.open("room", received.append)
        relay.away = False
        await eventually(lambda: gaps)

        async def arrived():
            other.send("room", b"1")
            return received

        await eventually(arrived)


async def test_letters_are_kept_only_so_many_while_the_server_is_away(relay, listening, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_LETTERS", 5)
    relay.away = True
    async with listening(relay.broker()) as (one, _, _):
        for _ in range(10):
            one.send("room", b"1")
        assert len(one._letters) == 5


def test_letters_are_packed_into_payloads_below_the_limit():
    letters = [(f"room {number % 7}", b'"%s"' % (b"\xc3\xbc" * (number % 300))) for number in range(500)]
    payloads = list(packed("sender", letters))
    assert max(len(payload.encode()) for payload in payloads) <= postgres.MAX_PAYLOAD_BYTES
    assert min(len(payload.encode()) for payload in payloads[:-1]) > postgres.MAX_PAYLOAD_BYTES * 0.9
    assert [letter for payload in payloads for letter in payload.split("\x1e")[1:]] == [
        f"{topic}\x1f{data.decode()}" for topic, data in letters
    ]
