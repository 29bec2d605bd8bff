"""Hints over LISTEN and NOTIFY, on one connection of its own, never inside a write.

NOTIFY in a writing transaction would serialise all commits of the cluster. Here one task sends what has gathered: the
first message at once, then at most one statement every few milliseconds, with many messages in a payload.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.broker import Callback, Health

CHANNEL = "melagent"
MAX_PAYLOAD_BYTES = 7_900
"""PostgreSQL refuses payloads of 8,000 bytes and more."""

GATHER_SECONDS = 0.005
RECONNECT_SECONDS = 1.0
CHECK_SECONDS = 5.0
MAX_WAITING = 10_000
"""While the database is away only so many hints are kept; the polls behind them make up for the rest."""

log = structlog.get_logger()


class PostgresBroker:
    kind = "postgres"

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._name = token_hex(4)
        self._callbacks: dict[str, list[Callback]] = defaultdict(list)
        self._gap_callbacks: list[Callable[[], None]] = []
        self._outbox: list[tuple[str, str]] = []
        self._outbox_filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected = False

    @property
    def health(self) -> Health:
        return "healthy" if self._connected else "degraded"

    def publish(self, topic: str, message: str) -> None:
        if len(self._outbox) < MAX_WAITING:
            self._outbox.append((topic, message))
            self._outbox_filled.set()

    def subscribe(self, topic: str, callback: Callback) -> None:
        self._callbacks[topic].append(callback)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._gap_callbacks.append(callback)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001  # whatever it was, hints go on; polls make up for those missed
                log.warning("broker connection lost", error=f"{type(error).__name__}: {error}")
            self._connected = False
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=10)
        try:
            # A hint need not survive a crash, so its commit does not wait for the disk.
            await connection.execute("SET synchronous_commit = off")
            await connection.add_listener(CHANNEL, self._received)
            self._connected = True
            for callback in self._gap_callbacks:
                callback()
            await self._send(connection)
        finally:
            connection.terminate()

    async def _send(self, connection: asyncpg.Connection[Any]) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._outbox_filled.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")  # notices a connection that died without a word
                continue
            self._outbox_filled.clear()
            waiting, self._outbox = self._outbox, []
            for payload in pack(self._name, waiting):
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
            await asyncio.sleep(GATHER_SECONDS)

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *messages = json.loads(str(payload))
        if sender == self._name:
            return
        for topic, message in messages:
            for callback in self._callbacks[topic]:
                callback(message)


def pack(sender: str, messages: list[tuple[str, str]]) -> list[str]:
    """JSON lists of the sender and [topic, message] pairs, each of which fits a payload; equal messages go once."""
    head = json.dumps(sender)
    payloads: list[str] = []
    part, size = [head], len(head) + 2
    for message in dict.fromkeys(messages):
        text = json.dumps(message)
        if len(part) > 1 and size + len(text) + 2 > MAX_PAYLOAD_BYTES:
            payloads.append(f"[{', '.join(part)}]")
            part, size = [head], len(head) + 2
        part.append(text)
        size += len(text) + 2
    return [*payloads, f"[{', '.join(part)}]"] if len(part) > 1 else payloads
