"""Hints over LISTEN and NOTIFY: packed, fast, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from melagent.broker import postgres
from melagent.broker.postgres import MAX_PAYLOAD_BYTES, MAX_WAITING, PostgresBroker, pack
from tests.builders import eventually
from tests.proxy import proxy_to


@asynccontextmanager
async def broker(url, *topics):
    """A connected broker, and what it received as (topic, message)."""
    made, received, gaps = PostgresBroker(url), [], []
    for topic in topics:
        made.subscribe(topic, lambda message, topic=topic: received.append((topic, message)))
    made.on_gap(lambda: gaps.append(True))
    await made.start()
    try:
        yield made, received, gaps
    finally:
        await made.stop()


async def test_a_hint_reaches_the_subscribers_of_its_topic_on_all_other_instances(database_url):
    async with (
        broker(database_url, "a", "b") as (one, at_one, _),
        broker(database_url, "a") as (two, at_two, _),
        broker(database_url, "a", "b") as (three, at_three, _),
    ):
        await eventually(lambda: one.health == two.health == three.health == "healthy")
        one.publish("a", "hello")
        two.publish("b", "there")
        await eventually(lambda: at_one and at_two and len(at_three) == 2)
    assert at_one == [("b", "there")]
    assert at_two == [("a", "hello")]
    assert sorted(at_three) == [("a", "hello"), ("b", "there")]


async def test_many_hints_all_arrive_in_few_messages(database_url, pool):
    ids, payloads = [str(uuid4()) for _ in range(2_000)], []

    def note(_connection, _pid, _channel, payload):
        payloads.append(payload)

    async with (
        pool.acquire() as listening,
        broker(database_url) as (one, _, _),
        broker(database_url, "runs") as (two, received, _),
    ):
        await eventually(lambda: one.health == two.health == "healthy")
        await listening.add_listener(postgres.CHANNEL, note)
        for run_id in ids:
            one.publish("runs", run_id)
        await eventually(lambda: len(received) == len(ids))
        await listening.remove_listener(postgres.CHANNEL, note)
    assert [message for _, message in received] == ids
    assert len(payloads) < 30


def test_a_payload_is_below_the_limit_of_postgresql_and_equal_hints_are_sent_once():
    messages = [("topic", f"{n:06} {'ü' * (n % 40)}") for n in range(1_000)]
    payloads = pack("sender", messages + messages)
    assert max(len(payload.encode()) for payload in payloads) <= MAX_PAYLOAD_BYTES < 8_000
    assert [tuple(pair) for payload in payloads for pair in json.loads(payload)[1:]] == messages
    assert {json.loads(payload)[0] for payload in payloads} == {"sender"}
    assert min(len(payload) for payload in payloads[:-1]) > MAX_PAYLOAD_BYTES * 0.9
    assert pack("sender", []) == []


async def test_a_lost_connection_is_made_again_and_a_gap_is_told(database_url, pool, monkeypatch):
    monkeypatch.setattr(postgres, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "CHECK_SECONDS", 0.2)
    async with broker(database_url, "a") as (one, _, gaps), broker(database_url, "a") as (two, received, gaps_too):
        await eventually(lambda: gaps and gaps_too)
        killed = await pool.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert killed == 2

        async def arrived():
            one.publish("a", "again")  # a hint that was under way when the line broke is lost; that is allowed
            return len(gaps) == len(gaps_too) == 2 and received

        await eventually(arrived)
        assert one.health == two.health == "healthy"


async def test_a_database_that_goes_away_degrades_the_broker_until_it_is_back(database_url, monkeypatch):
    monkeypatch.setattr(postgres, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "CHECK_SECONDS", 0.1)
    async with (
        proxy_to(database_url) as proxy,
        broker(proxy.url, "a") as (one, received, gaps),
        broker(database_url) as (other, _, _),
    ):
        await eventually(lambda: len(gaps) == 1)
        proxy.away = True
        proxy.cut()
        await eventually(lambda: one.health == "degraded")
        proxy.away = False
        await eventually(lambda: len(gaps) == 2)
        other.publish("a", "hello")
        await eventually(lambda: received)


async def test_publishing_never_waits_and_keeps_only_so_much_while_the_database_is_away():
    async with broker("postgresql://nobody@127.0.0.1:1/nothing", "a") as (one, received, _):
        loop = asyncio.get_running_loop()
        before = loop.time()
        for n in range(MAX_WAITING + 5_000):
            one.publish("a", str(n))
        assert loop.time() - before < 1.0
        assert len(one._outbox) == MAX_WAITING
        assert one.health == "degraded"
    assert received == []


@pytest.mark.parametrize("started", [True, False])
async def test_stopping_leaves_nothing_behind(database_url, pool, started):
    made = PostgresBroker(database_url)
    if started:
        await made.start()
        await eventually(lambda: made.health == "healthy")
    await made.stop()

    async def gone():
        return not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    await eventually(gone)
