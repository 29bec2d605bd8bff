"""Both kinds of broker on real servers, behind a relay that can be cut, fall silent and be away."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from melagent.broker.postgres import postgres_broker
from melagent.broker.redis import redis_broker
from tests.proxy import proxy_to, relay_to
from tests.valkey import valkey


@pytest.fixture(scope="session")
def redis_port():
    with valkey() as server:
        yield server.port


@pytest.fixture(params=["postgres", "redis"])
def kind(request):
    return request.param


@pytest.fixture
async def relay(kind, database_url, redis_port):
    """The way to the server. `relay.broker()` makes a broker that takes it."""
    if kind == "postgres":
        async with proxy_to(database_url) as relay:
            relay.broker = lambda: postgres_broker(relay.url)
            yield relay
    else:
        async with relay_to({"host": "127.0.0.1", "port": str(redis_port)}) as relay:
            relay.broker = lambda: redis_broker(f"redis://127.0.0.1:{relay.port}")
            yield relay


@pytest.fixture
async def direct(kind, database_url, redis_port):
    """Makes a broker that talks to the server itself."""
    if kind == "postgres":
        return lambda: postgres_broker(database_url)
    return lambda: redis_broker(f"redis://127.0.0.1:{redis_port}")


@pytest.fixture
def listening():
    """A started broker, what it received as (topic, message), and the gaps it told."""

    @asynccontextmanager
    async def listening(broker, *topics):
        received, gaps = [], []
        for topic in topics:
            broker.subscribe(topic, lambda message, topic=topic: received.append((topic, message)))
        broker.on_gap(lambda: gaps.append(True))
        await broker.start()
        try:
            yield broker, received, gaps
        finally:
            await broker.stop()

    return listening
