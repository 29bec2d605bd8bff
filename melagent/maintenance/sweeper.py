"""Deletes what has had its time, a batch at a time, on every instance: idempotency keys, deliveries, test addresses of
webhooks, and budgets that are full again. Seals tokens of webhooks that an earlier version left in plain text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from melagent.loop import Loop
from melagent.services import webhook_tokens
from melagent.store import budgets, deliveries, run_keys, webhook_tests
from melagent.store.pool import transaction
from melagent.vault import Vault

if TYPE_CHECKING:
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 60.0
BATCH = 1_000

TEST_SECONDS = 3600.0
"""How long a test address can be asked for its call after its time."""


class Sweeper:
    """Deliveries are kept for `deliveries_days` days."""

    def __init__(self, pool: Pool, deliveries_days: int = 7, vault: Vault | None = None) -> None:
        self._pool = pool
        self._deliveries_days = deliveries_days
        self._vault = vault or Vault(())
        self.loop = Loop("sweeper", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """One batch of each; again at once when one was full."""
        old = datetime.now(UTC) - timedelta(days=self._deliveries_days)
        async with transaction(self._pool) as conn:
            swept = [
                await run_keys.sweep(conn, BATCH),
                await deliveries.sweep(conn, old, BATCH),
                await webhook_tests.sweep(conn, TEST_SECONDS, BATCH),
                await budgets.sweep(conn, BATCH),
            ]
        concealed = await webhook_tokens.conceal(self._pool, self._vault)
        return 0.0 if concealed or max(swept) >= BATCH else None
