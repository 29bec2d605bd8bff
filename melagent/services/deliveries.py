"""Deliveries: calls of webhooks that are kept to be looked at, and to be tried again.

They are noted in memory and written twice a second, many in one statement: a flood of calls that are refused costs as
little as it can, and a call that is accepted waits for nothing. A process that is killed loses what it noted last; the
runs that were started lose nothing by that.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING

from melagent.errors import NotFound
from melagent.loop import Loop
from melagent.store import deliveries
from melagent.store.pool import BAD_DATA, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

    from melagent.store.deliveries import Delivery
    from melagent.store.pool import Pool

KEPT = 200
"""Of each trigger, the newest."""

WRITE_SECONDS = 0.5
MAX_BODY_BYTES = 256 * 1024
"""A larger body is not kept."""

BATCH_BYTES = 4 * 1024 * 1024
BATCH = 200
"""So much goes into one statement."""

SECRET = re.compile(r"auth|cookie|key|pass|secret|session|signature|token", re.IGNORECASE)
"""Names of headers whose values are not kept: also of what signs a call, as it could be sent again."""


class Deliveries:
    """What this instance has noted. `note` never waits and never fails."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: dict[UUID, deque[Delivery]] = {}
        self._writing = asyncio.Lock()
        self.loop = Loop("deliveries", self.write, interval_seconds=WRITE_SECONDS)

    def note(self, delivery: Delivery) -> None:
        self._noted.setdefault(delivery.trigger_id, deque(maxlen=KEPT)).append(delivery)

    async def write(self) -> float | None:
        """Write what was noted before, and leave of each trigger the newest. What the database cannot take is kept."""
        async with self._writing:
            noted, self._noted = self._noted, {}
            if noted:
                try:
                    await self._insert(noted)
                except BaseException as error:
                    if not isinstance(error, BAD_DATA):
                        self._note_again(noted)
                    raise
        return None

    def _note_again(self, noted: Mapping[UUID, Iterable[Delivery]]) -> None:
        for trigger_id, kept in noted.items():
            self._noted[trigger_id] = deque((*kept, *self._noted.get(trigger_id, ())), maxlen=KEPT)

    async def _insert(self, noted: Mapping[UUID, Iterable[Delivery]]) -> None:
        for batch in _batches(delivery for kept in noted.values() for delivery in kept):
            async with transaction(self._pool) as conn:
                await deliveries.insert(conn, batch)
        async with transaction(self._pool) as conn:
            await deliveries.trim(conn, noted.keys(), KEPT)

    async def stop(self) -> None:
        """Write the last ones; none is noted afterwards."""
        await self.loop.stop()
        await self.write()

    async def page(self, trigger_id: UUID, before: UUID, limit: int) -> list[Delivery]:
        """The deliveries of a trigger, newest first; what others noted in the last half second may be missing."""
        await self.write()
        async with self._pool.acquire() as conn:
            return await deliveries.page(conn, trigger_id, before, limit)

    async def get(self, trigger_id: UUID, delivery_id: UUID) -> Delivery:
        await self.write()
        async with self._pool.acquire() as conn:
            found = await deliveries.find(conn, trigger_id, delivery_id)
        if found is None:
            raise NotFound("There is no such delivery; the newest are kept for some days.")
        return found


def _batches(noted: Iterable[Delivery]) -> Iterator[list[Delivery]]:
    batch: list[Delivery] = []
    size = 0
    for delivery in noted:
        if batch and (len(batch) >= BATCH or size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(delivery)
        size += len(delivery.request) + len(delivery.body or b"")
    if batch:
        yield batch
