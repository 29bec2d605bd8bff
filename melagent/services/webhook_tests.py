"""Test addresses: each takes one call, on any instance, and shows it to whoever made the address.

The database holds the call; the broker's hint wakes the one who waits, and a look every second is behind it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.errors import Gone, NotFound
from melagent.services.webhook_tokens import TEST_PREFIX, hash_token, new_token
from melagent.store import webhook_tests
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from melagent.broker import Broker
    from melagent.store.pool import Pool

LISTENS_SECONDS = 600.0
LOOK_SECONDS = 1.0

TOPIC = "webhook-tests"
"""The test with this id has captured a call."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A test address, until somebody calls it or its time is up."""

    id: UUID
    token: str
    expires_at: datetime


class WebhookTests:
    """One for each instance."""

    def __init__(self, pool: Pool, broker: Broker) -> None:
        self._pool = pool
        self._broker = broker
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        broker.subscribe(TOPIC, lambda test_id: self._wake(UUID(test_id)))

    async def listen(self, trigger_id: UUID) -> Listening:
        """Make an address for one call of a trigger. NotFound when there is no such trigger."""
        test_id, token = new_id(), TEST_PREFIX + new_token()
        async with self._pool.acquire() as conn:
            expires_at = await webhook_tests.insert(conn, test_id, trigger_id, hash_token(token), LISTENS_SECONDS)
        return Listening(test_id, token, expires_at)

    async def capture(self, token: str, call: bytes) -> None:
        """Keep a call, given as JSON text. Gone when there was one before, or nobody listens any more."""
        async with self._pool.acquire() as conn:
            test_id = await webhook_tests.capture(conn, hash_token(token), call)
        if test_id is None:
            raise Gone("This test address has taken its call.")
        self._wake(test_id)
        self._broker.publish(TOPIC, str(test_id))

    async def captured(self, trigger_id: UUID, test_id: UUID, seconds: float, stopping: asyncio.Event) -> bytes | None:
        """The call that was captured, waited for at most so long, or until the process stops; null when none came yet.

        NotFound for a test that is not there, Gone when its time is up without a call.
        """
        until = time.monotonic() + seconds
        with self._woken(test_id) as woken:
            while True:
                async with self._pool.acquire() as conn:
                    found = await webhook_tests.captured(conn, trigger_id, test_id)
                if found is None:
                    raise NotFound("There is no such test.")
                call, listens = found
                left = until - time.monotonic()
                if call is not None or (listens and (left <= 0 or stopping.is_set())):
                    return call
                if not listens:
                    raise Gone("Nobody has called the test address in time; make another.")
                await _either(woken, min(left, LOOK_SECONDS))

    @contextmanager
    def _woken(self, test_id: UUID) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting.setdefault(test_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[test_id].discard(event)
            if not self._waiting[test_id]:
                del self._waiting[test_id]

    def _wake(self, test_id: UUID) -> None:
        for event in self._waiting.get(test_id, ()):
            event.set()


async def _either(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        pass
