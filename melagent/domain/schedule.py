"""Schedules: the moments at which they are planned to fire. There is no clock in here; who asks says what time it is.

Moments are in UTC and whole seconds. A schedule is a series without state: which moments follow one another does not
depend on where the reading begins.

**Clock changes.** A cron schedule is about what the clocks of its zone show, and on two days of the year they jump.

* When its hour or its minute begins with `*` (`*/15 * * * *`) it goes on evenly: it fires whenever the clocks show a
  time that fits. In the hour that they skip there is none, in the hour that comes twice it fires both times.
* Otherwise it names times of day (`30 2 * * *`). A time that the clocks skip fires at the first moment after the gap,
  once, also when several lie in the gap or another is planned for just then. A time that comes twice fires the first
  time only. So such a schedule fires exactly once on each of its days.

These are the rules of Debian's cron, here for six fields as well, which that one does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
"""No zone changes its clocks and changes them back within a day."""


class Schedule(Protocol):
    def after(self, moment: datetime) -> Iterator[datetime]:
        """The planned moments after this one, in order; they end when there is none for fifty years."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from the second in which the schedule began."""

    seconds: int
    since: datetime

    def after(self, moment: datetime) -> Iterator[datetime]:
        step, start = timedelta(seconds=self.seconds), self.since.replace(microsecond=0)
        for number in count(max(0, (moment - start) // step) + 1):
            yield start + number * step


@dataclass(frozen=True, slots=True)
class Cron:
    """When the clocks of a zone show a time that fits `fields`, of which there are five, or six with seconds first."""

    fields: str
    zone: str = "UTC"

    def after(self, moment: datetime) -> Iterator[datetime]:
        zone = ZoneInfo(self.zone)
        minute, hour = self.fields.split()[-5:-3]
        if minute.startswith("*") or hour.startswith("*"):
            return self._evenly(moment, zone)
        return self._at_times_of_day(moment, zone)

    def _evenly(self, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Between two changes clocks run evenly, so each stretch is read by itself."""
        begun, ahead = moment, _ahead(moment, zone)
        wall = _wall(moment, ahead)
        while True:
            change = None
            for shown in CronSim(self.fields, wall):
                planned = (shown - ahead).replace(tzinfo=UTC)
                if change := _first_change(begun, planned, zone):
                    break
                yield planned
                begun = planned
            if change is None:
                return
            begun, ahead = change, _ahead(change, zone)
            wall = _wall(change, ahead) - SECOND

    def _at_times_of_day(self, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        latest = moment
        for shown in CronSim(self.fields, _wall(moment, _ahead(moment, zone))):
            planned = _first_time(shown, zone)
            if planned > latest:
                yield planned
                latest = planned


def _ahead(moment: datetime, zone: ZoneInfo) -> timedelta:
    """How far the clocks of the zone are ahead of UTC at a moment."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def _wall(moment: datetime, ahead: timedelta) -> datetime:
    """What clocks show that are so far ahead of UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) + ahead


def _first_time(shown: datetime, zone: ZoneInfo) -> datetime:
    """When clocks show this for the first time; if they skip it, the moment of that change."""
    moment = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(moment, _ahead(moment, zone)) == shown:
        return moment
    return _first_change(moment - DAY, moment, zone) or moment


def _first_change(start: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first moment after `start` and not after `end` at which clocks were changed."""
    before = _ahead(start, zone)
    while start < end:
        step = min(start + DAY, end)
        if _ahead(step, zone) != before:
            return _change_between(start, step, zone)
        start = step
    return None


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The one change between two moments that are a day apart at most: changes fall on whole seconds."""
    ahead = _ahead(before, zone)
    low, high = int(before.timestamp()), -int(-after.timestamp() // 1)
    while high - low > 1:
        middle = (low + high) // 2
        if _ahead(datetime.fromtimestamp(middle, UTC), zone) == ahead:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
