"""Keeps eight weeks of partitions ahead, on every instance; `migrate` makes the first ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.loop import Loop
from melagent.store import partitions
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from melagent.store.pool import Pool

WEEKS_AHEAD = 8
INTERVAL_SECONDS = 3600.0

log = structlog.get_logger()


class Partitioner:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.loop = Loop("partitioner", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        async with transaction(self._pool) as conn:  # its lock time-out keeps a long reader from stalling all writers
            made = await partitions.create_ahead(conn, WEEKS_AHEAD)
        if made:
            log.info("partitions created", count=made)
        return None
