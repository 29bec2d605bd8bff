"""From domain values to messages, for whoever sends them: plain objects, as the models of `messages` describe them.

The models themselves would be made only to be taken apart again, which takes four times as long. Large values are not
in the messages: whoever sends asks `large_values` what to send apart.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import orjson

from melagent.domain.variables import GLOBAL
from melagent.protocol.messages import INLINE_BYTES, SETTLE_STATUS

if TYPE_CHECKING:
    from melagent.domain.commands import StepCommand
    from melagent.domain.run import StepRecord
    from melagent.domain.secrets import Secret
    from melagent.domain.work import ChildCall, Entry, NewRun, Parent, Settle, WorkItem
    from melagent.domain.work import Message as InboxMessage

Object: TypeAlias = dict[str, Any]
"""A JSON object; ids, times and statuses in it are still values of ours."""

SETTLE_WORD = {status: word for word, status in SETTLE_STATUS.items()}


def encoded(message: Object | list[Object]) -> bytes:
    """The JSON text of a message."""
    return orjson.dumps(message, default=_as_written)


def _as_written(value: Any) -> str:
    if isinstance(value, UUID):  # the database driver's own kind, which orjson does not know
        return str(value)
    raise TypeError


def value_of(data: bytes | None) -> Object | None:
    """A value as it is mentioned: itself, or its hash and size."""
    if data is None:
        return None
    if len(data) <= INLINE_BYTES:
        return {"text": data.decode()}
    return {"hash": hashlib.sha256(data).hexdigest(), "size": len(data)}


def large_values(entry: Entry) -> dict[str, bytes]:
    """The values of an entry that travel apart, by hash."""
    return {hashlib.sha256(value).hexdigest(): value for value in entry.values if len(value) > INLINE_BYTES}


def step_message(record: StepRecord, digest: bytes | None = None) -> Object:
    """A step; its output is named by its hash if that is given."""
    return {
        "step_key": record.step_key,
        "node_id": record.node_id,
        "node_type": record.node_type,
        "status": record.status,
        "attempt": record.attempt,
        "seq": record.seq,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "handle": record.handle,
        "output": value_of(record.output) if digest is None else {"hash": digest.hex()},
        "error": record.error,
        "logs": record.logs,
        "due_in": record.due_in,
    }


def entry_message(entry: Entry) -> Object:
    return {
        "run_id": entry.run_id,
        "lease": entry.lease,
        "seq": entry.seq,
        "steps": [step_message(step) for step in entry.steps],
        "starts": [_start_message(run, run.parent) for run in entry.starts if run.parent],
        "taken": entry.taken,
        "commands": [_command_message(command) for command in entry.commands],
        "settle": _settle_message(entry.settle) if entry.settle else None,
    }


def _start_message(run: NewRun, parent: Parent) -> Object:
    """A run that starts, named by the version that the server has chosen for it."""
    return {
        "run_id": run.id,
        "step_key": parent.step_key,
        "attached": parent.attached,
        "workflow": None if run.scope else str(run.workflow_id),
        "version": None if run.scope else run.version_id,
        "scope": run.scope,
        "input": value_of(run.input),
    }


def _command_message(step_command: StepCommand) -> Object:
    command = step_command.command
    return {
        "step_key": step_command.step_key,
        "scope": "global" if command.scope == GLOBAL else "workflow",
        "key": command.key,
        "operation": command.operation,
        "value": value_of(command.value),
        "expected": value_of(command.expected),
        "amount": command.amount,
        "handle_refused": step_command.handle_refused,
    }


def _settle_message(settle: Settle) -> Object:
    return {
        "status": SETTLE_WORD[settle.status],
        "output": value_of(settle.output),
        "error": settle.error,
        "wake_in": settle.wake_in,
        "waiting_for": settle.waiting_for,
        "waits": settle.waits,
        "requires": settle.requires,
    }


def call_message(call: ChildCall) -> Object:
    """A call as the server is asked about it: what it is given is of no concern yet."""
    return {
        "run_id": call.run_id,
        "step_key": call.parent.step_key,
        "attached": call.parent.attached,
        "workflow": call.workflow,
        "version": call.version,
        "scope": call.scope,
        "input": {"text": "null"},
    }


def message_message(message: InboxMessage) -> Object:
    return {
        "id": message.id,
        "topic": message.topic,
        "value": value_of(message.value),
        "child_id": message.child_id,
        "status": message.status,
        "error": message.error,
    }


def item_message(item: WorkItem) -> Object:
    """A work item as it is sent: the journal, and a large input, are fetched apart."""
    payload = {
        "workflow_id": item.workflow_id,
        "version_id": item.version_id,
        "entry": item.entry,
        "input": {"hash": item.input_hash.hex()} if item.input_hash else value_of(item.input or b"null"),
        "trigger": {"type": item.trigger.type, "id": item.trigger.id, "node_id": item.trigger.node_id},
        "journal_complete": item.journal is not None,
        "deadline_in": item.deadline_in,
        "pausing": item.pausing,
        "depth": item.depth,
        "scope": item.scope,
        "requires": item.required,
        "link_base": item.links.base if item.links else "",
        "link_key": item.links.key.hex() if item.links else None,
    }
    return {
        "id": item.run_id,
        "type": "run",
        "run_id": item.run_id,
        "lease": item.lease,
        "granted_after_ms": item.granted_after * 1000,
        "attempt": item.attempt,
        "payload": payload,
    }


def secret_message(secret: Secret) -> Object:
    return {
        "id": secret.id,
        "name": secret.name,
        "type": secret.type,
        "fields": dict(secret.fields),
        "hidden": sorted(secret.hidden),
        "headers": dict(secret.headers),
        "query": dict(secret.query),
        "origins": [str(origin) for origin in secret.origins],
    }
