"""What a run requires of its worker, and why one that nobody can take is waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from melagent.domain.requirement import MAX_LENGTH, capabilities, meets, missing, requirement
from melagent.errors import Problem, Unprocessable
from melagent.store import instances, runs, workers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.registry import Registry
    from melagent.store.pool import Connection

WORKER_SILENT_SECONDS = 40.0
"""A remote worker is silent after this time: it may wait 30 s for work, and contacts are noted every 5 s."""

INSTANCE_SILENT_SECONDS = 15.0
"""An instance, and the worker inside it: three times the interval at which it says that it is there."""


def required_by(definition: Definition, registry: Registry, labels: Iterable[str] = ()) -> str:
    """The requirement of a run of this definition: its labels, those given, and node types that are not built in.

    Raises Unprocessable when that is more than the queue can hold.
    """
    node_types = {node.type for node in definition.nodes if not node.disabled and node.type in registry.added}
    required = requirement({*definition.settings.labels, *labels}, node_types)
    if len(required) > MAX_LENGTH:
        problem = f"Labels and node types have {len(required):,} characters together; {MAX_LENGTH:,} are allowed."
        raise Unprocessable("The run requires too much of its worker.", [Problem("labels", problem)])
    return required


@dataclass(frozen=True, slots=True)
class Offer:
    """What one worker has to offer. A `bound` one takes only runs that require something."""

    parts: frozenset[str]
    bound: bool = False


async def offers(conn: Connection) -> list[Offer]:
    """What each active worker has to offer, remote ones and those inside an instance."""
    remote = [
        Offer(capabilities(worker.labels, worker.node_types), worker.bound)
        for worker in await workers.active(conn, WORKER_SILENT_SECONDS)
    ]
    embedded = [
        Offer(frozenset(worker["offered"]))
        for instance in await instances.list_all(conn)
        if instance.silent_seconds < INSTANCE_SILENT_SECONDS
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
    if any(meets(offer.parts, required, bound=offer.bound) for offer in offered):
        return None
    return {"type": "worker", "requires": required.split(), "message": _message(required, offered)}


def _message(required: str, offered: list[Offer]) -> str:
    if not offered:
        return "no worker is connected"
    if not required:
        return "every connected worker is bound to labels, and this run requires none"
    lacking = min((missing(offer.parts, required) for offer in offered), key=len)
    labels = [part for part in lacking if not part.startswith("type:")]
    types = [part.removeprefix("type:") for part in lacking if part.startswith("type:")]
    told = [f"no worker matches label {label}" for label in labels]
    told += [f"no worker has the node type {node_type}" for node_type in types]
    return "; ".join(told)
