"""What the tables hold, as values, and the one place that turns rows into them.

JSON columns are read as text and kept as bytes of JSON text: nobody between the table and the answer needs to decode
them. Statements name their columns like the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from melagent.domain.run import Run, RunStatus, StepRecord, StepStatus, Trigger

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

T = TypeVar("T")

JSON_TEXT = frozenset({"definition", "config", "ids", "ops", "inverse"})


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow with the definition of its draft. `has_changes`: the draft is not what the current version holds."""

    id: UUID
    name: str
    description: str
    definition: bytes
    current_version: int | None
    has_changes: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredWorkflow:
    """A workflow with the definition and `has_changes` of its draft's snapshot. If `is_behind`, edits came after it."""

    workflow: Workflow
    is_behind: bool


@dataclass(frozen=True, slots=True)
class Draft:
    workflow_id: UUID
    definition: bytes
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The row of a draft: its definition at `snapshot_seq`, from which the edits lead to `seq`."""

    workflow_id: UUID
    definition: bytes
    snapshot_seq: int
    seq: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Edit:
    """A committed edit of a draft; `ops` is the JSON text of its operations. `reverts` are edits that it undid."""

    workflow_id: UUID
    seq: int
    client: str
    client_edit_id: int
    by_id: str | None
    by_name: str
    at: datetime
    ops: bytes
    reverts: list[int] | None


@dataclass(frozen=True, slots=True)
class UndoableEdit:
    """An edit with what undoes it, as JSON text, on the draft right after it."""

    seq: int
    by_id: str | None
    by_name: str
    at: datetime
    ops: bytes
    inverse: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable definition. An unlisted version has neither a workflow nor a number."""

    id: UUID
    workflow_id: UUID | None
    version_number: int | None
    name: str
    description: str
    definition: bytes
    created_by: str
    created_at: datetime
    is_current: bool


@dataclass(frozen=True, slots=True)
class WorkflowTrigger:
    """An armed trigger, and the version and node that it starts."""

    id: UUID
    workflow_id: UUID
    node_id: str
    type: str
    name: str
    config: bytes
    version_id: UUID
    enabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ListedTrigger:
    """A trigger as people see it. One that was made by hand has no node, and no version while none is deployed.

    `token` is what an earlier version stored in plain text, if it did.
    """

    id: UUID
    workflow_id: UUID
    node_id: str | None
    entry: str | None
    version_id: UUID | None
    type: str
    name: str
    config: bytes
    token: str | None
    token_sealed: bytes | None
    enabled: bool
    next_fire_at: datetime | None
    last_fired_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A key of the API or of a worker, without the key."""

    id: UUID
    kind: str
    role: str | None
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    labels: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable; `value` is JSON text, `revision` counts its changes since it was made."""

    scope: str
    key: str
    value: bytes
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Pinned:
    """Test data of a node; `value` is JSON text. Without `updated_at` nothing is pinned, and the value is null."""

    node_id: str
    value: bytes
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """A person, without the password's hash."""

    id: UUID
    email: str
    name: str
    role: str
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """A person who signs in. Without a hash there is no password; a session begun now names `epoch`."""

    id: UUID
    email: str
    name: str
    role: str
    epoch: int
    disabled_at: datetime | None
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is good, with its user. `unseen`: it is due to be noted as in use."""

    user_id: UUID
    email: str
    name: str
    role: str
    expires_at: datetime
    unseen: bool


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the audit log; `ids` is the JSON text of an object. It stands for `times` calls of the same kind."""

    id: UUID
    at: datetime
    actor_kind: str
    actor_id: str | None
    actor_name: str | None
    action: str
    ids: bytes
    status: int
    address: str
    request_id: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run, and the names of those of its values that lie in payloads."""

    run: Run
    entry: str
    scope: str | None
    input_hash: bytes | None
    output_hash: bytes | None


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step of the journal; `output_hash` is set when its output lies in payloads."""

    record: StepRecord
    output_hash: bytes | None


def value_of(kind: type[T], row: asyncpg.Record) -> T:
    """A row whose columns are named like the fields of `kind`."""
    return kind(**{name: value.encode() if name in JSON_TEXT else value for name, value in row.items()})


def workflow_of(row: asyncpg.Record) -> StoredWorkflow:
    values = dict(row)
    is_behind = values.pop("is_behind")
    return StoredWorkflow(Workflow(**values | {"definition": values["definition"].encode()}), is_behind)


def run_of(row: asyncpg.Record) -> StoredRun:
    run = Run(
        id=row["id"],
        workflow_id=row["workflow_id"],
        version_id=row["version_id"],
        version=row["version"],
        status=RunStatus(row["status"]),
        trigger=Trigger(row["trigger_type"], row["trigger_id"], row["trigger_node"], row["scheduled_for"]),
        input=row["input"],
        output=row["output"],
        error=_decoded(row["error"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        attempt=row["attempt"],
        worker_id=row["worker_id"],
        waiting_for=_decoded(row["waiting_for"]),
        parent_run_id=row["parent_run_id"],
        retry_of=row["retry_of"],
    )
    return StoredRun(run, row["entry"], row["scope"], row["input_hash"], row["output_hash"])


def step_of(row: asyncpg.Record) -> StoredStep:
    record = StepRecord(
        step_key=row["step_key"],
        node_id=row["node_id"],
        node_type=row["node_type"],
        status=StepStatus(row["status"]),
        attempt=row["attempt"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        handle=row["handle"],
        output=row["output"],
        error=_decoded(row["error"]),
        logs=tuple(_decoded(row["logs"]) or ()),
        seq=row["seq"],
    )
    return StoredStep(record, row["output_hash"])


def _decoded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
