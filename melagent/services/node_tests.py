"""One node of a draft, tried by itself: a run of its own on a worker, of a definition that has little else."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.definition import Definition, Edge, Node, OnError, Retry, WorkflowSettings
from melagent.domain.run import RunStatus, StepStatus
from melagent.errors import Conflict, NotFound
from melagent.services import drafts, runs
from melagent.services.definitions import decode
from melagent.services.entries import MANUAL
from melagent.services.starts import Start
from melagent.services.workflows import found, not_behind
from melagent.store import pinned
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.run import Run
    from melagent.registry import Registry
    from melagent.services.runs import Step
    from melagent.services.starts import Starts
    from melagent.store.pool import Pool

WAIT_SECONDS = 50.0
"""Less than the minute after which proxies give up."""

LEFT_ALONE_SECONDS = 90.0
"""After so long the run ends by itself, should whoever waits for it be gone."""

MOST_URGENT = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the node. `output` is JSON text; `duration_ms` is null when the node was not started."""

    success: bool
    output: bytes | None
    error: dict[str, Any] | None
    logs: tuple[dict[str, Any], ...]
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Trial:
    """Which node of which draft to try. The draft must have reached `min_revision`."""

    workflow_id: UUID
    node_id: str
    min_revision: int | None = None

    async def run(self, starts: Starts, caller: str, *given: Any) -> Outcome:
        """Run the node once, on the input given or on what is pinned to it, and wait for its end.

        There is no second attempt, and a node that has not ended after 50 seconds is stopped. Raises Unprocessable
        when the node cannot run by itself: when something is wrong with it, or it names the steps of others.
        """
        definition, node, pinned_input = await self._read(starts.pool)
        alone = by_itself(node, definition.settings, starts.registry)
        value = given[0] if given else pinned_input
        start = Start(new_id(), value, entry=alone.nodes[0].id, priority=MOST_URGENT, wait_seconds=WAIT_SECONDS)
        run_id = await starts.unlisted(f"test of {node.id}", alone, start, caller)
        run = await runs.get(starts.pool, run_id)
        if not run.status.final:
            with suppress(Conflict, NotFound):  # it ended by itself in the meantime
                await starts.engine.cancel(run_id)
        steps, _ = await runs.steps_page(starts.pool, run_id, 0, 10)
        return _outcome(run, next((step for step in steps if step.step_key == node.id), None))

    async def _read(self, pool: Pool) -> tuple[Definition, Node, Any]:
        async with pool.acquire() as conn:
            draft = await drafts.read(conn, self.workflow_id)
            not_behind(draft.revision, self.min_revision)
            definition = decode(draft.definition)
            node = found(definition.node(self.node_id), "node")
            kept = await pinned.find(conn, self.workflow_id, node.id)
        return definition, node, orjson.loads(kept.value) if kept is not None else None


def by_itself(node: Node, settings: WorkflowSettings, registry: Registry) -> Definition:
    """A definition that runs a node once and takes nothing in good part; its first node is the entry."""
    alone = node.model_copy(update={"disabled": False, "on_error": OnError.FAIL, "retry": Retry(max_attempts=1)})
    kept = WorkflowSettings(labels=settings.labels, timeout_seconds=LEFT_ALONE_SECONDS)
    node_type = registry.get(node.type)
    if node_type is not None and node_type.entry_point:
        return Definition(nodes=(alone,), settings=kept)
    start = Node(id="start" if node.id != "start" else "begin", type=MANUAL, config={"data": None})
    handle = node_type.inputs[0] if node_type is not None and node_type.inputs else "in"
    return Definition(
        nodes=(start, alone), edges=(Edge(source=start.id, target=alone.id, target_handle=handle),), settings=kept
    )


def _outcome(run: Run, step: Step | None) -> Outcome:
    if not run.status.final:
        waited = (run.waiting_for or {}).get("message")
        message = f"The node has not ended within {WAIT_SECONDS:g} s" + (f": {waited}" if waited else "")
        return _failed({"code": "timeout", "message": message})
    if step is None or step.status is StepStatus.SKIPPED:
        return _failed(run.error or {"code": "cancelled", "message": "The run was cancelled before the node started."})
    success = run.status is RunStatus.COMPLETED  # a node can end well and fail its run
    error = None if success else step.error or run.error
    return Outcome(success, step.output if success else None, error, step.logs, _milliseconds(step))


def _failed(error: dict[str, Any]) -> Outcome:
    return Outcome(success=False, output=None, error=error, logs=(), duration_ms=None)


def _milliseconds(step: Step) -> int | None:
    if step.started_at is None or step.finished_at is None:
        return None
    return round((step.finished_at - step.started_at).total_seconds() * 1000)
