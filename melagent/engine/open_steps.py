"""The steps of a run that have begun and not ended: they sleep, wait, are to be tried again, or were interrupted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Settle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from melagent.domain.work import NewRun
    from melagent.engine.attempt import Attempt, Ended
    from melagent.engine.course import Course
    from melagent.engine.journal import Journal
    from melagent.engine.planner import Place
    from melagent.engine.waits import Waits

PARK_SECONDS = 4.9
"""A run whose next timer is this far away gives its place back. The promise is 5 s; the rest of it is the time that
passes between a node's answer and the decision."""

MOMENT_SECONDS = 0.1
"""A wait that is over so soon is waited for in place; parking would take as long."""


class OpenSteps:
    """`records` are those of the journal, by step key; `timers` say when a step goes on, by the event loop's clock.

    The place of a step is null when it stands for an item of a distributed loop.
    """

    def __init__(
        self,
        course: Course,
        records: dict[str, StepRecord],
        waits: Waits,
        journal: Journal,
        clock: Callable[[], datetime],
    ) -> None:
        self.records = records
        self.timers: dict[str, tuple[float, Place | None, StepRecord]] = {}
        self._by_time: list[tuple[float, str]] = []
        self._urgent = False
        self._course = course
        self._waits = waits
        self._journal = journal
        self._clock = clock

    def leave(self, place: Place, ended: Ended, taken: int | None, *, noticed: bool) -> None:
        """A step has not ended yet. Its record is written for a long sleep, a wait, and every failed attempt, and when
        the outside world has `noticed` it or a message was taken; a short sleep needs no write. It goes along with the
        end of the lease when the run parks now; else `flush` must be called before anything else is waited for.
        """
        record, key = ended.record, place.key
        if record.due_in is not None:
            self._set_timer(key, record.due_in, place, record)
        if record.status is StepStatus.WAITING:
            self._waits.add(key, place, record)
        noticed = noticed or taken is not None or record.status is not StepStatus.SLEEPING
        if noticed or (record.due_in or 0.0) >= PARK_SECONDS:
            self.records[key] = self._journal.record(record, taken=taken, starts=ended.starts)
            self._urgent = True

    def flush(self) -> None:
        """Begin to write what was left open, unless that was done already."""
        if self._urgent:
            self._urgent = False
            self._journal.flush()

    def wait_for_child(self, record: StepRecord, run: NewRun) -> None:
        """A step waits for a run that starts together with it, and that runs an item of a loop."""
        self.records[record.step_key] = self._journal.record(record, starts=run)
        self._waits.add(record.step_key, None, record)
        self._urgent = True

    def resume(self) -> None:
        """Go on with what the journal says: set the timers, wait for messages, see to what was interrupted."""
        for key, record in self.records.items():
            place = self._course.place_of(record)
            if record.due_in is not None:
                self._set_timer(key, record.due_in, place, record)
            if record.status is StepStatus.WAITING:
                self._waits.add(key, place, record)
            elif record.status is StepStatus.RUNNING and place is not None:
                self._course.ready.append(place)

    def fire_timers(self) -> None:
        """Let the steps go on whose time has come."""
        while (seconds := self.seconds_to_timer()) is not None and seconds <= 0:
            _, key = heappop(self._by_time)
            _, place, record = self.timers.pop(key)
            if place is None:
                continue
            if record.status is StepStatus.SLEEPING:
                self._wake(place, record)
                continue
            if record.status is StepStatus.WAITING:
                self._waits.time_out(key)
            self.records[key] = record
            self._course.ready.append(place)

    def seconds_to_timer(self) -> float | None:
        """Until the next step goes on; null when none has a time."""
        while self._by_time and not self._is_set(*self._by_time[0]):
            heappop(self._by_time)
        return self._by_time[0][0] - asyncio.get_running_loop().time() if self._by_time else None

    def park(self) -> Settle | None:
        """How the lease of a run ends that has nothing to do but these; null when one of them goes on in a moment.

        Only a parked run is woken by a message, so a wait is worth parking for even if it is over soon.
        """
        seconds = self.seconds_to_timer()
        if self._waits and (seconds is None or seconds >= self._worth_parking()):
            topics, shown = self._waits.topics(), self._waits.shown()
            return Settle(RunStatus.WAITING, wake_in=seconds, waits=topics, waiting_for=shown)
        if seconds is not None and seconds >= PARK_SECONDS:
            return Settle(RunStatus.SLEEPING, wake_in=seconds)
        return None

    def _worth_parking(self) -> float:
        _, _, earliest = self.timers[self._by_time[0][1]]
        return MOMENT_SECONDS if earliest.status is StepStatus.WAITING else PARK_SECONDS

    def close(self, attempts: dict[str, Attempt], which: Callable[[Place | None, StepRecord], bool]) -> None:
        """Record as cancelled what runs, sleeps or waits at such places. Nodes that run have been stopped."""
        if not (self.records or self.timers or attempts):
            return
        now = self._clock()
        for key, (place, record) in self._all(attempts).items():
            if not which(place, record):
                continue
            for known in (self.records, self.timers, attempts):
                known.pop(key, None)
            self._waits.drop(key)
            at = max(now, record.started_at)
            output = record.output if record.status is StepStatus.WAITING else None  # it names the child, if any
            cancelled = replace(record, status=StepStatus.CANCELLED, output=output, due_in=None, finished_at=at)
            self._journal.record(cancelled)

    def _all(self, attempts: Mapping[str, Attempt]) -> dict[str, tuple[Place | None, StepRecord]]:
        found = {key: (self._course.place_of(record), record) for key, record in self.records.items()}
        found |= {key: (place, record) for key, (_, place, record) in self.timers.items()}
        return found | {key: (attempt.scope.place, attempt.begun()) for key, attempt in attempts.items()}

    def _wake(self, place: Place, record: StepRecord) -> None:
        at = max(self._clock(), record.started_at)
        awake = replace(record, status=StepStatus.COMPLETED, handle="out", due_in=None, finished_at=at)
        self.records.pop(place.key, None)
        self._course.advance(place, self._journal.record(awake))

    def _set_timer(self, key: str, seconds: float, place: Place | None, record: StepRecord) -> None:
        due = asyncio.get_running_loop().time() + seconds
        self.timers[key] = (due, place, record)
        heappush(self._by_time, (due, key))

    def _is_set(self, due: float, key: str) -> bool:
        """Whether a timer still stands: it may have been set anew, or taken away."""
        timer = self.timers.get(key)
        return timer is not None and timer[0] == due
