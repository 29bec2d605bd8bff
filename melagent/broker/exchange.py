"""What both brokers have in common: an outbox, subscribers, and one line that is kept open, and known to be heard.

A task sends what has gathered: the first message at once, then at most every few milliseconds, many messages in one
payload. Every few seconds it sends a word to itself. When that does not come back, the subscription has gone deaf
although the connection looks well (a half-open line, a proxy that forgot us): the line is opened anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import defaultdict
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from melagent.broker import Callback, Health

CHANNEL = "melagent"
GATHER_SECONDS = 0.005
RECONNECT_SECONDS = 1.0
PING_SECONDS = 5.0
DEAF_SECONDS = 5.0
"""How long a word to ourselves may be on its way."""

MAX_WAITING = 10_000
"""While the server is away only so many hints are kept; the polls behind them make up for the rest."""

PING = "ping"

log = structlog.get_logger()


class Deaf(Exception):
    """The subscription does not hear what is sent to it."""


class Line(Protocol):
    """An open connection to whatever carries the hints."""

    async def send(self, payload: str) -> None: ...

    def heard(self) -> AsyncIterator[str]:
        """The payloads of everybody, our own included. Raises, or ends, when the connection is lost."""


class Exchange:
    """A `Broker` over lines that `open_line` opens, which raises when it cannot."""

    def __init__(
        self, kind: str, open_line: Callable[[], AbstractAsyncContextManager[Line]], max_payload_bytes: int
    ) -> None:
        self.kind = kind
        self._open_line = open_line
        self._max_payload_bytes = max_payload_bytes
        self._name = token_hex(4)
        self._callbacks: dict[str, list[Callback]] = defaultdict(list)
        self._gap_callbacks: list[Callable[[], None]] = []
        self._outbox: list[tuple[str, str]] = []
        self._outbox_filled = asyncio.Event()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._healthy = False

    @property
    def health(self) -> Health:
        return "healthy" if self._healthy else "degraded"

    def publish(self, topic: str, message: str) -> None:
        if len(self._outbox) < MAX_WAITING:
            self._outbox.append((topic, message))
            self._outbox_filled.set()

    def subscribe(self, topic: str, callback: Callback) -> None:
        self._callbacks[topic].append(callback)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._gap_callbacks.append(callback)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_connected(), name=f"broker {self.kind}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_connected(self) -> None:
        while True:
            try:
                async with self._open_line() as line:
                    await self._serve(line)
            except Exception as error:  # noqa: BLE001  # whatever it was, hints go on; polls make up for those missed
                log.warning("broker connection lost", kind=self.kind, error=f"{type(error).__name__}: {error}")
            self._healthy = False
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret

    async def _serve(self, line: Line) -> None:
        self._healthy = True
        for callback in self._gap_callbacks:
            callback()
        parts = (self._listen(line), self._send(line), self._listen_to_ourselves(line))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _end(tasks)

    async def _send(self, line: Line) -> None:
        while True:
            await self._outbox_filled.wait()
            self._outbox_filled.clear()
            waiting, self._outbox = self._outbox, []
            for payload in pack(self._name, waiting, self._max_payload_bytes):
                await line.send(payload)
            await asyncio.sleep(GATHER_SECONDS)

    async def _listen(self, line: Line) -> None:
        async for payload in line.heard():
            self._received(payload)
        raise ConnectionError("the connection was closed")

    async def _listen_to_ourselves(self, line: Line) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            self._answered.clear()
            try:
                async with asyncio.timeout(DEAF_SECONDS):
                    await line.send(json.dumps([self._name, [PING, ""]]))
                    await self._answered.wait()
            except TimeoutError:
                raise Deaf("our own message did not come back") from None

    def _received(self, payload: str) -> None:
        sender, *messages = json.loads(payload)
        if sender == self._name:
            if [PING, ""] in messages:
                self._answered.set()
            return
        for topic, message in messages:
            for callback in self._callbacks[topic]:
                callback(message)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library may have swallowed the first cancellation."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


def pack(sender: str, messages: list[tuple[str, str]], max_bytes: int) -> list[str]:
    """JSON lists of the sender and [topic, message] pairs, each below `max_bytes`; equal messages go once."""
    head = json.dumps(sender)
    payloads: list[str] = []
    part, size = [head], len(head) + 2
    for message in dict.fromkeys(messages):
        text = json.dumps(message)
        if len(part) > 1 and size + len(text) + 2 > max_bytes:
            payloads.append(f"[{', '.join(part)}]")
            part, size = [head], len(head) + 2
        part.append(text)
        size += len(text) + 2
    return [*payloads, f"[{', '.join(part)}]"] if len(part) > 1 else payloads
