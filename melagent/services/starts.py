"""Starting runs by hand: which version, at which node, with what input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from melagent.domain.work import Limit, NewRun
from melagent.errors import Conflict
from melagent.services import drafts
from melagent.services.definitions import decode
from melagent.services.entries import entry_of
from melagent.services.requirements import required_by
from melagent.services.versions import checked, keep_unlisted, refuse_wrong_connections
from melagent.services.workflows import found, not_behind
from melagent.store import versions, workflows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from melagent.domain.definition import Definition
    from melagent.engine.engine import Engine
    from melagent.registry import Registry
    from melagent.store.pool import Pool


@dataclass(frozen=True, slots=True)
class Start:
    """How a run is started by hand. `input` is any JSON value; the caller waits `wait_seconds` for the end.

    The worker must have the `labels`, besides those of the workflow. A run that has this id already is left as it is.
    """

    run_id: UUID
    input: Any = None
    entry: str | None = None
    priority: int | None = None
    wait_seconds: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts runs. Each method answers the id of a run that is durable."""

    pool: Pool
    engine: Engine
    registry: Registry

    async def workflow(
        self, workflow_id: UUID, which: int | str, start: Start, caller: str, min_revision: int | None = None
    ) -> UUID:
        """Start a version of a workflow: its number, `current`, or `draft` for the draft as it is now.

        Raises DraftBehind when the draft has not reached `min_revision`.
        """
        if which == "draft":
            version_id, definition = await self._draft(workflow_id, caller, min_revision)
        else:
            version_id, definition = await self._listed(workflow_id, which)
        return await self._start(workflow_id, version_id, definition, start)

    async def unlisted(self, name: str, definition: Definition, start: Start, caller: str) -> UUID:
        """Start a definition that belongs to no workflow."""
        entry_of(await self._checked(definition), self.registry, start.entry)
        version_id = await keep_unlisted(self.pool, name, definition, caller)
        return await self._start(None, version_id, definition, start)

    async def _draft(self, workflow_id: UUID, caller: str, min_revision: int | None) -> tuple[UUID, Definition]:
        async with self.pool.acquire() as conn:
            draft = await drafts.read(conn, workflow_id)
        not_behind(draft.revision, min_revision)
        definition = await self._checked(decode(draft.definition))
        return await keep_unlisted(self.pool, f"draft {draft.revision}", definition, caller), definition

    async def _checked(self, definition: Definition) -> Definition:
        """The definition if it can be run with the connections that there are; Unprocessable otherwise."""
        checked(definition, self.registry)
        async with self.pool.acquire() as conn:
            await refuse_wrong_connections(conn, definition, self.registry)
        return definition

    async def _listed(self, workflow_id: UUID, which: int | str) -> tuple[UUID, Definition]:
        async with self.pool.acquire() as conn:
            found(await workflows.find(conn, workflow_id), "workflow")
            if isinstance(which, int):
                version = found(await versions.find(conn, workflow_id, which), "version")
            elif (current := await versions.find_current(conn, workflow_id)) is not None:
                version = current
            else:
                raise Conflict("No version of this workflow is deployed; deploy one, or name a version or the draft.")
        return version.id, decode(version.definition)

    async def _start(self, workflow_id: UUID | None, version_id: UUID, definition: Definition, start: Start) -> UUID:
        run = NewRun(
            id=start.run_id,
            workflow_id=workflow_id,
            version_id=version_id,
            entry=entry_of(definition, self.registry, start.entry),
            input=orjson.dumps(start.input),
            **facts_of(definition, self.registry, workflow_id, start.labels),
        )
        if start.priority is not None:
            run = replace(run, priority=start.priority)
        if start.wait_seconds > 0:
            await self.engine.start_and_wait(run, start.wait_seconds)
        else:
            await self.engine.start(run)
        return run.id


def facts_of(
    definition: Definition, registry: Registry, workflow_id: UUID | None, labels: Iterable[str] = ()
) -> dict[str, Any]:
    """What the settings of a definition say about each of its runs. Runs of no workflow have no limit."""
    settings = definition.settings
    most = settings.max_concurrency
    return {
        "priority": settings.priority,
        "deadline_in": settings.timeout_seconds,
        "requires": required_by(definition, registry, labels),
        "on_failure": UUID(settings.error_workflow_id) if settings.error_workflow_id else None,
        "limit": Limit(workflow_id, most) if most is not None and workflow_id is not None else None,
    }
