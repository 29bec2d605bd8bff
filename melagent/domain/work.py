"""What passes between the engine and its workers: starts, work items, journal entries and their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from melagent.domain.requirement import ANY_WORKER
from melagent.domain.run import RunStatus, StepRecord, Trigger

if TYPE_CHECKING:
    from uuid import UUID


TIMED_OUT = {"code": "timeout", "message": "The run did not end within its time limit."}
"""The error of a run whose deadline passed."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be started. `input` is JSON text; `deadline_in` counts seconds from the start."""

    id: UUID
    workflow_id: UUID | None
    version_id: UUID
    entry: str
    input: bytes
    trigger: Trigger = field(default_factory=Trigger)
    priority: int = 5
    deadline_in: float | None = None
    requires: str = ANY_WORKER


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A leased run: all that a worker needs to go on from the last recorded step.

    The worker may work until `lease_seconds` after the lease was granted, which is `granted_after` seconds after it
    asked, or after its last successful extension. `attempt` counts the leases granted on this run so far, this one
    included. What takes long to load is null until `WorkSource.load` has filled it in: `journal`, and `input` when
    `input_hash` names it.
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

    @property
    def next_seq(self) -> int:
        """The number of the next step that is recorded."""
        return self.journal[-1].seq + 1 if self.journal else 1

    @property
    def loaded(self) -> bool:
        return self.input is not None and self.journal is not None


@dataclass(frozen=True, slots=True)
class Settle:
    """How a lease ends: in a final state, parked (`sleeping` with `wake_in` seconds), or given back (`pending`)."""

    status: RunStatus
    output: bytes | None = None
    error: dict[str, Any] | None = None
    wake_in: float | None = None
    waiting_for: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One write of one leased run: recorded steps and, with the last one, how the lease ends.

    `(lease, seq)` names the write: sent again, it is answered as the first time and changes nothing.
    """

    run_id: UUID
    lease: UUID
    seq: int
    steps: tuple[StepRecord, ...] = ()
    settle: Settle | None = None


class Verdict(StrEnum):
    """The answer to an entry. Whatever is not `accepted` changed nothing at all."""

    ACCEPTED = "accepted"
    LEASE_LOST = "lease_lost"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The final state of a run, or the answer that a node gave to its caller before the end (`answer` is then set)."""

    run_id: UUID
    status: RunStatus
    output: bytes | None
    error: dict[str, Any] | None
    answer: bytes | None = None
