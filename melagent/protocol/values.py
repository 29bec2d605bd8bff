"""Between messages and domain values.

Large values are not in the messages: whoever sends asks `large_values` what to send apart, whoever receives gives
`fetched`, the texts by hash, to the functions that read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from pydantic import TypeAdapter

from melagent.domain.commands import StepCommand
from melagent.domain.links import Links
from melagent.domain.origins import allowed_origin
from melagent.domain.run import RunStatus, StepRecord, StepStatus, Trigger
from melagent.domain.secrets import Secret
from melagent.domain.variables import ABSENT, GLOBAL, VariableCommand
from melagent.domain.work import Caller, ChildCall, Entry, NewRun, Parent, Settle, WorkItem
from melagent.domain.work import Message as InboxMessage
from melagent.errors import BadRequest
from melagent.protocol.messages import (
    INLINE_BYTES,
    SETTLE_STATUS,
    CallOf,
    CommandOf,
    EntryOf,
    Item,
    MessageOf,
    Payload,
    SecretAnswer,
    Settled,
    SettleWith,
    Step,
    TriggerOf,
    Value,
)

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

Fetched = Mapping[str, bytes]
NOTHING: Fetched = {}
ITEMS = TypeAdapter(list[Item])
SETTLE_WORD: dict[RunStatus, Settled] = {status: word for word, status in SETTLE_STATUS.items()}


def value_of(data: bytes | None) -> Value | None:
    """A value as it is mentioned: itself, or its hash and size."""
    if data is None:
        return None
    if len(data) <= INLINE_BYTES:
        return Value(text=data.decode())
    return Value(hash=hashlib.sha256(data).hexdigest(), size=len(data))


def text_of(value: Value | None, fetched: Fetched = NOTHING) -> bytes | None:
    """The bytes of a value. KeyError when it travels apart and was not fetched."""
    if value is None:
        return None
    if value.hash is not None:
        return fetched[value.hash]
    return None if value.text is None else value.text.encode()


def values_in(entry: EntryOf) -> Iterator[Value]:
    """The values that an entry mentions by hash."""
    outputs = [*(step.output for step in entry.steps), *(start.input for start in entry.starts)]
    outputs += [value for command in entry.commands for value in (command.value, command.expected)]
    if entry.settle is not None:
        outputs.append(entry.settle.output)
    return (value for value in outputs if value is not None and value.hash is not None)


def large_values(entry: Entry) -> dict[str, bytes]:
    """The values of an entry that travel apart, by hash."""
    large = [output for output in _outputs(entry) if len(output) > INLINE_BYTES]
    return {hashlib.sha256(output).hexdigest(): output for output in large}


def _outputs(entry: Entry) -> Iterator[bytes]:
    outputs = [*(step.output for step in entry.steps), *(start.input for start in entry.starts)]
    outputs += [value for each in entry.commands for value in (each.command.value, each.command.expected)]
    if entry.settle is not None:
        outputs.append(entry.settle.output)
    return (output for output in outputs if output is not None)


def step_message(record: StepRecord) -> Step:
    return Step.model_construct(
        step_key=record.step_key,
        node_id=record.node_id,
        node_type=record.node_type,
        status=record.status,
        attempt=record.attempt,
        seq=record.seq,
        started_at=record.started_at,
        finished_at=record.finished_at,
        handle=record.handle,
        output=value_of(record.output),
        error=record.error,
        logs=record.logs,
        due_in=record.due_in,
    )


def stored_step(record: StepRecord, digest: bytes | None) -> Step:
    """A recorded step whose output, when it is a large one, is named by its hash."""
    step = step_message(record)
    return step if digest is None else step.model_copy(update={"output": Value(hash=digest.hex())})


def step_record(step: Step, shift: timedelta, fetched: Fetched = NOTHING) -> StepRecord:
    """The record of a step, its times shifted from the sender's clock to the reader's."""
    return StepRecord(
        step_key=step.step_key,
        node_id=step.node_id,
        node_type=step.node_type,
        status=step.status,
        attempt=step.attempt,
        started_at=step.started_at + shift,
        finished_at=step.finished_at + shift if step.finished_at else None,
        handle=step.handle,
        output=text_of(step.output, fetched),
        error=step.error,
        logs=step.logs,
        due_in=step.due_in,
        seq=step.seq,
    )


def entry_message(entry: Entry) -> EntryOf:
    return EntryOf.model_construct(
        run_id=entry.run_id,
        lease=entry.lease,
        seq=entry.seq,
        steps=tuple(step_message(step) for step in entry.steps),
        starts=tuple(_start_message(run, run.parent) for run in entry.starts if run.parent),
        taken=entry.taken,
        commands=tuple(map(_command_message, entry.commands)),
        settle=_settle_message(entry.settle) if entry.settle else None,
    )


def _start_message(run: NewRun, parent: Parent) -> CallOf:
    """A run that starts, named by the version that the server has chosen for it."""
    return CallOf.model_construct(
        run_id=run.id,
        step_key=parent.step_key,
        attached=parent.attached,
        workflow=None if run.scope else str(run.workflow_id),
        version=None if run.scope else run.version_id,
        scope=run.scope,
        input=value_of(run.input) or Value(text="null"),
    )


def call_message(call: ChildCall) -> CallOf:
    """A call as the server is asked about it: what it is given is of no concern yet."""
    return CallOf.model_construct(
        run_id=call.run_id,
        step_key=call.parent.step_key,
        attached=call.parent.attached,
        workflow=call.workflow,
        version=call.version,
        scope=call.scope,
        input=Value(text="null"),
    )


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


def message_message(message: InboxMessage) -> MessageOf:
    return MessageOf.model_construct(
        id=message.id,
        topic=message.topic,
        value=value_of(message.value),
        child_id=message.child_id,
        status=message.status,
        error=message.error,
    )


def inbox_message(message: MessageOf, fetched: Fetched = NOTHING) -> InboxMessage:
    """KeyError when it mentions a value that was not fetched."""
    value = text_of(message.value, fetched)
    return InboxMessage(message.id, message.topic, value, message.child_id, message.status, message.error)


def _command_message(step_command: StepCommand) -> CommandOf:
    command = step_command.command
    return CommandOf.model_construct(
        step_key=step_command.step_key,
        scope="global" if command.scope == GLOBAL else "workflow",
        key=command.key,
        operation=command.operation,
        value=value_of(command.value),
        expected=value_of(command.expected),
        amount=command.amount,
        handle_refused=step_command.handle_refused,
    )


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


def _settle_message(settle: Settle) -> SettleWith:
    return SettleWith.model_construct(
        status=SETTLE_WORD[settle.status],
        output=value_of(settle.output),
        error=settle.error,
        wake_in=settle.wake_in,
        waiting_for=settle.waiting_for,
        waits=settle.waits,
        requires=settle.requires,
    )


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
    completed = [step.step_key for step in message.steps if step.status is StepStatus.COMPLETED]
    if not Counter(command.step_key for command in commands) <= Counter(completed):
        raise BadRequest("Each command needs a completed step of its own in the entry.")
    try:
        shift = datetime.now(UTC) - sent_at
        steps = tuple(step_record(step, shift, fetched) for step in message.steps)
    except OverflowError:
        raise BadRequest("The times of the steps are too far from `sent_at`.") from None
    settle = _settle(message.settle, fetched) if message.settle else None
    entry = Entry(message.run_id, message.lease, message.seq, steps, settle, starts, message.taken, commands)
    _check_values(entry)
    return entry


def _check_values(entry: Entry) -> None:
    """Raise BadRequest for a value that is not JSON: its text becomes part of answers as it is."""
    for output in _outputs(entry):
        try:
            orjson.loads(output)
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


def item_message(item: WorkItem) -> Item:
    """A work item as it is sent: the journal, and a large input, are fetched apart."""
    value = Value(hash=item.input_hash.hex()) if item.input_hash else value_of(item.input)
    payload = Payload.model_construct(
        workflow_id=item.workflow_id,
        version_id=item.version_id,
        entry=item.entry,
        input=value or Value(text="null"),
        trigger=TriggerOf.model_construct(type=item.trigger.type, id=item.trigger.id, node_id=item.trigger.node_id),
        journal=(),
        journal_complete=item.journal is not None,
        variables={},
        deadline_in=item.deadline_in,
        pausing=item.pausing,
        depth=item.depth,
        scope=item.scope,
        requires=item.required,
        link_base=item.links.base if item.links else "",
        link_key=item.links.key.hex() if item.links else None,
        traceparent=None,
    )
    return Item.model_construct(
        id=item.run_id,
        type="run",
        run_id=item.run_id,
        lease=item.lease,
        granted_after_ms=item.granted_after * 1000,
        attempt=item.attempt,
        payload=payload,
    )


def items_answer(items: Iterable[Item]) -> bytes:
    """The JSON array of items that a claim answers."""
    return ITEMS.dump_json(list(items))


def items_of(data: bytes) -> list[Item]:
    """The items in the answer to a claim. Raises pydantic's ValidationError."""
    return ITEMS.validate_json(data)


def work_item(item: Item) -> WorkItem:
    """The work item of a message. Its input is null when it must be fetched by `input_hash`, its journal likewise."""
    payload = item.payload
    return WorkItem(
        run_id=item.run_id,
        lease=item.lease,
        workflow_id=payload.workflow_id,
        version_id=payload.version_id,
        entry=payload.entry,
        input=text_of(Value(text=payload.input.text)),
        input_hash=bytes.fromhex(payload.input.hash) if payload.input.hash else None,
        trigger=Trigger(payload.trigger.type, payload.trigger.id, payload.trigger.node_id),
        attempt=item.attempt,
        granted_after=item.granted_after_ms / 1000,
        deadline_in=payload.deadline_in,
        journal=() if payload.journal_complete else None,
        pausing=payload.pausing,
        depth=payload.depth,
        scope=payload.scope,
        required=payload.requires,
        links=Links(item.run_id, payload.link_base, bytes.fromhex(payload.link_key)) if payload.link_key else None,
    )


def secret_message(secret: Secret) -> SecretAnswer:
    return SecretAnswer(
        id=secret.id,
        name=secret.name,
        type=secret.type,
        fields=dict(secret.fields),
        hidden=tuple(sorted(secret.hidden)),
        headers=dict(secret.headers),
        query=dict(secret.query),
        origins=tuple(map(str, secret.origins)),
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
