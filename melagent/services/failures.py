"""The workflow that another names for its failed runs: started once for each of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson
import structlog

from melagent.domain.ids import time_of, uuid7
from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.errors import MelError
from melagent.services.definitions import decode
from melagent.services.starts import entry_of, facts_of
from melagent.store import versions

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.work import Failure
    from melagent.engine.engine import Engine
    from melagent.registry import Registry

ERROR = "error"
"""Type of the trigger of a run that was started for the failure of another."""

log = structlog.get_logger()


async def see_to(engine: Engine, registry: Registry, failure: Failure) -> None:
    """Start what is to be started for a failure; nothing for that of a run that was itself started for one.

    The id of the run follows from that of the failed one, so a repetition starts no other. Raises Unavailable.
    """
    if failure.trigger_type == ERROR:
        return
    try:
        run = await _handler(engine, registry, failure)
    except MelError as error:
        log.warning(
            "no run for a failure", run_id=str(failure.run_id), handler=str(failure.handler), error=error.message
        )
        return
    if run is not None:
        await engine.start(run)


async def _handler(engine: Engine, registry: Registry, failure: Failure) -> NewRun | None:
    async with engine.pool.acquire() as conn:
        version = await versions.find_current(conn, failure.handler)
    if version is None:
        log.warning("no version is deployed for failures", run_id=str(failure.run_id), handler=str(failure.handler))
        return None
    definition = decode(version.definition)
    entry = entry_of(definition, registry, None)
    given = {
        "run_id": str(failure.run_id),
        "workflow_id": str(failure.workflow_id) if failure.workflow_id else None,
        "version_id": str(failure.version_id),
        "error": failure.error,
    }
    return NewRun(
        id=id_for(failure.run_id),
        workflow_id=failure.handler,
        version_id=version.id,
        entry=entry,
        input=orjson.dumps(given),
        trigger=Trigger(ERROR, None, entry),
        **facts_of(definition, registry, failure.handler),
    )


def id_for(run_id: UUID) -> UUID:
    """The id of the run that is started for the failure of this one."""
    return uuid7(int(time_of(run_id).timestamp() * 1000), hashlib.sha256(b"failure of " + run_id.bytes).digest()[:10])
