"""The variables that one run sees, and the changes that its steps ask for.

Those of the run itself follow from its journal: the recorded results of `variable_set` steps, in the order of their
recording. So a change is made when its step is recorded, branches that run side by side see each other's changes in
that order, and a run that is resumed has what was durable. All others are asked for, and changed by commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from melagent.domain.commands import StepCommand, with_result
from melagent.domain.run import StepRecord, StepStatus
from melagent.domain.variables import (
    GLOBAL,
    MAX_IN_SCOPE,
    NO_VARIABLE,
    RUN,
    Refusal,
    VariableCommand,
    VariableOperation,
    VariableResult,
    Wanted,
    execute,
    in_range,
    is_key,
)
from melagent.engine.values import encode
from melagent.errors import MelError, Unavailable
from melagent.sdk import NodeError

if TYPE_CHECKING:
    from melagent.domain.work import WorkItem
    from melagent.engine.compiled import CompiledVersion
    from melagent.engine.journal import Sink
    from melagent.sdk import SetVariable

SET_TYPE = "variable_set"
"""The only node type that changes variables of the run: by its records they are found again."""


class Variables:
    """The variables of one leased run."""

    def __init__(self, item: WorkItem, version: CompiledVersion, sink: Sink) -> None:
        self._item = item
        self._sink = sink
        self._own: dict[str, VariableResult] = {}
        for record in sorted(item.journal or (), key=lambda step: step.seq):
            if record.node_type == SET_TYPE and record.status is StepStatus.COMPLETED:
                node = version.nodes.get(record.node_id)
                if node is not None and not node.node.disabled:
                    self._take_back(orjson.loads(record.output or b"{}"))

    async def read(self, wanted: Wanted) -> dict[str, bytes]:
        """JSON texts by key: what the run has set hides the workflow's, which hides the global. Raises NodeError."""
        own: dict[str, bytes] = {}
        if wanted.scope in (None, RUN):
            own = {key: now.value for key, now in self._own.items() if now.value is not None and wanted.includes(key)}
        return await self._shared(wanted, own) | own

    def execute(self, step: StepRecord, command: StepCommand) -> StepRecord:
        """Change a variable of the run; the record of the step with the result. Call it when the step is recorded."""
        key = command.command.key
        present = self._own.get(key, NO_VARIABLE)
        result = execute(command.command, present)
        if present.value is None and result.value is not None and len(self._own) >= MAX_IN_SCOPE:
            result = VariableResult(None, 0, Refusal.TOO_MANY)
        if result.ok:
            self._keep(key, result)
        return with_result(step, command, result)

    async def _shared(self, wanted: Wanted, own: dict[str, bytes]) -> dict[str, bytes]:
        keys = wanted.keys
        if keys is not None:
            keys = frozenset(key for key in keys if key not in own and is_key(key))
        nothing_fits = wanted.prefix != "" and not is_key(wanted.prefix)
        if wanted.scope == RUN or keys == frozenset() or nothing_fits:
            return {}
        wanted = Wanted(keys, wanted.prefix, wanted.scope)
        try:
            return await self._sink.variables(self._item.run_id, self._item.workflow_id, wanted)
        except MelError as error:
            raise NodeError(error.message, code=error.code, retryable=isinstance(error, Unavailable)) from error

    def _take_back(self, output: dict[str, object]) -> None:
        """A recorded result: the variable as it was then."""
        if output["scope"] == RUN:
            revision = int(str(output["revision"]))
            value = orjson.dumps(output["value"]) if revision else None
            self._keep(str(output["key"]), VariableResult(value, revision))

    def _keep(self, key: str, now: VariableResult) -> None:
        if now.value is None:
            self._own.pop(key, None)
        else:
            self._own[key] = now


def command_of(outcome: SetVariable, item: WorkItem) -> VariableCommand:
    """What a node asks for, as a command. Raises NodeError for what no variable can be."""
    if not is_key(outcome.key):
        raise NodeError(Refusal.BAD_NAME.reason, code=Refusal.BAD_NAME, retryable=False)
    if not in_range(outcome.amount):
        message = "`amount` is not finite, or a whole number of more than 64 bits."
        raise NodeError(message, code=Refusal.OUT_OF_RANGE, retryable=False)
    scope: str = outcome.scope
    if scope not in (RUN, GLOBAL):
        if item.workflow_id is None:
            raise NodeError("This run belongs to no workflow.", code="no_workflow", retryable=False)
        scope = str(item.workflow_id)
    return VariableCommand(
        scope,
        outcome.key,
        VariableOperation(outcome.operation),
        value=encode(outcome.value),
        expected=encode(outcome.expected),
        amount=outcome.amount,
    )
