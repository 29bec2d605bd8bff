"""The lifecycle of runs in memory: the oracle of the state machine and the store of the simulation.

It says in plain Python what `melagent.engine.lifecycle` does in SQL. One call is one transaction. Time is whatever
`clock` answers, in seconds; leases are UUIDs drawn from a seed, so that two models given the same calls are alike.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import TIMED_OUT, Entry, NewRun, Settle, Verdict, WorkItem
from melagent.engine.lifecycle.rescue import MAX_EXPIRIES, WORKER_LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARKED = frozenset({RunStatus.SLEEPING, RunStatus.WAITING, RunStatus.PAUSED})


@dataclass(slots=True)
class ModelRun:
    """A run with its work item. `status` is pending while the run is free or leased."""

    new: NewRun
    deadline_at: float | None
    status: RunStatus = RunStatus.PENDING
    output: bytes | None = None
    error: dict[str, Any] | None = None
    steps: dict[str, StepRecord] = field(default_factory=dict)
    step_due_at: dict[str, float] = field(default_factory=dict)
    lease: UUID | None = None
    lease_seq: int = 0
    expires_at: float = 0.0
    settled: tuple[UUID, int] | None = None
    wake_at: float | None = None
    attempt: int = 0
    expiries: int = 0

    @property
    def free(self) -> bool:
        return self.status is RunStatus.PENDING and self.lease is None


class Model:
    """All runs. Answers are those of the functions of the same name in `melagent.engine.lifecycle`."""

    def __init__(self, clock: Callable[[], float], *, lease_seconds: float, seed: int = 0) -> None:
        self.runs: dict[UUID, ModelRun] = {}
        self.lease_seconds = lease_seconds
        self._now = clock
        self._random = random.Random(seed)

    def start(self, runs: Sequence[NewRun], eager: int = 0) -> list[WorkItem]:
        """Insert runs; the first `eager` of them leased at once, unless a free one waits. A known run stays as is."""
        nothing_waits = not any(run.free for run in self.runs.values())
        leased = []
        for position, new in enumerate(runs):
            if new.id in self.runs:
                continue
            run = self.runs[new.id] = ModelRun(new, self._in(new.deadline_in))
            if position < eager and nothing_waits:
                leased.append(self._grant(run))
        return leased

    def claim(self, limit: int) -> list[WorkItem]:
        """Lease free runs: the lowest priority number first, then the oldest."""
        free = sorted((run for run in self.runs.values() if run.free), key=lambda run: (run.new.priority, run.new.id))
        return [self._grant(run) for run in free[:limit]]

    def extend(self, leases: Mapping[UUID, UUID]) -> set[UUID]:
        """Hold leases for longer; those that are lost. One that has expired but was not taken back is good again."""
        lost = set()
        for run_id, lease in leases.items():
            if self.holds(run_id, lease):
                self.runs[run_id].expires_at = self._now() + self.lease_seconds
            else:
                lost.add(lease)
        return lost

    def write(self, entry: Entry) -> Verdict:
        """Record steps and settle, if the lease is still good. What was accepted before is accepted again."""
        if not self.holds(entry.run_id, entry.lease):
            return Verdict.ACCEPTED if self._settled_by(entry) else Verdict.LEASE_LOST
        run = self.runs[entry.run_id]
        if self.is_new(run, entry):
            self._apply(run, entry)
        return Verdict.ACCEPTED

    def cancel(self, run_id: UUID) -> RunStatus | None:
        """End a run that has not ended. Its status before; null when there is no such run."""
        run = self.runs.get(run_id)
        if run is None:
            return None
        before = run.status
        self._end(run, RunStatus.CANCELLED, None)
        return before

    def take_back_expired(self) -> tuple[list[UUID], list[UUID]]:
        """Free the runs whose lease has expired; the ids of the freed ones and of those that failed instead."""
        freed, failed = [], []
        for run_id, run in self.runs.items():
            if run.lease is None or run.expires_at >= self._now():
                continue
            run.lease = None
            run.expiries += 1
            if run.expiries < MAX_EXPIRIES:
                freed.append(run_id)
            else:
                self._end(run, RunStatus.FAILED, WORKER_LOST)
                failed.append(run_id)
        return freed, failed

    def fail_overdue(self) -> list[UUID]:
        """Fail the runs that are due, leased or free, and whose deadline has passed."""
        overdue = [
            run_id
            for run_id, run in self.runs.items()
            if run.status is RunStatus.PENDING and run.deadline_at is not None and run.deadline_at < self._now()
        ]
        for run_id in overdue:
            self._end(self.runs[run_id], RunStatus.FAILED, TIMED_OUT)
        return overdue

    def unpark_due(self) -> list[UUID]:
        """Make parked runs free whose time has come."""
        due = [run_id for run_id, run in self.runs.items() if run.wake_at is not None and run.wake_at <= self._now()]
        for run_id in due:
            self.runs[run_id].status = RunStatus.PENDING
            self.runs[run_id].wake_at = None
        return due

    def holds(self, run_id: UUID, lease: UUID) -> bool:
        """Whether this is the lease that is granted now."""
        return run_id in self.runs and self.runs[run_id].lease == lease

    def is_new(self, run: ModelRun, entry: Entry) -> bool:
        """Whether the entry was not applied before."""
        return entry.seq > run.lease_seq

    def may_record(self, run: ModelRun, step: StepRecord) -> bool:
        """A final step is never overwritten."""
        return step.step_key not in run.steps or not run.steps[step.step_key].status.final

    def live(self) -> list[UUID]:
        return [run_id for run_id, run in self.runs.items() if not run.status.final]

    def _settled_by(self, entry: Entry) -> bool:
        run = self.runs.get(entry.run_id)
        return run is not None and entry.settle is not None and run.settled == (entry.lease, entry.seq)

    def _grant(self, run: ModelRun) -> WorkItem:
        run.lease = UUID(int=self._random.getrandbits(128))
        run.lease_seq = 0
        run.expires_at = self._now() + self.lease_seconds
        run.attempt += 1
        new, journal = run.new, self._journal(run)
        return WorkItem(
            new.id, run.lease, new.workflow_id, new.version_id, new.entry, new.input, new.trigger, run.attempt,
            deadline_in=self._left(run.deadline_at), journal=journal,
        )  # fmt: skip  # in the order of the fields

    def _journal(self, run: ModelRun) -> tuple[StepRecord, ...]:
        steps = (replace(step, due_in=self._left(run.step_due_at.get(key))) for key, step in run.steps.items())
        return tuple(sorted(steps, key=lambda step: step.seq))

    def _apply(self, run: ModelRun, entry: Entry) -> None:
        run.lease_seq = entry.seq
        run.expiries = 0 if entry.steps else run.expiries
        run.expires_at = self._now() + self.lease_seconds
        for step in entry.steps:
            if self.may_record(run, step):
                self._record(run, step)
        if entry.settle is not None:
            self._settle(run, entry, entry.settle)

    def _record(self, run: ModelRun, step: StepRecord) -> None:
        run.steps[step.step_key] = step
        run.step_due_at.pop(step.step_key, None)
        if step.due_in is not None:
            run.step_due_at[step.step_key] = self._now() + step.due_in

    def _settle(self, run: ModelRun, entry: Entry, settle: Settle) -> None:
        run.status, run.output, run.error = settle.status, settle.output, settle.error
        run.settled = (entry.lease, entry.seq)
        run.lease = None
        if settle.status in PARKED:
            run.expiries = 0
            moments = [self._in(settle.wake_in), run.deadline_at]
            run.wake_at = min((moment for moment in moments if moment is not None), default=None)

    def _end(self, run: ModelRun, status: RunStatus, error: dict[str, Any] | None) -> None:
        if run.status.final:
            return
        run.status, run.error, run.lease, run.wake_at = status, error, None, None
        for key, step in run.steps.items():
            if not step.status.final:
                run.steps[key] = replace(step, status=StepStatus.CANCELLED)

    def _in(self, seconds: float | None) -> float | None:
        return None if seconds is None else self._now() + seconds

    def _left(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._now()
