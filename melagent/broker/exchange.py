"""What both brokers have in common: two outboxes, subscribers, and one line that is kept open, and known to be heard.

A task sends the hints that have gathered: the first at once, then at most every few milliseconds, many in one payload.
Another sends the letters to rooms: what gathers while one sending is under way leaves with the next, so that an idle
line waits for nothing and a busy one sends fuller. Every few seconds it sends a word to itself. When that does not come
back, the subscription has gone deaf although the connection looks well (a half-open line, a proxy that forgot us): the
line is opened anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from melagent.broker import Callback, Health, Receiver

CHANNEL = "melagent"
ROOMS = "melagent_rooms"
"""What channels of letters are called, or begin with."""

RECORD, UNIT = b"\x1e", b"\x1f"
"""Separate letters, and the topic of a letter from its text."""

GATHER_SECONDS = 0.005
RECONNECT_SECONDS = 1.0
PING_SECONDS = 5.0
DEAF_SECONDS = 5.0
"""How long a word to ourselves may be on its way."""

MAX_WAITING = 10_000
"""While the server is away only so many hints are kept; the polls behind them make up for the rest."""

MAX_LETTERS = 20_000
"""The same for letters to rooms, which are read from the table when they were lost."""

CONFIRM_SECONDS = 2.0
"""How long opening a topic waits for the server. The comparison of rooms with the table makes up for a lost one."""

PING = "ping"

Letter: TypeAlias = tuple[str, bytes]
"""A topic, and JSON text: it has no control characters, so these separate letters in a payload."""

log = structlog.get_logger()


class Deaf(Exception):
    """The subscription does not hear what is sent to it."""


@dataclass(slots=True)
class Post:
    """Letters that one sender has sent to a topic; with none it confirms that the topic is open."""

    topic: str
    sender: str = ""
    letters: Sequence[bytes] = ()


class Line(Protocol):
    """An open connection to whatever carries the hints."""

    async def send(self, payload: str) -> None: ...

    async def deliver(self, sender: str, letters: Sequence[Letter]) -> None:
        """Send letters, those to one topic in their order."""

    async def tune(self, opened: Collection[str], closed: Collection[str]) -> None:
        """Hear letters to other topics than before. Each that is opened is confirmed by a `Post` without letters."""

    def heard(self) -> AsyncIterator[str | Post]:
        """The payloads of everybody, our own included. Raises, or ends, when the connection is lost."""


class Exchange:
    """A `Broker` over lines that `open_line` opens, which raises when it cannot."""

    def __init__(
        self,
        kind: str,
        open_line: Callable[[], AbstractAsyncContextManager[Line]],
        max_payload_bytes: int,
        max_letter_bytes: int,
    ) -> None:
        self.kind = kind
        self._open_line = open_line
        self._max_payload_bytes = max_payload_bytes
        self._max_letter_bytes = max_letter_bytes
        self._name = token_hex(4)
        self._callbacks: dict[str, list[Callback]] = defaultdict(list)
        self._gap_callbacks: list[Callable[[], None]] = []
        self._outbox: list[tuple[str, str]] = []
        self._outbox_filled = asyncio.Event()
        self._answered = asyncio.Event()
        self._receivers: dict[str, Receiver] = {}
        self._letters: list[Letter] = []
        self._letters_there = asyncio.Event()
        self._retuned: set[str] = set()
        self._to_tune = asyncio.Event()
        self._unconfirmed: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._healthy = False

    @property
    def health(self) -> Health:
        return "healthy" if self._healthy else "degraded"

    def publish(self, topic: str, message: str) -> None:
        if len(self._outbox) < MAX_WAITING:
            self._outbox.append((topic, message))
            self._outbox_filled.set()

    def announce(self, topic: str, message: str) -> None:
        self.publish(topic, message)
        self._tell(topic, message)

    def subscribe(self, topic: str, callback: Callback) -> None:
        self._callbacks[topic].append(callback)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._gap_callbacks.append(callback)

    async def open(self, topic: str, receive: Receiver) -> None:
        self._receivers[topic] = receive
        if not self._healthy:
            return
        confirmed = self._unconfirmed.setdefault(topic, asyncio.Event())
        self._retune(topic)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                await confirmed.wait()

    def close(self, topic: str) -> None:
        if self._receivers.pop(topic, None) is not None:
            self._retune(topic)

    def send(self, topic: str, data: bytes, *, instead: bytes | None = None, here: bool = False) -> None:
        if here and topic in self._receivers:
            self._receivers[topic](data)
        letter = data if len(data) <= self._max_letter_bytes else instead
        if letter is not None and len(self._letters) < MAX_LETTERS:
            self._letters.append((topic, letter))
            self._letters_there.set()

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
            self._confirm_all()
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret

    async def _serve(self, line: Line) -> None:
        self._healthy = True
        await line.tune(self._receivers.keys(), ())
        for callback in self._gap_callbacks:
            callback()
        parts = (
            self._listen(line),
            self._send(line),
            self._deliver(line),
            self._tune(line),
            self._listen_to_ourselves(line),
        )
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

    async def _deliver(self, line: Line) -> None:
        while True:
            await self._letters_there.wait()
            self._letters_there.clear()
            waiting, self._letters = self._letters, []
            await line.deliver(self._name, waiting)

    async def _tune(self, line: Line) -> None:
        while True:
            await self._to_tune.wait()
            self._to_tune.clear()
            changed, self._retuned = self._retuned, set()
            opened = changed & self._receivers.keys()
            await line.tune(opened, changed - opened)

    def _retune(self, topic: str) -> None:
        self._retuned.add(topic)
        self._to_tune.set()

    def _confirm_all(self) -> None:
        """Let nobody wait for a line that is lost."""
        for confirmed in self._unconfirmed.values():
            confirmed.set()
        self._unconfirmed.clear()

    async def _listen(self, line: Line) -> None:
        async for heard in line.heard():
            if isinstance(heard, Post):
                self._hand_out(heard)
            else:
                self._received(heard)
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
            self._tell(topic, message)

    def _tell(self, topic: str, message: str) -> None:
        for callback in self._callbacks[topic]:
            callback(message)

    def _hand_out(self, post: Post) -> None:
        if not post.letters:
            if (confirmed := self._unconfirmed.pop(post.topic, None)) is not None:
                confirmed.set()
        elif post.sender != self._name and (receive := self._receivers.get(post.topic)) is not None:
            for letter in post.letters:
                receive(letter)


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
