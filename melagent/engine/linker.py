"""The approval links of runs, for whoever holds a run or may edit it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from melagent.domain.links import SEAL_BYTES, Links, key_of
from melagent.engine.lifecycle.persist import persistently
from melagent.store import server_keys

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Pool

NAME = "resume"
GIVE_UP_SECONDS = 5.0


class Linker:
    """Reads the key that all instances share once, when it is first needed. Links begin with `base`."""

    def __init__(self, pool: Pool, base: str) -> None:
        self._pool = pool
        self._base = base.rstrip("/")
        self._server_key: bytes | None = None

    async def of(self, run_id: UUID, base: str | None = None) -> Links:
        """Unavailable when the database stays away for 5 s."""
        if self._server_key is None:
            candidate = secrets.token_bytes(SEAL_BYTES)
            self._server_key = await persistently(
                self._pool, lambda conn: server_keys.shared(conn, NAME, candidate), seconds=GIVE_UP_SECONDS
            )
        return self._links(run_id, base, self._server_key)

    def known(self, run_id: UUID) -> Links | None:
        """The same without waiting: null as long as the key was not read."""
        return self._links(run_id, None, self._server_key) if self._server_key is not None else None

    def _links(self, run_id: UUID, base: str | None, server_key: bytes) -> Links:
        return Links(run_id, self._base if base is None else base, key_of(server_key, run_id))
