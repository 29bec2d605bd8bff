"""What a loop must have come to, worked out from the durable steps of its items alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.loops import step_key
from melagent.domain.run import StepRecord, StepStatus

if TYPE_CHECKING:
    from tests.model.run import ModelRun
    from tests.simulation.workflows import Workflow

FAILED: Any = object()


def results_of_loop(run: ModelRun, workflow: Workflow, loop: str, path: tuple[int, ...], spec: Any) -> list[Any]:
    """The results in the order of the items; FAILED stands for whatever an item gives that has failed."""
    results = []
    for index in range(len(spec["items"])):
        inner = (*path, index)
        if spec["distributed"]:
            result = _result_of_child(run.steps.get(step_key(loop, inner)))
        else:
            result = _result_of_item(run, workflow, loop, inner)
        if result is not FAILED or spec["on_item_error"] == "continue":
            results.append(result)
    return results


def same(result: Any, expected: Any) -> bool:
    return set(result) == {"error"} if expected is FAILED else bool(result == expected)


def _result_of_child(step: StepRecord | None) -> Any:
    return orjson.loads(step.output or b"null") if step and step.status is StepStatus.COMPLETED else FAILED


def _result_of_item(run: ModelRun, workflow: Workflow, loop: str, path: tuple[int, ...]) -> Any:
    """The output of the only node whose output went nowhere, else those of all of them by node id."""
    inside = [node.id for node in workflow.definition.nodes if workflow.regions.loop_of[node.id] == loop]
    steps = {node: step for node in inside if (step := run.steps.get(step_key(node, path))) is not None}
    if any(step.status is StepStatus.FAILED and step.handle is None for step in steps.values()):
        return FAILED
    used = {
        edge.source
        for edge in workflow.definition.edges
        if edge.source in steps and edge.target in inside and steps[edge.source].handle == edge.source_handle
    }
    ends = {
        node: orjson.loads(step.output or b"null")
        for node, step in steps.items()
        if step.handle is not None and node not in used
    }
    return next(iter(ends.values())) if len(ends) == 1 else ends
