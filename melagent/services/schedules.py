"""From the configuration of a trigger to its timetable, and to where it stands after a deploy, a change, a pause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from melagent.domain.firing import Missed, Timetable
from melagent.domain.schedule import Cron, Every
from melagent.nodes.schedule import ScheduleParams, fields_of
from melagent.nodes.timer import TimerParams
from melagent.store import schedules
from melagent.store.schedules import Position

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection
    from melagent.store.schedules import Held

SCHEDULE = "schedule"
TIMER = "timer"


def timetable(trigger: Held, since: datetime) -> Timetable | None:
    """When a trigger fires whose schedule began then; null when it has no schedule. ValueError for a wrong config."""
    if trigger.type == SCHEDULE:
        params = ScheduleParams.model_validate(orjson.loads(trigger.config))
        cron = Cron(fields_of(params.cron), params.timezone)
        return Timetable(trigger.id, cron, Missed(params.missed), params.jitter)
    if trigger.type == TIMER:
        timer = TimerParams.model_validate(orjson.loads(trigger.config))
        return Timetable(trigger.id, Every(timer.seconds, since), Missed(timer.missed))
    return None


def zone_of(table: Timetable) -> str:
    return table.schedule.zone if isinstance(table.schedule, Cron) else "UTC"


async def settle(conn: Connection, workflow_id: UUID, before: Mapping[UUID, Held]) -> None:
    """Bring the positions of a workflow's triggers in line with a change in this transaction.

    `before` is what `schedules.hold` answered at its beginning. A schedule that stays as it was keeps its position,
    also for moments that are due now. One that is new, or whose moments are others, begins anew. One that comes back,
    because it was resumed or its node deployed again, goes on with the next moment: what passed meanwhile does not
    fire.
    """
    after, now = await schedules.hold(conn, workflow_id), await schedules.now(conn)
    positions = [position_of(before.get(trigger.id), trigger, now) for trigger in after.values()]
    await schedules.move(conn, [position for position in positions if not _is_at(after[position.trigger_id], position)])


def position_of(before: Held | None, after: Held, now: datetime) -> Position:
    """Where a trigger stands after a change."""
    since = _unchanged_since(before, after)
    table = timetable(after, since or now) if after.armed else None
    if table is None:
        return Position(after.id, since, None, None)
    stays = before is not None and before.armed and since is not None
    planned = before.planned_at if before is not None and stays else table.first_after(now)
    return Position(after.id, since or now, planned, planned and table.due_at(planned))


def _unchanged_since(before: Held | None, after: Held) -> datetime | None:
    """Since when a trigger has had the moments that it has now; null when it has others, or never had any.

    What becomes of missed ones is another matter.
    """
    if before is None or before.since is None:
        return None
    if (before.type, before.config) == (after.type, after.config):
        return before.since
    try:
        old, new = timetable(before, before.since), timetable(after, before.since)
    except ValueError:  # an earlier version of the program may have allowed what this one does not
        return None
    same = old is not None and new is not None and replace(old, missed=new.missed) == new
    return before.since if same else None


def _is_at(trigger: Held, position: Position) -> bool:
    return (trigger.since, trigger.planned_at, trigger.next_fire_at) == (
        position.since, position.planned_at, position.next_fire_at,
    )  # fmt: skip
