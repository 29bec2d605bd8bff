"""Brings stored secrets under the newest encryption key that all instances have, on every instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.loop import Loop
from melagent.services import keyring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from melagent.store.pool import Pool
    from melagent.vault import Vault

INTERVAL_SECONDS = 5.0

log = structlog.get_logger()


class Rekeyer:
    """`read_keys` gives the keys anew for each pass: a file of keys may have got one more.

    `changed` is called when another key is sealed with from now on: whoever ends a rotation has to know.
    """

    def __init__(
        self, pool: Pool, vault: Vault, read_keys: Callable[[], Sequence[bytes]], changed: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._read_keys = read_keys
        self._changed = changed
        self.loop = Loop("rekeyer", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        await self.agree()
        async with self._pool.acquire() as conn:
            moved = await keyring.rewrap(conn, self._vault)
        if moved:
            log.info("secrets re-encrypted", count=moved, key_id=self._vault.sealing_id)
        return None

    async def agree(self) -> None:
        """Settle which key to seal under."""
        announced = self._vault.announced
        self._vault.use(self._read_keys())
        async with self._pool.acquire() as conn:
            await keyring.agree(conn, self._vault)
        if self._vault.announced != announced:
            self._changed()
