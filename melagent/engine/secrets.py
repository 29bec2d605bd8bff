"""The connections that the nodes of one leased run open, and the cleaning of what they give out.

A secret is asked for when a node opens it and kept no longer than the attempt. Whatever the attempt leads to (output,
error, log lines, the input of a child, a variable) is cleaned of it before anybody else sees it: the journal, those who
watch, and the process log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from melagent.errors import MelError, Unavailable
from melagent.sdk import NodeError

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.commands import StepCommand
    from melagent.domain.run import StepRecord
    from melagent.domain.secrets import Redactor, Secret
    from melagent.domain.work import Settle, WorkItem
    from melagent.engine.journal import Sink


@dataclass(slots=True)
class Secrets:
    """Opens connections for the nodes of one run."""

    item: WorkItem
    sink: Sink

    async def open(self, connection_id: UUID) -> Secret:
        """Raises NodeError, retryable when the reason may pass."""
        try:
            return await self.sink.secret(self.item.run_id, self.item.lease, connection_id)
        except MelError as error:
            raise NodeError(error.message, code=error.code, retryable=isinstance(error, Unavailable)) from error


def clean_step(redactor: Redactor, record: StepRecord) -> StepRecord:
    return replace(
        record,
        output=None if record.output is None else redactor.encoded(record.output),
        error=redactor.value(record.error),
        logs=tuple(redactor.value(record.logs)),
    )


def clean_settle(redactor: Redactor, settle: Settle) -> Settle:
    output = None if settle.output is None else redactor.encoded(settle.output)
    return replace(settle, output=output, error=redactor.value(settle.error))


def clean_command(redactor: Redactor, command: StepCommand) -> StepCommand:
    asked = command.command
    value, expected = redactor.encoded(asked.value), redactor.encoded(asked.expected)
    return replace(command, command=replace(asked, value=value, expected=expected))
