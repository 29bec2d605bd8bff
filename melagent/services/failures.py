"""What is started for a failed run: the workflow that its own names for that, and every error trigger that watches it.

Each of them is started once for each failed run: the id of a run follows from that of the failed one, so a repetition
starts no other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson
import structlog

from melagent.domain.ids import time_of, uuid7
from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.errors import MelError, Unprocessable
from melagent.nodes.error_trigger import ErrorTriggerParams
from melagent.services.definitions import decode
from melagent.services.entries import entry_of
from melagent.services.starts import facts_of
from melagent.services.versions import ERROR, ERROR_TRIGGER
from melagent.store import runs, triggers, versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.work import Failure
    from melagent.engine.engine import Engine
    from melagent.registry import Registry
    from melagent.store.pool import Pool
    from melagent.store.rows import WorkflowTrigger

log = structlog.get_logger()


async def watchers(pool: Pool) -> list[WorkflowTrigger]:
    """The error triggers that are armed and enabled."""
    async with pool.acquire() as conn:
        return await triggers.watchers(conn)


async def see_to(engine: Engine, registry: Registry, failure: Failure, watching: Sequence[WorkflowTrigger]) -> None:
    """Start what is to be started for a failure; nothing for that of a run that was itself started for one.

    Nor for one that such a run has called, or it would go on for ever. Raises Unavailable.
    """
    async with engine.pool.acquire() as conn:
        if await runs.started_for_failure(conn, failure.run_id):
            return
    concerned = [trigger for trigger in watching if _watches(trigger, failure)]
    named = failure.handler
    for trigger in concerned:
        run_id = id_for(failure.run_id, trigger.id)
        if trigger.workflow_id == named:  # as the run's own workflow would start it
            run_id, named = id_for(failure.run_id), None
        await _start(engine, registry, failure, run_id, trigger)
    if named is not None:
        await _start_named(engine, registry, failure, named)


def id_for(run_id: UUID, trigger_id: UUID | None = None) -> UUID:
    """The id of the run that is started for the failure of this one, by a trigger or because its workflow names it."""
    seed = b"failure of " + run_id.bytes + (trigger_id.bytes if trigger_id else b"")
    return uuid7(int(time_of(run_id).timestamp() * 1000), hashlib.sha256(seed).digest()[:10])


def _watches(trigger: WorkflowTrigger, failure: Failure) -> bool:
    if failure.workflow_id is None:
        return False
    return ErrorTriggerParams.model_validate(orjson.loads(trigger.config)).watches(str(failure.workflow_id))


async def _start(engine: Engine, registry: Registry, failure: Failure, run_id: UUID, trigger: WorkflowTrigger) -> None:
    """Start what a trigger starts, if that can be."""
    async with engine.pool.acquire() as conn:
        definition = decode(await versions.definition_of(conn, trigger.version_id) or b"{}")
    try:
        facts = facts_of(definition, registry, trigger.workflow_id)
    except Unprocessable as error:
        log.warning("no run for a failure", run_id=str(failure.run_id), trigger=str(trigger.id), error=error.message)
        return
    run = NewRun(
        id=run_id,
        workflow_id=trigger.workflow_id,
        version_id=trigger.version_id,
        entry=trigger.node_id,
        input=_input(failure),
        trigger=Trigger(ERROR, trigger.id, trigger.node_id),
        **facts,
    )
    await engine.start(run)
    async with engine.pool.acquire() as conn:
        await triggers.note_fired(conn, trigger.id)


async def _start_named(engine: Engine, registry: Registry, failure: Failure, handler: UUID) -> None:
    """Start the workflow that the settings of the failed one name, if that can be."""
    try:
        run = await _named(engine, registry, failure, handler)
    except MelError as error:
        log.warning("no run for a failure", run_id=str(failure.run_id), handler=str(handler), error=error.message)
        return
    if run is not None:
        await engine.start(run)


async def _named(engine: Engine, registry: Registry, failure: Failure, handler: UUID) -> NewRun | None:
    async with engine.pool.acquire() as conn:
        version = await versions.find_current(conn, handler)
    if version is None:
        log.warning("no version is deployed for failures", run_id=str(failure.run_id), handler=str(handler))
        return None
    definition = decode(version.definition)
    entry = _entry(definition, registry)
    return NewRun(
        id=id_for(failure.run_id),
        workflow_id=handler,
        version_id=version.id,
        entry=entry,
        input=_input(failure),
        trigger=Trigger(ERROR, None, entry),
        **facts_of(definition, registry, handler),
    )


def _entry(definition: Definition, registry: Registry) -> str:
    """The only error trigger of a workflow, else where a start by hand enters."""
    found = [node.id for node in definition.nodes if node.type == ERROR_TRIGGER and not node.disabled]
    return found[0] if len(found) == 1 else entry_of(definition, registry, None)


def _input(failure: Failure) -> bytes:
    return orjson.dumps(
        {
            "run_id": str(failure.run_id),
            "workflow_id": str(failure.workflow_id) if failure.workflow_id else None,
            "version_id": str(failure.version_id),
            "error": failure.error,
        }
    )
