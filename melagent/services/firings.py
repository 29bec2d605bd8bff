"""What schedules start: claims the triggers that are due and says which runs they begin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import orjson
import structlog

from melagent.domain.firing import plan
from melagent.domain.run import Trigger
from melagent.domain.work import NewRun
from melagent.engine import metrics
from melagent.engine.lifecycle.fire import Due, Salvo
from melagent.errors import MelError
from melagent.services.definitions import decode
from melagent.services.schedules import timetable, zone_of
from melagent.services.starts import facts_of
from melagent.store import schedules, versions
from melagent.store.ids import new_id_at
from melagent.store.schedules import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.firing import Firing, Timetable
    from melagent.engine.engine import Engine
    from melagent.registry import Registry
    from melagent.store.pool import Connection
    from melagent.store.schedules import Held, Soon

AT_ONCE = Due(limit=50, limit_missed=10)
MOST_MOMENTS = 20
"""Of one trigger in one transaction, which so starts at most 1,200 runs. What is left stays due."""

MAX_KNOWN_VERSIONS = 10_000
LEFT_OUT_SECONDS = 60.0
UNREADABLE = (ValueError, MelError)

log = structlog.get_logger()


class Firings:
    """Fires what is due. What this instance cannot read, because it is of a later version, is left to others."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._facts: dict[UUID, dict[str, Any] | None] = {}
        self._unknown: dict[UUID, UUID] = {}
        self._left_out: dict[UUID, float] = {}

    async def fire_due(self, within_seconds: float) -> float | None:
        """Fire what is due, one batch; seconds until the next is due, null when that is later than asked for."""
        self._look_again()
        async with self._engine.pool.acquire() as conn:
            soon = await schedules.soon(conn, within_seconds, self._left_out, AT_ONCE.limit)
            await self._learn(conn, soon)
        if not soon:
            return None
        if soon[0].due_in > 0:
            return soon[0].due_in
        await self._engine.fire(self._left_out, AT_ONCE, self._salvo)
        return 0.0

    def _look_again(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left_out = {trigger_id: until for trigger_id, until in self._left_out.items() if until > now}

    async def _learn(self, conn: Connection, soon: Sequence[Soon]) -> None:
        """Versions never change, so what they say about their runs is read once, and before anything is locked."""
        if len(self._facts) > MAX_KNOWN_VERSIONS:
            self._facts.clear()
        needed = self._unknown | {each.version_id: each.workflow_id for each in soon}
        self._unknown = {}
        for version_id in needed.keys() - self._facts.keys():
            text = await versions.definition_of(conn, version_id)
            try:
                self._facts[version_id] = facts_of(decode(text or b"{}"), self._registry, needed[version_id])
            except UNREADABLE as error:
                log.warning("version cannot be read", version_id=str(version_id), error=type(error).__name__)
                self._facts[version_id] = None

    def _salvo(self, held: Sequence[Held], now: datetime) -> Salvo:
        """What to start for locked triggers. One whose version is not known yet is left for the next pass."""
        salvo = Salvo()
        for trigger in held:
            if trigger.version_id is not None and trigger.version_id not in self._facts:
                self._unknown[trigger.version_id] = trigger.workflow_id
                continue
            try:
                self._add(salvo, trigger, now)
            except UNREADABLE as error:
                self._left_out[trigger.id] = asyncio.get_running_loop().time() + LEFT_OUT_SECONDS
                log.warning("schedule cannot be read", trigger_id=str(trigger.id), error=type(error).__name__)
        return salvo

    def _add(self, salvo: Salvo, trigger: Held, now: datetime) -> None:
        table = timetable(trigger, trigger.since or now)
        if table is None or trigger.planned_at is None:
            raise ValueError(f"a trigger of the type {trigger.type} has no schedule")
        planned = plan(table, trigger.planned_at, now, MOST_MOMENTS)
        runs = [self._run(trigger, table, firing, now) for firing in planned.firings]
        following = planned.following
        due_at = following and table.due_at(following)
        salvo.runs.extend(runs)
        salvo.positions.append(Position(trigger.id, trigger.since, following, due_at, fired=bool(runs)))
        _tell(trigger, table, planned.firings, now)

    def _run(self, trigger: Held, table: Timetable, firing: Firing, now: datetime) -> NewRun:
        facts = self._facts[trigger.version_id] if trigger.version_id else None
        if trigger.version_id is None or trigger.entry is None or facts is None:
            raise ValueError("it has no version that can be started")
        return NewRun(
            id=new_id_at(now),
            workflow_id=trigger.workflow_id,
            version_id=trigger.version_id,
            entry=trigger.entry,
            input=_input(firing, zone_of(table)),
            trigger=Trigger(trigger.type, trigger.id, trigger.entry, firing.scheduled_for),
            **facts,
        )


def _input(firing: Firing, zone: str) -> bytes:
    given = {
        "scheduled_for": firing.scheduled_for,
        "local_time": firing.scheduled_for.astimezone(ZoneInfo(zone)).isoformat(),
        "timezone": zone,
        "missed": firing.missed,
    }
    return orjson.dumps(given, option=orjson.OPT_UTC_Z)


def _tell(trigger: Held, table: Timetable, firings: Sequence[Firing], now: datetime) -> None:
    made_up = sum(firing.missed for firing in firings)
    metrics.MOMENTS_MADE_UP.inc(made_up)
    for firing in firings:
        if not firing.missed:
            metrics.FIRING_LAG_SECONDS.observe((now - table.due_at(firing.scheduled_for)).total_seconds())
    if trigger.planned_at is not None and table.is_missed(trigger.planned_at, now):
        log.warning(
            "moments were missed",
            trigger_id=str(trigger.id),
            since=trigger.planned_at.isoformat(),
            policy=table.missed,
            made_up=made_up,
        )
