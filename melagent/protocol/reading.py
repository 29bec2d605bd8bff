"""From messages to domain values, for whoever receives them.

Large values are not in the messages: the functions that read are given `fetched`, the texts by hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from pydantic import TypeAdapter

from melagent.domain.commands import StepCommand
from melagent.domain.links import Links
from melagent.domain.origins import allowed_origin
from melagent.domain.run import StepRecord, StepStatus, Trigger
from melagent.domain.secrets import Secret
from melagent.domain.variables import ABSENT, GLOBAL, VariableCommand
from melagent.domain.work import Caller, ChildCall, Entry, NewRun, Parent, Settle, WorkItem
from melagent.domain.work import Message as InboxMessage
from melagent.errors import BadRequest
from melagent.protocol.messages import (
    SETTLE_STATUS,
    CallOf,
    CommandOf,
    EntryOf,
    Item,
    MessageOf,
    SecretAnswer,
    SettleWith,
    Step,
    Value,
)

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

Fetched = Mapping[str, bytes]
NOTHING: Fetched = {}
ITEMS = TypeAdapter(list[Item])


def text_of(value: Value | None, fetched: Fetched = NOTHING) -> bytes | None:
    """The bytes of a value. KeyError when it travels apart and was not fetched."""
    if value is None:
        return None
    if value.hash is not None:
        return fetched[value.hash]
    return None if value.text is None else value.text.encode()


def hashes_in(entry: EntryOf) -> list[str]:
    """The hashes of the values that an entry mentions by them."""
    values = [step.output for step in entry.steps]
    values += [start.input for start in entry.starts]
    values += [value for command in entry.commands for value in (command.value, command.expected)]
    if entry.settle is not None:
        values.append(entry.settle.output)
    return [value.hash for value in values if value is not None and value.hash is not None]


def step_record(step: Step, shift: timedelta, fetched: Fetched = NOTHING) -> StepRecord:
    """The record of a step, its times shifted from the sender's clock to the reader's."""
    finished_at = step.finished_at + shift if step.finished_at else None
    return StepRecord(
        step.step_key, step.node_id, step.node_type, step.status, step.attempt, step.started_at + shift, finished_at,
        step.handle, text_of(step.output, fetched), step.error, step.logs, step.due_in, step.seq,
    )  # fmt: skip  # in the order of the fields


def child_call(
    message: CallOf, parent_run_id: UUID, caller: Caller, depth: int, fetched: Fetched = NOTHING
) -> ChildCall:
    """The call of a message. KeyError when it mentions a value that was not fetched."""
    return ChildCall(
        caller=caller,
        run_id=message.run_id,
        parent=Parent(parent_run_id, message.step_key, depth, message.attached),
        input=text_of(message.input, fetched) or b"null",
        workflow=message.workflow,
        version=message.version,
        scope=message.scope,
    )


def inbox_message(message: MessageOf, fetched: Fetched = NOTHING) -> InboxMessage:
    """KeyError when it mentions a value that was not fetched."""
    value = text_of(message.value, fetched)
    return InboxMessage(message.id, message.topic, value, message.child_id, message.status, message.error)


def step_command(message: CommandOf, workflow_id: UUID | None, fetched: Fetched = NOTHING) -> StepCommand:
    """The command of a run of this workflow. KeyError when it mentions a value that was not fetched; BadRequest."""
    if message.scope != GLOBAL and workflow_id is None:
        raise BadRequest("The run belongs to no workflow, so there are no variables of its workflow.")
    command = VariableCommand(
        GLOBAL if message.scope == GLOBAL else str(workflow_id),
        message.key,
        message.operation,
        value=text_of(message.value, fetched) or ABSENT,
        expected=text_of(message.expected, fetched) or ABSENT,
        amount=message.amount,
    )
    return StepCommand(message.step_key, command, message.handle_refused)


def entry_of(
    message: EntryOf,
    sent_at: datetime,
    fetched: Fetched = NOTHING,
    starts: tuple[NewRun, ...] = (),
    commands: tuple[StepCommand, ...] = (),
) -> Entry:
    """The entry of a message, with the runs and commands in it. KeyError when it mentions a value that was not fetched.

    Raises BadRequest for an entry that nobody could record, or read afterwards: two of its steps have the same key, a
    command has no step, a time lies outside the calendar by our clock, or a value is not JSON. Looking at a large value
    takes a while.
    """
    if len({step.step_key for step in message.steps}) < len(message.steps):
        raise BadRequest("Two steps of the entry have the same `step_key`.")
    if commands:
        _check_commands(message)
    try:
        shift = datetime.now(UTC) - sent_at
        steps = tuple([step_record(step, shift, fetched) for step in message.steps])
    except OverflowError:
        raise BadRequest("The times of the steps are too far from `sent_at`.") from None
    settle = _settle(message.settle, fetched) if message.settle else None
    entry = Entry(message.run_id, message.lease, message.seq, steps, settle, starts, message.taken, commands)
    _check_values(entry)
    return entry


def _check_commands(message: EntryOf) -> None:
    completed = [step.step_key for step in message.steps if step.status is StepStatus.COMPLETED]
    if not Counter(command.step_key for command in message.commands) <= Counter(completed):
        raise BadRequest("Each command needs a completed step of its own in the entry.")


def _check_values(entry: Entry) -> None:
    """Raise BadRequest for a value that is not JSON: its text becomes part of answers as it is."""
    for value in entry.values:
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"An output is not JSON: {error}.") from None


def _settle(message: SettleWith, fetched: Fetched) -> Settle:
    return Settle(
        status=SETTLE_STATUS[message.status],
        output=text_of(message.output, fetched),
        error=message.error,
        wake_in=message.wake_in,
        waiting_for=message.waiting_for,
        waits=message.waits,
        requires=message.requires,
    )


def work_items(data: bytes, asked_for: float) -> list[WorkItem]:
    """The work items in the answer to a claim that was sent `asked_for` seconds after its caller had asked for them.

    The input of one is null when it must be fetched by `input_hash`, its journal likewise. Raises ValidationError.
    """
    return [_work_item(item, asked_for) for item in ITEMS.validate_json(data)]


def _work_item(item: Item, asked_for: float) -> WorkItem:
    payload = item.payload
    return WorkItem(
        run_id=item.run_id,
        lease=item.lease,
        workflow_id=payload.workflow_id,
        version_id=payload.version_id,
        entry=payload.entry,
        input=None if payload.input.text is None else payload.input.text.encode(),
        input_hash=bytes.fromhex(payload.input.hash) if payload.input.hash else None,
        trigger=Trigger(payload.trigger.type, payload.trigger.id, payload.trigger.node_id),
        attempt=item.attempt,
        granted_after=item.granted_after_ms / 1000 + asked_for,
        deadline_in=payload.deadline_in,
        journal=() if payload.journal_complete else None,
        pausing=payload.pausing,
        depth=payload.depth,
        scope=payload.scope,
        required=payload.requires,
        links=Links(item.run_id, payload.link_base, bytes.fromhex(payload.link_key)) if payload.link_key else None,
    )


def secret(message: SecretAnswer) -> Secret:
    return Secret(
        id=message.id,
        name=message.name,
        type=message.type,
        fields=message.fields,
        hidden=frozenset(message.hidden),
        headers=message.headers,
        query=message.query,
        origins=tuple(map(allowed_origin, message.origins)),
    )
