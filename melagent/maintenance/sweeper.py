"""Deletes idempotency keys that have expired, a batch at a time, on every instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.loop import Loop
from melagent.store import run_keys
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 60.0
BATCH = 1_000


class Sweeper:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.loop = Loop("sweeper", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """One batch; again at once when it was full."""
        async with transaction(self._pool) as conn:
            swept = await run_keys.sweep(conn, BATCH)
        return 0.0 if swept >= BATCH else None
