"""Deletes what has had its time, a batch at a time, on every instance: idempotency keys, deliveries, test addresses of
webhooks, budgets that are full again, what belongs to signing in, and old rows of the audit log. Seals tokens of
webhooks that an earlier version left in plain text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from melagent.loop import Loop
from melagent.services import webhook_tokens
from melagent.services.sessions import IDLE_SECONDS
from melagent.store import (
    audit,
    budgets,
    deliveries,
    run_keys,
    sessions,
    setup_tokens,
    sign_in_attempts,
    tickets,
    webhook_tests,
)
from melagent.store.pool import transaction
from melagent.vault import Vault

if TYPE_CHECKING:
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 60.0
BATCH = 1_000

TEST_SECONDS = 3600.0
"""How long a test address can be asked for its call after its time."""


class Sweeper:
    """Keeps deliveries for `deliveries_days` days, and the audit log for `audit_days`, for ever with 0."""

    def __init__(
        self, pool: Pool, vault: Vault | None = None, *, deliveries_days: int = 7, audit_days: int = 0
    ) -> None:
        self._pool = pool
        self._vault = vault or Vault(())
        self._deliveries_days = deliveries_days
        self._audit_days = audit_days
        self.loop = Loop("sweeper", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """One batch of each; again at once when one was full."""
        swept = [await self._calls(), await self._people(), await self._books()]
        concealed = await webhook_tokens.conceal(self._pool, self._vault)
        return 0.0 if concealed or max(swept) >= BATCH else None

    async def _calls(self) -> int:
        old = datetime.now(UTC) - timedelta(days=self._deliveries_days)
        async with transaction(self._pool) as conn:
            return max(
                await run_keys.sweep(conn, BATCH),
                await deliveries.sweep(conn, old, BATCH),
                await webhook_tests.sweep(conn, TEST_SECONDS, BATCH),
                await budgets.sweep(conn, BATCH),
            )

    async def _people(self) -> int:
        async with transaction(self._pool) as conn:
            await setup_tokens.sweep(conn)
            await tickets.sweep(conn)
            return max(await sessions.sweep(conn, IDLE_SECONDS, BATCH), await sign_in_attempts.sweep(conn, BATCH))

    async def _books(self) -> int:
        if not self._audit_days:
            return 0
        async with transaction(self._pool) as conn:
            return await audit.sweep(conn, self._audit_days, BATCH)
