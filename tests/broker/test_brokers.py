"""Hints between processes, over PostgreSQL and over Redis: packed, fast, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from melagent.broker import exchange, postgres
from melagent.broker.exchange import MAX_WAITING, pack
from tests.builders import eventually


@pytest.fixture
def impatient(monkeypatch):
    """Everything that takes seconds takes a moment."""
    monkeypatch.setattr(exchange, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(exchange, "PING_SECONDS", 0.1)
    monkeypatch.setattr(exchange, "DEAF_SECONDS", 1.0)


async def test_a_hint_reaches_the_subscribers_of_its_topic_on_all_other_instances(direct, listening):
    async with (
        listening(direct(), "a", "b") as (one, at_one, _),
        listening(direct(), "a") as (two, at_two, _),
        listening(direct(), "a", "b") as (three, at_three, _),
    ):
        await eventually(lambda: one.health == two.health == three.health == "healthy")
        one.publish("a", "hello")
        two.publish("b", "there")
        await eventually(lambda: at_one and at_two and len(at_three) == 2)
    assert at_one == [("b", "there")]
    assert at_two == [("a", "hello")]
    assert sorted(at_three) == [("a", "hello"), ("b", "there")]


async def test_many_hints_all_arrive_in_their_order_and_in_few_messages(direct, listening, monkeypatch):
    ids, payloads = [str(uuid4()) for _ in range(2_000)], []
    packed = exchange.pack
    monkeypatch.setattr(exchange, "pack", lambda *given: [payloads.append(p) or p for p in packed(*given)])
    async with listening(direct()) as (one, _, _), listening(direct(), "runs") as (two, received, _):
        await eventually(lambda: one.health == two.health == "healthy")
        for run_id in ids:
            one.publish("runs", run_id)
        await eventually(lambda: len(received) == len(ids))
    assert [message for _, message in received] == ids
    assert len(payloads) < 30


def test_a_payload_is_below_the_limit_and_equal_hints_are_sent_once():
    messages = [("topic", f"{n:06} {'ü' * (n % 40)}") for n in range(1_000)]
    payloads = pack("sender", messages + messages, postgres.MAX_PAYLOAD_BYTES)
    assert max(len(payload.encode()) for payload in payloads) <= postgres.MAX_PAYLOAD_BYTES < 8_000
    assert [tuple(pair) for payload in payloads for pair in json.loads(payload)[1:]] == messages
    assert {json.loads(payload)[0] for payload in payloads} == {"sender"}
    assert min(len(payload) for payload in payloads[:-1]) > postgres.MAX_PAYLOAD_BYTES * 0.9
    assert pack("sender", [], postgres.MAX_PAYLOAD_BYTES) == []


async def test_a_cut_line_is_opened_again_and_a_gap_is_told(relay, direct, listening, impatient):
    async with listening(relay.broker(), "a") as (one, received, gaps), listening(direct()) as (other, _, _):
        await eventually(lambda: gaps and other.health == "healthy")
        relay.cut()

        async def arrived():
            other.publish("a", "again")  # a hint that was under way when the line broke is lost; that is allowed
            return len(gaps) >= 2 and received

        await eventually(arrived)
        assert one.health == "healthy"


async def test_a_server_that_goes_away_degrades_the_broker_until_it_is_back(relay, direct, listening, impatient):
    async with listening(relay.broker(), "a") as (one, received, gaps), listening(direct()) as (other, _, _):
        await eventually(lambda: gaps and other.health == "healthy")
        relay.away = True
        relay.cut()
        await eventually(lambda: one.health == "degraded")
        relay.away = False
        await eventually(lambda: len(gaps) >= 2)
        other.publish("a", "hello")
        await eventually(lambda: received)


async def test_a_subscriber_that_has_gone_deaf_is_noticed_though_its_line_is_open(relay, listening, impatient):
    async with listening(relay.broker(), "a") as (one, _, gaps):
        await eventually(lambda: gaps)
        relay.silent = True
        await eventually(lambda: one.health == "degraded")
        relay.silent = False
        await eventually(lambda: len(gaps) >= 2 and one.health == "healthy")


async def test_a_broker_that_hears_itself_stays_on_its_line(direct, listening, impatient):
    async with listening(direct()) as (one, _, gaps):
        await eventually(lambda: gaps)
        answered = []
        one._answered.set = lambda: answered.append(asyncio.Event.set(one._answered))
        await eventually(lambda: len(answered) >= 5)
        assert (len(gaps), one.health) == (1, "healthy")


async def test_publishing_never_waits_and_keeps_only_so_much_while_the_server_is_away(relay, listening):
    relay.away = True
    async with listening(relay.broker(), "a") as (one, received, _):
        for n in range(MAX_WAITING + 5_000):
            one.publish("a", str(n))
        assert len(one._outbox) == MAX_WAITING
        assert one.health == "degraded"
    assert received == []


@pytest.mark.parametrize("started", [True, False])
async def test_stopping_leaves_nothing_behind(relay, started):
    made = relay.broker()
    if started:
        await made.start()
        await eventually(lambda: made.health == "healthy")
    await made.stop()
    await eventually(lambda: not relay._lines)
