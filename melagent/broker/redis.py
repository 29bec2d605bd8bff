"""Hints over Redis pub/sub: one connection that subscribes, one that publishes.

Redis holds nothing that would be missed: when it is away, polls take the place of hints.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from melagent.broker.exchange import CHANNEL, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio.client import PubSub

    from melagent.broker import Broker

MAX_PAYLOAD_BYTES = 64 * 1024
SEND_SECONDS = 5.0


def redis_broker(url: str) -> Broker:
    """A broker over the Redis (or Valkey) server of this URL."""
    return Exchange("redis", partial(_line, url), MAX_PAYLOAD_BYTES)


class _Line:
    def __init__(self, publisher: Redis, subscription: PubSub) -> None:
        self._publisher = publisher
        self._subscription = subscription

    async def send(self, payload: str) -> None:
        await self._publisher.publish(CHANNEL, payload)

    async def heard(self) -> AsyncIterator[str]:
        async for message in self._subscription.listen():
            if message["type"] == "message":
                yield message["data"]


@asynccontextmanager
async def _line(url: str) -> AsyncIterator[_Line]:
    # Without a retry of the library's own: a lost line shall be noticed here, because hints were missed then.
    client = Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SEND_SECONDS,
        socket_connect_timeout=SEND_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        max_connections=4,
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        yield _Line(client, subscription)
