"""Work straight from the database, for the worker inside `server server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.domain.definition import Definition
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Forbidden, NotFound
from melagent.services.calls import Calls
from melagent.store import versions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.domain.secrets import Secret
    from melagent.domain.variables import Wanted
    from melagent.domain.work import ChildCall, Entry, Message, NewRun, Verdict, WorkItem
    from melagent.engine.engine import Engine
    from melagent.engine.lifecycle.hold import Extended
    from melagent.registry import Registry
    from melagent.services.secrets import Secrets


class DatabaseSource:
    """A `WorkSource` over the engine of this process: its journal writes share the engine's statements."""

    claims = 0

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        worker_id: str,
        offered: frozenset[str] = frozenset(),
        secrets: Secrets | None = None,
    ) -> None:
        self._engine = engine
        self._calls = Calls(engine.pool, registry)
        self._secrets = secrets
        self._worker_id = worker_id
        self._offered = offered

    def on_work(self, listener: Callable[[], None]) -> None:
        self._engine.on_work(listener)

    async def claim(self, limit: int, take: Callable[[Sequence[WorkItem]], None]) -> None:
        if items := await self._engine.claim(self._worker_id, self._offered, limit):
            take(items)

    def stop_claiming(self) -> None:
        """A claim never waits here."""

    async def load(self, item: WorkItem) -> WorkItem:
        return await self._engine.loaded(item)

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        return self._engine.recorder.submit(entry)

    async def child(self, call: ChildCall) -> NewRun:
        return await self._calls.resolve(call)

    async def recorded(self, run_id: UUID, seq: int) -> StepRecord:
        return await self._engine.recorded(run_id, seq)

    async def variables(self, _run_id: UUID, workflow_id: UUID | None, wanted: Wanted) -> dict[str, bytes]:
        return await self._engine.variables(workflow_id, wanted)

    async def secret(self, run_id: UUID, lease: UUID, connection_id: UUID) -> Secret:
        if self._secrets is None:
            raise Forbidden("This worker was given no access to secrets.")
        return await self._secrets.of_lease(self._worker_id, run_id, lease, connection_id)

    async def inbox(self, run_id: UUID) -> Sequence[Message]:
        return await self._engine.unread(run_id)

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return await self._engine.extend(leases)

    async def definition(self, version_id: UUID) -> Definition:
        text = await persistently(
            self._engine.pool, lambda conn: versions.definition_of(conn, version_id), seconds=self._engine.lease_seconds
        )
        if text is None:
            raise NotFound(f"There is no version {version_id}.")
        return Definition.model_validate_json(text)
