"""The part of the model about runs that are not due: messages, waking, pauses, and places among limited runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from melagent.domain.run import RunStatus
from melagent.domain.work import Message
from tests.model.run import ModelRun, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID


class Parking:
    """All runs, and how parked ones become due. Answers are those of the same names in `melagent.engine.lifecycle`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.runs: dict[UUID, ModelRun] = {}
        self._now = clock
        self._message_ids = count(1)

    # Messages.

    def send(self, run_id: UUID, topic: str, value: bytes) -> int | None:
        """Leave a message for a run that has not ended; its id, null when there is no such run."""
        run = self.runs.get(run_id)
        return None if run is None or run.status.final else self._tell(run_id, topic, value=value)

    def unread(self, run_id: UUID) -> tuple[Message, ...]:
        """What a run has not taken in, the oldest first, with the ends of the children that are spoken of."""
        return tuple(self._message(message) for message in self.runs[run_id].inbox.values())

    def _tell(self, run_id: UUID, topic: str, *, value: bytes | None = None, child: UUID | None = None) -> int:
        message = Message(next(self._message_ids), topic, value, child)
        self.runs[run_id].inbox[message.id] = message
        return message.id

    def _message(self, message: Message) -> Message:
        if message.child_id is None:
            return message
        child = self.runs[message.child_id]
        return replace(message, value=child.output, status=child.status, error=child.error)

    # Waking.

    def due(self) -> list[UUID]:
        """Parked runs whose time has come, or that wait for a message they have."""
        return [run_id for run_id, run in self.runs.items() if self._may_wake(run)]

    def wake(self, run_ids: Iterable[UUID]) -> list[UUID]:
        """Make those of the runs due that may be; limited ones then wait for a place. Their ids."""
        woken = [run_id for run_id in run_ids if self._may_wake(self.runs[run_id])]
        for run_id in woken:
            self._wake(self.runs[run_id])
        self.admit({limited_by for run_id in woken if (limited_by := self.runs[run_id].limited_by)})
        return woken

    def _may_wake(self, run: ModelRun) -> bool:
        if run.reason is None or run.reason is Reason.LIMITED:
            return False
        in_time = run.wake_at is not None and run.wake_at <= self._now()
        return in_time or (run.reason is Reason.WAITING and run.has_message_of(run.waits))

    def _wake(self, run: ModelRun) -> None:
        run.status = RunStatus.PENDING
        if run.limited_by is None:
            run.make_due()
        else:
            run.park(Reason.LIMITED, run.deadline_at)

    # Pauses.

    def pause(self, run_id: UUID) -> RunStatus | None:
        """Pause a live run, a leased one at its next step boundary. Its status before; null when it is not there."""
        run = self.runs.get(run_id)
        if run is None or run.status.final:
            return run and run.status
        before = run.status
        if run.lease is not None:
            run.pausing = True
        elif run.reason is not Reason.PAUSED:
            run.status = RunStatus.PAUSED
            run.park(Reason.PAUSED, run.deadline_at)
        return before

    def resume(self, run_id: UUID) -> bool:
        """Let a paused run go on, a limited one when there is a place; false when it is not paused."""
        run = self.runs[run_id]
        if run.pausing:
            run.pausing = False
        elif run.reason is Reason.PAUSED:
            self._wake(run)
        else:
            return False
        return True

    # Limits.

    def limited(self) -> set[UUID]:
        """The workflows with runs that wait for a place."""
        return {run.limited_by for run in self.runs.values() if run.reason is Reason.LIMITED and run.limited_by}

    def admit(self, workflow_ids: Iterable[UUID]) -> list[UUID]:
        """Fill the free places among the runs of these workflows: by priority, then age. Who was admitted."""
        admitted = []
        for workflow_id in sorted(workflow_ids):
            runs = [run for run in self.runs.values() if run.limited_by == workflow_id]
            waiting = [run for run in runs if run.reason is Reason.LIMITED]
            places = sum(run.due for run in runs)
            for run in sorted(waiting, key=lambda run: (run.new.priority, run.new.id)):
                places += 1
                if run.new.limit is not None and places <= run.new.limit.runs:
                    run.make_due()
                    admitted.append(run.new.id)
        return admitted
