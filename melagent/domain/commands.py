"""Commands of steps: changes of variables that are made by the very write that records their step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.run import StepRecord, StepStatus
from melagent.domain.variables import GLOBAL, RUN, Refusal

if TYPE_CHECKING:
    from melagent.domain.variables import VariableCommand, VariableResult


@dataclass(frozen=True, slots=True)
class StepCommand:
    """The command of the completed step `step_key`, whose output its result becomes.

    When it is refused the step fails, and the run goes on at the output `handle_refused`; when that is null it fails.
    """

    step_key: str
    command: VariableCommand
    handle_refused: str | None = None


def with_result(step: StepRecord, command: StepCommand, result: VariableResult) -> StepRecord:
    """The record of a step whose command has been executed.

    A compare-and-set that comes second is a success whose `ok` is false; whatever else is refused fails the step.
    """
    if result.refusal in (None, Refusal.NOT_EQUAL):
        return replace(step, output=_output(command.command, result))
    key, reason = command.command.key, result.refusal.reason
    error = {"code": str(result.refusal), "message": f"The variable {key!r} was not changed. {reason}",
             "node_id": step.node_id}  # fmt: skip  # the parts of an error
    handle = command.handle_refused
    output = None if handle is None else orjson.dumps({"error": error})
    return replace(step, status=StepStatus.FAILED, handle=handle, output=output, error=error)


def _output(command: VariableCommand, result: VariableResult) -> bytes:
    """The variable as it is after the command, as JSON text."""
    value: dict[str, Any] = {
        "key": command.key,
        "scope": command.scope if command.scope in (GLOBAL, RUN) else "workflow",
        "ok": result.ok,
        "value": orjson.Fragment(result.value if result.value is not None else b"null"),
        "revision": result.revision,
    }
    return orjson.dumps(value)
