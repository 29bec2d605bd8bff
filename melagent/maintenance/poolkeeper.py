"""Keeps the pool within its limits: connections that are too old are replaced, idle ones beyond the limit closed.

Those are closed when there have been too many for a minute: it holds up whoever needs a connection at that moment, and
after a burst there may be another one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from melagent.loop import Loop
from melagent.store.pool import trim

if TYPE_CHECKING:
    from melagent.store.pool import Pool, PoolLimits

INTERVAL_SECONDS = 10.0
PASSES = 6
"""So many in a row find too many idle connections before some are closed."""


class PoolKeeper:
    def __init__(self, pool: Pool, limits: PoolLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._too_many = 0
        self._renewed_at = asyncio.get_running_loop().time()
        self.loop = Loop("poolkeeper", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= self._limits.max_lifetime_seconds:
            self._renewed_at = now
            await self._pool.expire_connections()  # each is replaced when it is next asked for
        self._too_many = self._too_many + 1 if self._pool.get_idle_size() > self._limits.max_idle else 0
        if self._too_many >= PASSES:
            await trim(self._pool, self._limits.max_idle)
        return None
