"""A run in the model, with its place in the queue, its steps and its inbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from melagent.domain.run import RunStatus, StepRecord

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.work import Message, NewRun


class Reason(StrEnum):
    """Why a run is parked."""

    SLEEPING = "sleeping"
    WAITING = "waiting"
    PAUSED = "paused"
    LIMITED = "limited"


@dataclass(slots=True)
class ModelRun:
    """A run that has not ended is due (free or leased), or parked for a `reason`. All moments are of the model's clock.

    `requires` is what it requires now, which a node's labels may have changed since the start.
    """

    new: NewRun
    deadline_at: float | None
    requires: str
    status: RunStatus = RunStatus.PENDING
    output: bytes | None = None
    error: dict[str, Any] | None = None
    steps: dict[str, StepRecord] = field(default_factory=dict)
    step_due_at: dict[str, float] = field(default_factory=dict)
    inbox: dict[int, Message] = field(default_factory=dict)
    lease: UUID | None = None
    lease_seq: int = 0
    expires_at: float = 0.0
    settled: tuple[UUID, int] | None = None
    reason: Reason | None = None
    wake_at: float | None = None
    waits: tuple[str, ...] = ()
    pausing: bool = False
    attempt: int = 0
    expiries: int = 0

    @property
    def due(self) -> bool:
        return not self.status.final and self.reason is None

    @property
    def free(self) -> bool:
        return self.due and self.lease is None

    @property
    def limited_by(self) -> UUID | None:
        """The workflow among whose runs this one is counted."""
        return self.new.limit.workflow_id if self.new.limit else None

    @property
    def attached_to(self) -> UUID | None:
        """The parent that waits for its end, and takes it along."""
        parent = self.new.parent
        return parent.run_id if parent is not None and parent.attached else None

    def has_message_of(self, topics: tuple[str, ...]) -> bool:
        return any(message.topic in topics for message in self.inbox.values())

    def park(self, reason: Reason, wake_at: float | None, waits: tuple[str, ...] = ()) -> None:
        self.reason, self.wake_at, self.waits = reason, wake_at, waits
        self.lease, self.pausing, self.expiries = None, False, 0

    def make_due(self) -> None:
        self.reason, self.wake_at, self.waits = None, None, ()

    def leave(self) -> None:
        """Be in no place any more: for a run that ends."""
        self.make_due()
        self.lease, self.pausing, self.expiries = None, False, 0
