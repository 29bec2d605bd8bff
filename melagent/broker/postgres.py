"""Hints over LISTEN and NOTIFY, on one connection of its own, never inside a write.

NOTIFY in a writing transaction would serialise all commits of the cluster.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from melagent.broker.exchange import CHANNEL, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from melagent.broker import Broker

MAX_PAYLOAD_BYTES = 7_900
"""PostgreSQL refuses payloads of 8,000 bytes and more."""

SEND_SECONDS = 10.0


def postgres_broker(dsn: str) -> Broker:
    """A broker over PostgreSQL. The connection must not lead through a pooler that gives it to others in between."""
    return Exchange("postgres", partial(_line, dsn), MAX_PAYLOAD_BYTES)


class _Line:
    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._arrived: asyncio.Queue[str | None] = asyncio.Queue()

    async def listen(self) -> None:
        # A hint need not survive a crash, so its commit does not wait for the disk.
        await self._connection.execute("SET synchronous_commit = off")
        await self._connection.add_listener(CHANNEL, lambda *notice: self._arrived.put_nowait(notice[-1]))
        self._connection.add_termination_listener(lambda _: self._arrived.put_nowait(None))

    async def send(self, payload: str) -> None:
        await self._connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

    async def heard(self) -> AsyncIterator[str]:
        while (payload := await self._arrived.get()) is not None:
            yield payload


@asynccontextmanager
async def _line(dsn: str) -> AsyncIterator[_Line]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=SEND_SECONDS)
    try:
        line = _Line(connection)
        await line.listen()
        yield line
    finally:
        connection.terminate()
