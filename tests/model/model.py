"""The lifecycle of runs in memory: the oracle of the state machine and the store of the simulation.

It says in plain Python what `melagent.engine.lifecycle` does in SQL. One call is one transaction. Time is whatever
`clock` answers, in seconds; leases are UUIDs drawn from a seed, so that two models given the same calls are alike.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from melagent.domain.requirement import ANY_WORKER
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import CHILD_TOPIC, FAILED_TOPIC, TIMED_OUT, Entry, NewRun, Settle, Verdict, WorkItem
from melagent.engine.lifecycle.hold import Extended
from melagent.engine.lifecycle.rescue import MAX_EXPIRIES, WORKER_LOST
from tests.model.parking import Parking
from tests.model.run import ModelRun, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


class Model(Parking):
    """All runs. Answers are those of the functions of the same name in `melagent.engine.lifecycle`."""

    def __init__(self, clock: Callable[[], float], *, lease_seconds: float, seed: int = 0) -> None:
        super().__init__(clock)
        self.lease_seconds = lease_seconds
        self._random = random.Random(seed)

    def start(self, runs: Sequence[NewRun], eager: int = 0) -> list[WorkItem]:
        """Insert runs; the first `eager` of them leased at once, unless a free one waits. A known run stays as is.

        A limited run is parked until there is a place for it.
        """
        waiting = {run.requires for run in self.runs.values() if run.free}
        leased = []
        for new in runs:
            offered = eager > 0 and new.limit is None
            eager -= offered
            if new.id in self.runs:
                continue
            run = self.runs[new.id] = ModelRun(new, self._in(new.deadline_in), new.requires)
            if new.limit is not None:
                run.park(Reason.LIMITED, run.deadline_at)
            elif offered and new.requires not in waiting:
                leased.append(self._grant(run))
        return leased

    def claim(self, limit: int, requirements: Collection[str] = (ANY_WORKER,)) -> list[WorkItem]:
        """Lease free runs with these requirements: the lowest priority number first, then the oldest."""
        free = [run for run in self.runs.values() if run.free and run.requires in requirements]
        free.sort(key=lambda run: (run.new.priority, run.new.id))
        return [self._grant(run) for run in free[:limit]]

    def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        """Hold leases for longer. One that has expired but was not taken back is good again."""
        held = {run_id: lease for run_id, lease in leases.items() if self.holds(run_id, lease)}
        lost = {run_id: lease for run_id, lease in leases.items() if run_id not in held}
        for run_id in held:
            self.runs[run_id].expires_at = self._now() + self.lease_seconds
        return Extended(
            lost=frozenset(lost.values()),
            cancelled=frozenset(lost[r] for r in lost if self.runs[r].status is RunStatus.CANCELLED),
            paused=frozenset(held[r] for r in held if self.runs[r].pausing),
            mail=frozenset(held[r] for r in held if self.runs[r].inbox),
        )

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

    def cancel_children(self, run_ids: Iterable[UUID]) -> list[UUID]:
        """Cancel the attached children of ended runs, and theirs."""
        cancelled, level = [], set(run_ids)
        while level:
            children = [run_id for run_id in self.live() if self.runs[run_id].attached_to in level]
            for run_id in children:
                self.cancel(run_id)
            cancelled += children
            level = set(children)
        return cancelled

    def cancel_orphans(self) -> list[UUID]:
        """Cancel attached children whose parent has ended, and theirs."""
        parents = {parent for run_id in self.live() if (parent := self.runs[run_id].attached_to)}
        return self.cancel_children(parent for parent in parents if self.runs[parent].status.final)

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
        """Fail the runs that are due, or wait for a place, and whose deadline has passed."""
        overdue = [
            run_id
            for run_id, run in self.runs.items()
            if (run.due or run.reason is Reason.LIMITED)
            if run.deadline_at is not None and run.deadline_at < self._now()
        ]
        for run_id in overdue:
            self._end(self.runs[run_id], RunStatus.FAILED, TIMED_OUT)
        return overdue

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
        new, first = run.new, run.attempt == 1
        return WorkItem(
            new.id, run.lease, new.workflow_id, new.version_id, new.entry, new.input, new.trigger, run.attempt,
            deadline_in=self._left(run.deadline_at), journal=() if first else self._journal(run),
            inbox=() if first else self.unread(new.id), pausing=run.pausing,
            depth=new.parent.depth if new.parent else 0, scope=new.scope, required=new.requires,
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
        for message in entry.taken:
            run.inbox.pop(message, None)
        if entry.settle is not None:
            self._settle(run, entry, entry.settle)
        self.start(entry.starts)

    def _record(self, run: ModelRun, step: StepRecord) -> None:
        run.steps[step.step_key] = step
        run.step_due_at.pop(step.step_key, None)
        if step.due_in is not None:
            run.step_due_at[step.step_key] = self._now() + step.due_in

    def _settle(self, run: ModelRun, entry: Entry, settle: Settle) -> None:
        status = self._status_after(run, settle)
        run.status, run.output, run.error = status, settle.output, settle.error
        run.requires = run.requires if settle.requires is None else settle.requires
        run.settled = (entry.lease, entry.seq)
        run.lease = None
        if status.final:
            run.leave()
            self._tell_of_end(run)
        elif status is not RunStatus.PENDING:
            self._park(run, Reason(status), settle)

    def _status_after(self, run: ModelRun, settle: Settle) -> RunStatus:
        """A run does not park when it has a message it would wait for, or was told meanwhile to go on after all.

        When it is to be paused it is paused rather than parked.
        """
        if settle.status is RunStatus.WAITING and run.has_message_of(settle.waits):
            return RunStatus.PENDING
        if run.pausing and settle.status in (RunStatus.SLEEPING, RunStatus.WAITING):
            return RunStatus.PAUSED
        if settle.status is RunStatus.PAUSED and not run.pausing:
            return RunStatus.PENDING
        return settle.status

    def _park(self, run: ModelRun, reason: Reason, settle: Settle) -> None:
        timer = None if reason is Reason.PAUSED else self._in(settle.wake_in)
        moments = [moment for moment in (timer, run.deadline_at) if moment is not None]
        waits = settle.waits if reason is Reason.WAITING else ()
        run.park(reason, min(moments, default=None), waits)

    def _end(self, run: ModelRun, status: RunStatus, error: dict[str, Any] | None) -> None:
        if run.status.final:
            return
        run.status, run.error = status, error
        run.leave()
        for key, step in run.steps.items():
            if not step.status.final:
                run.steps[key] = replace(step, status=StepStatus.CANCELLED)
        self._tell_of_end(run)

    def _tell_of_end(self, run: ModelRun) -> None:
        """The parent of an attached child gets a message, and so does whoever starts the workflow for failures."""
        if run.attached_to is not None:
            self._tell(run.attached_to, CHILD_TOPIC, child=run.new.id)
        if run.status is RunStatus.FAILED and run.new.on_failure is not None:
            self._tell(run.new.id, FAILED_TOPIC)

    def _in(self, seconds: float | None) -> float | None:
        return None if seconds is None else self._now() + seconds

    def _left(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._now()
