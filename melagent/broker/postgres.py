"""Hints over LISTEN and NOTIFY, on one connection of its own, never inside a write.

NOTIFY in a writing transaction would serialise all commits of the cluster. All letters to rooms share one channel, many
in a payload: a channel for each room would cost a statement whenever one opens, and the server keeps no more than one
queue anyway.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from melagent.broker.exchange import CHANNEL, RECORD, ROOMS, UNIT, Exchange, Post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Sequence

    from melagent.broker import Broker
    from melagent.broker.exchange import Letter

MAX_PAYLOAD_BYTES = 7_900
"""PostgreSQL refuses payloads of 8,000 bytes and more."""

MAX_LETTER_BYTES = 7_500
"""One letter with its topic and sender fits into a payload."""

SEND_SECONDS = 10.0


def postgres_broker(dsn: str) -> Broker:
    """A broker over PostgreSQL. The connection must not lead through a pooler that gives it to others in between."""
    return Exchange("postgres", partial(_line, dsn), MAX_PAYLOAD_BYTES, MAX_LETTER_BYTES)


class _Line:
    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._arrived: asyncio.Queue[str | Post | None] = asyncio.Queue()
        self._sending = asyncio.Lock()

    async def listen(self) -> None:
        # A hint need not survive a crash, so its commit does not wait for the disk.
        await self._connection.execute("SET synchronous_commit = off")
        await self._connection.add_listener(CHANNEL, lambda *notice: self._arrived.put_nowait(notice[-1]))
        await self._connection.add_listener(ROOMS, lambda *notice: self._letters_arrived(notice[-1]))
        self._connection.add_termination_listener(lambda _: self._arrived.put_nowait(None))

    async def send(self, payload: str) -> None:
        async with self._sending:
            await self._connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

    async def deliver(self, sender: str, letters: Sequence[Letter]) -> None:
        payloads = list(packed(sender, letters))
        async with self._sending:
            await self._connection.execute("SELECT pg_notify($1, each) FROM unnest($2::text[]) each", ROOMS, payloads)

    async def tune(self, opened: Collection[str], closed: Collection[str]) -> None:  # noqa: ARG002  # all are heard
        for topic in opened:
            self._arrived.put_nowait(Post(topic))

    async def heard(self) -> AsyncIterator[str | Post]:
        while (heard := await self._arrived.get()) is not None:
            yield heard

    def _letters_arrived(self, payload: str) -> None:
        sender, *letters = payload.encode().split(RECORD)
        for letter in letters:
            topic, _, data = letter.partition(UNIT)
            self._arrived.put_nowait(Post(topic.decode(), sender.decode(), (data,)))


def packed(sender: str, letters: Sequence[Letter]) -> Iterator[str]:
    """Payloads below the limit of the server, each with its sender and as many letters as fit."""
    head = sender.encode()
    part, size = [head], len(head)
    for topic, data in letters:
        letter = topic.encode() + UNIT + data
        if len(part) > 1 and size + len(letter) + 1 > MAX_PAYLOAD_BYTES:
            yield RECORD.join(part).decode()
            part, size = [head], len(head)
        part.append(letter)
        size += len(letter) + 1
    yield RECORD.join(part).decode()


@asynccontextmanager
async def _line(dsn: str) -> AsyncIterator[_Line]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=SEND_SECONDS)
    try:
        line = _Line(connection)
        await line.listen()
        yield line
    finally:
        connection.terminate()
