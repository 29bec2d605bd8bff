"""What a run requires of its worker, and why one that nobody can take is waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from melagent.domain.requirement import meets, missing, requirement
from melagent.store import instances, runs, workers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.registry import Registry
    from melagent.store.pool import Connection

ACTIVE_SECONDS = 30.0
"""A worker that was heard of within this time is active: twice the lease, whose heartbeats come more often."""


def required_by(definition: Definition, registry: Registry, labels: Iterable[str] = ()) -> str:
    """The requirement of a run of this definition: its labels, those given, and node types that are not built in."""
    added = set(registry.added())
    node_types = {node.type for node in definition.nodes if not node.disabled and node.type in added}
    return requirement({*definition.settings.labels, *labels}, node_types)


async def offers(conn: Connection) -> list[frozenset[str]]:
    """What each active worker has to offer, remote ones and those inside an instance."""
    remote = [
        frozenset(worker.labels) | {f"type:{node_type}" for node_type in worker.node_types}
        for worker in await workers.list_all(conn)
        if worker.silent_seconds < ACTIVE_SECONDS and not worker.draining
    ]
    embedded = [
        frozenset(worker["offered"])
        for instance in await instances.list_all(conn)
        if instance.silent_seconds < ACTIVE_SECONDS
        and not instance.draining
        and (worker := instance.load.get("worker"))
    ]
    return remote + embedded


async def waiting_for_worker(conn: Connection, run_id: UUID) -> dict[str, Any] | None:
    """Why a free run waits, when no active worker can take it; null when one can, or the run is not free."""
    required = await runs.free_requirement(conn, run_id)
    if required is None:
        return None
    offered = await offers(conn)
    if any(meets(offer, required) for offer in offered):
        return None
    return {"type": "worker", "requires": required.split(), "message": _message(required, offered)}


def _message(required: str, offered: list[frozenset[str]]) -> str:
    if not offered:
        return "no worker is connected"
    lacking = min((missing(offer, required) for offer in offered), key=len)
    labels = [part for part in lacking if not part.startswith("type:")]
    types = [part.removeprefix("type:") for part in lacking if part.startswith("type:")]
    told = [f"no worker matches label {label}" for label in labels]
    told += [f"no worker has the node type {node_type}" for node_type in types]
    return "; ".join(told)
