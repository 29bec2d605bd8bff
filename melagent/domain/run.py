"""Runs and steps: their states, and the values that describe them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class RunStatus(StrEnum):
    """States of a run. `running` is never stored: it is what a pending run with a live lease is shown as."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __init__(self, value: str) -> None:
        self.final = value in {"completed", "failed", "cancelled"}
        """Kept, not computed: it is asked several times for every step of every run."""


FINAL_RUN = frozenset(status for status in RunStatus if status.final)


class StepStatus(StrEnum):
    """States of a step. `cancelled` means that the node was stopped and may or may not have had its effect."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    def __init__(self, value: str) -> None:
        self.final = value in {"completed", "failed", "skipped", "cancelled"}


@dataclass(slots=True)
class StepRecord:
    """One line of a run's journal: what became of one step.

    `output` is the JSON text that the node's result was encoded to, once; every reader, live or resumed, decodes these
    bytes. `handle` is the output handle that was taken (null unless completed). `error` is a JSON object
    `{code, message, ...}`. `due_in` is the number of seconds until a sleeping step completes or a pending one is
    tried again; it is a duration because the clocks of workers are not compared.

    Treat it as frozen: only the journal sets `seq`, once, when it takes the record in. (Freezing it would triple the
    cost of making one, and every step of every run makes one.)
    """

    step_key: str
    node_id: str
    node_type: str
    status: StepStatus
    attempt: int
    started_at: datetime
    finished_at: datetime | None = None
    handle: str | None = None
    output: bytes | None = None
    error: dict[str, Any] | None = None
    logs: tuple[dict[str, Any], ...] = ()
    due_in: float | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started a run: a stored trigger, or nothing but a hand (`id` is then null).

    `scheduled_for` is the planned moment that the run stands for. Workers are not told of it.
    """

    type: str = "manual"
    id: UUID | None = None
    node_id: str | None = None
    scheduled_for: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as people see it. `status` is the shown status: `running` when a live lease exists.

    `workflow_name` is the present one; of a run without a workflow, the name of its unlisted version.
    """

    id: UUID
    workflow_id: UUID | None
    version_id: UUID
    version: int | None
    status: RunStatus
    trigger: Trigger
    input: bytes | None
    output: bytes | None
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    worker_id: str | None
    waiting_for: dict[str, Any] | None
    parent_run_id: UUID | None = None
    retry_of: UUID | None = None
    workflow_name: str | None = None


@dataclass(frozen=True, slots=True)
class Purge:
    """Which runs to delete: those that ended before a moment, in any final status or in this one."""

    before: datetime
    status: RunStatus | None = None
    workflow_id: UUID | None = None
