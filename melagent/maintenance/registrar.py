"""Keeps this instance in the list of instances, and takes from it those that died without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from melagent.loop import Loop
from melagent.store import instances
from melagent.store.pool import CONNECTION_LOST, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from melagent.store.instances import Identity
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 5.0
FORGET_SECONDS = 60.0

log = structlog.get_logger()


class Registrar:
    """`load` says what the instance does right now, `draining` whether it is about to stop, `key_ids` which encryption
    keys it has, the one that it seals with first.
    """

    def __init__(
        self,
        pool: Pool,
        identity: Identity,
        load: Callable[[], dict[str, Any]],
        draining: Callable[[], bool],
        key_ids: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._pool = pool
        self._identity = identity
        self._load = load
        self._draining = draining
        self._key_ids = key_ids
        self.loop = Loop("registrar", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        async with transaction(self._pool) as conn:
            await instances.keep(
                conn, self._identity, draining=self._draining(), load=self._load(), key_ids=self._key_ids()
            )
            await instances.remove_silent(conn, FORGET_SECONDS)
        return None

    async def leave(self) -> None:
        """Stop, and take this instance off the list; it would also fall off by itself."""
        await self.loop.stop()
        try:
            async with transaction(self._pool) as conn:
                await instances.remove(conn, self._identity.id)
        except CONNECTION_LOST as error:
            log.warning("instance not removed from the list", error=f"{type(error).__name__}: {error}")
