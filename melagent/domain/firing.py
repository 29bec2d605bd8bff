"""What is to be fired at a given time, and what becomes of moments that passed while nobody was up.

A moment is due a little later than planned when the trigger has a jitter. One that is due fires, late if need be; one
that has been due for more than a minute is missed, and the trigger says what becomes of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from melagent.domain.schedule import SECOND

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.schedule import Schedule

GRACE = timedelta(seconds=60)
LOOK_BACK = timedelta(hours=24)


class Missed(StrEnum):
    """What becomes of missed moments: none fires, the last one, or each of the last 24 hours."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a trigger fires. The jitter of a moment is the same whoever works it out."""

    trigger_id: UUID
    schedule: Schedule
    missed: Missed = Missed.ONE
    jitter_seconds: int = 0

    def due_at(self, planned: datetime) -> datetime:
        """When a planned moment is to fire: less than the jitter later, and before the next moment.

        So moments are due in the order in which they are planned.
        """
        if not self.jitter_seconds:
            return planned
        longest = timedelta(seconds=self.jitter_seconds)
        if following := self.first_after(planned):
            longest = min(longest, following - planned)
        seed = b"%b %d" % (self.trigger_id.bytes, int(planned.timestamp()))
        number = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big")
        return planned + longest * number // 2**32

    def first_after(self, moment: datetime) -> datetime | None:
        """The first planned moment after this one."""
        return next(self.schedule.after(moment), None)

    def is_missed(self, planned: datetime, now: datetime) -> bool:
        return now - self.due_at(planned) > GRACE


@dataclass(frozen=True, slots=True)
class Firing:
    """A planned moment that fires; `missed` when that makes up for it."""

    scheduled_for: datetime
    missed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What fires now, in order, and the planned moment that comes next, if any. That may be due as well."""

    firings: tuple[Firing, ...]
    following: datetime | None


def plan(table: Timetable, planned: datetime, now: datetime, limit: int) -> Plan:
    """What to do at `now` about a trigger whose next planned moment is `planned`: at most so many firings.

    Carried out again and again, each time from where the last plan ended, it fires each moment once.
    """
    firings: list[Firing] = []
    following: datetime | None = planned
    if table.is_missed(planned, now):
        following = _first_not_missed(table, planned, now)
        if table.missed is Missed.ONE:
            firings.append(Firing(_last_between(table, planned, following or now), missed=True))
        elif table.missed is Missed.ALL and planned >= now - LOOK_BACK:
            following = planned
        elif table.missed is Missed.ALL:
            following = table.first_after(now - LOOK_BACK - timedelta.resolution)
    while following is not None and len(firings) < limit and table.due_at(following) <= now:
        firings.append(Firing(following, table.is_missed(following, now)))
        following = table.first_after(following)
    return Plan(tuple(firings), following)


def _first_not_missed(table: Timetable, planned: datetime, now: datetime) -> datetime | None:
    """The first moment from `planned` on that can still fire, late or in time."""
    certainly_missed = now - GRACE - timedelta(seconds=table.jitter_seconds) - SECOND
    moments = table.schedule.after(max(planned, certainly_missed))
    return next((moment for moment in moments if not table.is_missed(moment, now)), None)


def _last_between(table: Timetable, first: datetime, end: datetime) -> datetime:
    """The last moment before `end`, where `first` is one: halves the time between them until a second is left."""
    low, high = 0, int((end - first).total_seconds()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        moment = table.first_after(first + (middle - 1) * SECOND)
        if moment is not None and moment < end:
            low = middle
        else:
            high = middle
    return first + low * SECOND
