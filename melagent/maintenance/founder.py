"""Makes the first administrator as the settings say, on every instance: at the start, or when a schema has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.loop import Loop
from melagent.services import first_run

if TYPE_CHECKING:
    from melagent.services.passwords import Hashing
    from melagent.store.pool import Pool

INTERVAL_SECONDS = 1.0
REST_SECONDS = 3600.0

log = structlog.get_logger()


class Founder:
    """One pass that succeeds is enough; the loop then rests."""

    def __init__(self, pool: Pool, hashing: Hashing, email: str, password: str) -> None:
        self._pool = pool
        self._hashing = hashing
        self._email = email
        self._password = password
        self._done = False
        self.loop = Loop("founder", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        if not self._done:
            if await first_run.from_settings(self._pool, self._hashing, self._email, self._password):
                log.info("first administrator made", email=self._email)
            self._done = True
        return REST_SECONDS
