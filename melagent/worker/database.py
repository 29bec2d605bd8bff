"""Work straight from the database, for the worker inside `server server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.domain.definition import Definition
from melagent.engine import metrics
from melagent.engine.lifecycle.claim import claim
from melagent.engine.lifecycle.hold import extend
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import NotFound
from melagent.store import versions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from melagent.domain.work import Entry, Verdict, WorkItem
    from melagent.engine.engine import Engine


class DatabaseSource:
    """A `WorkSource` over the engine of this process: its journal writes share the engine's statements."""

    def __init__(self, engine: Engine, worker_id: str) -> None:
        self._engine = engine
        self._worker_id = worker_id

    def on_work(self, listener: Callable[[], None]) -> None:
        self._engine.on_work(listener)

    async def claim(self, limit: int) -> list[WorkItem]:
        with metrics.CLAIM_SECONDS.time():
            return await claim(self._engine.pool, self._worker_id, limit, self._engine.lease_seconds)

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        return self._engine.recorder.submit(entry)

    async def extend(self, leases: Mapping[UUID, UUID]) -> set[UUID]:
        return await extend(self._engine.pool, leases, self._engine.lease_seconds)

    async def definition(self, version_id: UUID) -> Definition:
        text = await persistently(
            self._engine.pool, lambda conn: versions.definition_of(conn, version_id), seconds=self._engine.lease_seconds
        )
        if text is None:
            raise NotFound(f"There is no version {version_id}.")
        return Definition.model_validate_json(text)
