"""Writes the snapshots of drafts that have edits behind them, and forgets edits that are old. Every instance does both.

Whoever edits a draft much, through REST or in a room, writes its snapshots. This is for what is left: a room whose
instance died, and drafts that rest, which need no edits beside them then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.loop import Loop
from melagent.services.drafts import COMPACT_BYTES, COMPACT_EDITS, compact
from melagent.store import drafts, edits
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 60.0
REST_SECONDS = 600.0
DRAFTS = 50
BATCH = 1_000
DAY_SECONDS = 86_400.0

log = structlog.get_logger()


class Compactor:
    """Keeps edits for `days` days, for ever with 0."""

    def __init__(self, pool: Pool, days: int) -> None:
        self._pool = pool
        self._days = days
        self.loop = Loop("compactor", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """Some snapshots and a batch of old edits; again at once when there were more."""
        async with self._pool.acquire() as conn:
            due = await drafts.to_compact(conn, REST_SECONDS, COMPACT_EDITS, COMPACT_BYTES, DRAFTS)
        done = 0
        for workflow_id in due:
            try:
                await compact(self._pool, workflow_id)
                done += 1
            except ValueError as error:  # a definition of another program: the others must not wait for it
                log.warning("draft cannot be read", workflow_id=str(workflow_id), error=str(error)[:500])
        return 0.0 if done == DRAFTS or await self._forget() == BATCH else None

    async def _forget(self) -> int:
        if not self._days:
            return 0
        async with transaction(self._pool) as conn:
            return await edits.prune(conn, self._days * DAY_SECONDS, BATCH)
