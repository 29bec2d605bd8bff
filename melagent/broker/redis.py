"""Hints over Redis pub/sub: one connection that subscribes, one or two that publish hints, and one for letters.

A room has a channel of its own, so that an instance gets letters to those rooms only that are open there.

Redis holds nothing that would be missed: when it is away, polls take the place of hints.

Letters go and come by the thousand in a second, so they use the library's connections as they are: its pipelines, its
retries and a time limit for each reply cost several times what sending and parsing do.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from melagent.broker.exchange import CHANNEL, RECORD, ROOMS, Exchange, Post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from redis.asyncio.client import PubSub
    from redis.asyncio.connection import AbstractConnection

    from melagent.broker import Broker
    from melagent.broker.exchange import Letter

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_LETTER_BYTES = 4 * 1024 * 1024
ROOM = f"{ROOMS}:".encode()
SEND_SECONDS = 5.0
OPTIONS: Final[dict[str, Any]] = {
    "socket_connect_timeout": SEND_SECONDS,
    "socket_keepalive": True,
    # Without a retry of the library's own: a lost line shall be noticed here, because hints were missed then.
    "retry": Retry(NoBackoff(), 0),
    # The newer protocol brings messages as something that the library looks at twice.
    "protocol": 2,
}


def redis_broker(url: str) -> Broker:
    """A broker over the Redis (or Valkey) server of this URL."""
    return Exchange("redis", partial(_line, url), MAX_PAYLOAD_BYTES, MAX_LETTER_BYTES)


class _Line:
    def __init__(self, publisher: Redis, postman: AbstractConnection, subscription: PubSub) -> None:
        self._publisher = publisher
        self._postman = postman
        self._subscription = subscription

    async def send(self, payload: str) -> None:
        await self._publisher.publish(CHANNEL, payload)

    async def deliver(self, sender: str, letters: Sequence[Letter]) -> None:
        by_topic: dict[str, list[bytes]] = {}
        for topic, data in letters:
            by_topic.setdefault(topic, [sender.encode()]).append(data)
        commands = [("PUBLISH", ROOM + topic.encode(), RECORD.join(parts)) for topic, parts in by_topic.items()]
        async with asyncio.timeout(SEND_SECONDS):
            await self._postman.send_packed_command(self._postman.pack_commands(commands), check_health=False)
            for _ in commands:
                await self._postman.read_response()

    async def tune(self, opened: Collection[str], closed: Collection[str]) -> None:
        if opened:
            await self._subscription.subscribe(*(ROOM + topic.encode() for topic in opened))
        if closed:
            await self._subscription.unsubscribe(*(ROOM + topic.encode() for topic in closed))

    async def heard(self) -> AsyncIterator[str | Post]:
        connection = cast("AbstractConnection", self._subscription.connection)  # there is one: it has subscribed
        while True:
            kind, channel, data = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            if kind == b"message":
                yield data.decode() if channel == CHANNEL.encode() else _post(channel, data)
            else:
                count = self._subscription.handle_message
                await count([kind, channel, data])  # type: ignore[no-untyped-call]  # it keeps count of what is open
                if kind == b"subscribe" and channel.startswith(ROOM):
                    yield Post(channel.removeprefix(ROOM).decode())


def _post(channel: bytes, payload: bytes) -> Post:
    sender, *letters = payload.split(RECORD)
    return Post(channel.removeprefix(ROOM).decode(), sender.decode(), letters)


@asynccontextmanager
async def _line(url: str) -> AsyncIterator[_Line]:
    client = Redis.from_url(url, socket_timeout=SEND_SECONDS, max_connections=4, **OPTIONS)
    # With a time limit of its own each send would be a task.
    postman = ConnectionPool.from_url(url, socket_timeout=None, **OPTIONS).make_connection()  # type: ignore[no-untyped-call]  # the library says no types
    try:
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            await postman.connect()
            yield _Line(client, postman, subscription)
    finally:
        await postman.disconnect(nowait=True)
