"""What passes between the engine and its workers: starts, work items, journal entries and their answers.

Treat all of it as frozen. Of what every run makes some is not, for the reason that `StepRecord` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from melagent.domain.requirement import ANY_WORKER
from melagent.domain.run import RunStatus, StepRecord, StepStatus, Trigger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from melagent.domain.commands import StepCommand
    from melagent.domain.links import Links


TIMED_OUT = {"code": "timeout", "message": "The run did not end within its time limit."}
"""The error of a run whose deadline passed."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The step that starts a run as its child. The end of an `attached` child is a message to its parent."""

    run_id: UUID
    step_key: str
    depth: int
    attached: bool


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `runs` of the runs that are counted for a workflow are due at once; others wait for a place."""

    workflow_id: UUID
    runs: int


@dataclass(slots=True)
class NewRun:
    """A run to be started. `input` is JSON text; `deadline_in` counts seconds from the start.

    `scope` names the loop item that a child runs in its parent's stead. When the run fails the workflow `on_failure` is
    started. `retry_of` is the run whose recorded steps it goes on from.
    """

    id: UUID
    workflow_id: UUID | None
    version_id: UUID
    entry: str
    input: bytes
    trigger: Trigger = field(default_factory=Trigger)
    priority: int = 5
    deadline_in: float | None = None
    requires: str = ANY_WORKER
    parent: Parent | None = None
    scope: str | None = None
    retry_of: UUID | None = None
    on_failure: UUID | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """A run that begins with steps that another, `source`, has recorded: those with these keys.

    `outputs` has, as JSON text, what some of these steps are to have given instead, by their keys.
    """

    run: NewRun
    source: UUID
    step_keys: tuple[str, ...] = ()
    outputs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """The run that starts another."""

    workflow_id: UUID | None
    version_id: UUID
    required: str


@dataclass(frozen=True, slots=True)
class ChildCall:
    """What a step asks to be started: a version of a workflow (its id or its name), or an item of a loop of its own.

    `version` is a number, the id of the version, or null for the current one; `workflow` is null for an item, which
    `scope` names.
    """

    caller: Caller
    run_id: UUID
    parent: Parent
    input: bytes
    workflow: str | None = None
    version: int | UUID | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was sent to a run: a signal, or the end of a child (`child_id` and `status` are then set).

    Messages of one topic are taken in in the order of their `id`.
    """

    id: int
    topic: str
    value: bytes | None = None
    child_id: UUID | None = None
    status: RunStatus | None = None
    error: dict[str, Any] | None = None


CHILD_TOPIC = "child"
"""The topic of the end of a child, of any of them."""

FAILED_TOPIC = "failed"
"""Left in the inbox of a failed run itself, for whoever starts what is to be started for that."""


def signal_topic(name: str) -> str:
    return f"signal:{name}"


@dataclass(slots=True)
class WorkItem:
    """A leased run: all that a worker needs to go on from the last recorded step.

    The worker may work until `lease_seconds` after the lease was granted, which is `granted_after` seconds after it
    asked, or after its last successful extension. `attempt` counts the leases granted on this run so far, this one
    included. What takes long to load is null until `WorkSource.load` has filled it in: `journal` with `inbox`, the
    messages that the run has not taken in, and `input` when `input_hash` names it. A run that is `pausing` starts
    nothing. `required` is what the run required at its start. `links` makes the approval links of the run. An item
    belongs to whoever it is handed to, who may fill in what he alone knows.
    """

    run_id: UUID
    lease: UUID
    workflow_id: UUID | None
    version_id: UUID
    entry: str
    input: bytes | None
    trigger: Trigger
    attempt: int
    input_hash: bytes | None = None
    granted_after: float = 0.0
    deadline_in: float | None = None
    journal: tuple[StepRecord, ...] | None = ()
    inbox: tuple[Message, ...] = ()
    pausing: bool = False
    depth: int = 0
    scope: str | None = None
    required: str = ANY_WORKER
    links: Links | None = None

    @property
    def next_seq(self) -> int:
        """The number of the next step that is recorded."""
        return self.journal[-1].seq + 1 if self.journal else 1

    @property
    def loaded(self) -> bool:
        return self.input is not None and self.journal is not None


@dataclass(slots=True)
class Settle:
    """How a lease ends: in a final state, parked, or given back (`pending`), perhaps to workers that meet `requires`.

    A `sleeping` run is due again after `wake_in` seconds. So is a `waiting` one that has a time-out; it is due at once
    when a message of one of the topics `waits` is there or comes. `waiting_for` is shown to people.
    """

    status: RunStatus
    output: bytes | None = None
    error: dict[str, Any] | None = None
    wake_in: float | None = None
    waiting_for: dict[str, Any] | None = None
    waits: tuple[str, ...] = ()
    requires: str | None = None


@dataclass(slots=True)
class Entry:
    """One write of one leased run: recorded steps and, with the last one, how the lease ends.

    In the same transaction the runs in `starts` are started, the messages in `taken` leave the inbox, and the commands,
    one of a step at most, are executed: what is recorded of such a step is their result.

    `(lease, seq)` names the write: sent again, it is answered as the first time and changes nothing.
    """

    run_id: UUID
    lease: UUID
    seq: int
    steps: tuple[StepRecord, ...] = ()
    settle: Settle | None = None
    starts: tuple[NewRun, ...] = ()
    taken: tuple[int, ...] = ()
    commands: tuple[StepCommand, ...] = ()

    @property
    def values(self) -> list[bytes]:
        """The JSON texts that it carries."""
        values = [step.output for step in self.steps]
        if not self.is_plain:
            values += [run.input for run in self.starts]
            values += [value for each in self.commands for value in (each.command.value, each.command.expected)]
        if self.settle is not None:
            values.append(self.settle.output)
        return [value for value in values if value is not None]

    @property
    def is_plain(self) -> bool:
        """Whether it does nothing but record steps and settle."""
        return not (self.starts or self.taken or self.commands)

    @property
    def leaves_children(self) -> bool:
        """Whether children may still run for the run that this entry ends."""
        settled = self.settle is not None and self.settle.status.final
        return settled and any(step.status is StepStatus.CANCELLED and step.output for step in self.steps)


class Verdict(StrEnum):
    """The answer to an entry. Whatever is not `accepted` changed nothing at all."""

    ACCEPTED = "accepted"
    LEASE_LOST = "lease_lost"
    INVALID = "invalid"


@dataclass(slots=True)
class RunEnd:
    """The final state of a run, or the answer that a node gave to its caller before the end (`answer` is then set)."""

    run_id: UUID
    status: RunStatus
    output: bytes | None
    error: dict[str, Any] | None
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """A run was ended from outside: its status before, the parent to wake, the workflow that has a place free now."""

    before: RunStatus
    parent: UUID | None = None
    limited_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed run, and the workflow that its own names for that, if it does."""

    run_id: UUID
    workflow_id: UUID | None
    version_id: UUID
    handler: UUID | None
    error: dict[str, Any] | None
