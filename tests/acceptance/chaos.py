"""Kills and stops processes of a cluster by a seed, and knows afterwards what that cost."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.builders import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deploy.local.topology import Topology

TURN_SECONDS = 2.0
AT_ONCE = timedelta(seconds=1)
"""What was sent so short before an instance stood still may not have been read by it."""

BEGUN_SECONDS = 3.0
"""How long after a process goes on a call may come that it had begun before it stood still."""

NOTE_GRANTS = """
CREATE TABLE granted (run_id uuid, worker_id text, at timestamptz);
CREATE FUNCTION note_grant() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO granted VALUES (NEW.run_id, NEW.worker_id, clock_timestamp()); RETURN NULL; END';
CREATE TRIGGER note_grant AFTER UPDATE ON work_items FOR EACH ROW
    WHEN (NEW.lease IS NOT NULL AND NEW.lease IS DISTINCT FROM OLD.lease) EXECUTE FUNCTION note_grant()
"""
TAKEN_OVER = """
SELECT extract(epoch FROM least(min(g.at), r.finished_at) - lost.at)::float8 AS seconds
  FROM unnest($1::uuid[], $2::timestamptz[]) AS lost (run_id, at)
  JOIN runs r ON r.id = lost.run_id LEFT JOIN granted g ON g.run_id = lost.run_id AND g.at > lost.at
 GROUP BY lost.run_id, lost.at, r.finished_at
"""
"""A run may also end without another grant: its last word was on the way when its worker died."""


async def note_grants(cluster: Topology) -> None:
    """Let the database note from now on when each run is granted again."""
    async with cluster.database() as conn:
        await conn.execute(NOTE_GRANTS)


async def now_of(cluster: Topology) -> datetime:
    """The clock of the database."""
    async with cluster.database() as conn:
        return await conn.fetchval("SELECT clock_timestamp()")


async def leases_of(cluster: Topology, worker_id: str) -> list[tuple[Any, datetime]]:
    """The runs that a worker holds, each with the database's time."""
    async with cluster.database() as conn:
        rows = await conn.fetch(
            "SELECT run_id, clock_timestamp() AS at FROM work_items WHERE worker_id = $1", worker_id
        )
    return [(row["run_id"], row["at"]) for row in rows]


async def takeover_seconds(cluster: Topology, lost: Sequence[tuple[Any, datetime]]) -> list[float]:
    """For runs and the moments at which their worker was lost: how long until each was granted again."""
    async with cluster.database() as conn:
        rows = await conn.fetch(TAKEN_OVER, [run for run, _ in lost], [at for _, at in lost])
    return [row["seconds"] for row in rows]


@dataclass
class Chaos:
    """Every two seconds a process is killed and replaced; each third one is stopped and continued after a pause.

    At most one worker and one instance stand still at a time, and what has just gone on is left alone.
    """

    cluster: Topology
    seed: int
    pauses: tuple[float, ...]
    lease_seconds: float
    done: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[Any, datetime]] = field(default_factory=list)
    stood_still: list[tuple[datetime, datetime]] = field(default_factory=list)
    """From when to when instances did, by the clock of the database."""
    thaws: list[tuple[str, float]] = field(default_factory=list)
    dropped: int = 0
    """Runs that workers let go of when they went on after their lease had passed to somebody else."""
    _frozen: set[str] = field(default_factory=set)

    async def go(self, turns: int) -> None:
        """Return when all that stood still has gone on."""
        dice, pauses = random.Random(self.seed), itertools.cycle(self.pauses)
        stopping = itertools.cycle(["worker", "api", "worker", "worker"])
        await note_grants(self.cluster)
        async with asyncio.TaskGroup() as still:
            for turn in range(turns):
                await asyncio.sleep(TURN_SECONDS)
                self._check_that_nobody_ended_by_itself()
                kind = next(stopping) if turn % 3 == 2 else dice.choice(["worker", "api"])
                victims = [member.name for member in self.cluster.of_kind(kind) if member.name not in self._frozen]
                victim = dice.choice(victims)
                if turn % 3 == 2 and len(victims) == len(self.cluster.of_kind(kind)):
                    self._frozen.add(victim)
                    still.create_task(self._stand_still(victim, kind, next(pauses)))
                else:
                    await self._kill(victim, kind, turn)

    def lost_while_instances_answered(self, seconds: float) -> list[tuple[Any, datetime]]:
        """The runs of lost workers but those for which an instance stood still within so many seconds of the loss.

        Such an instance keeps the last heartbeat of a worker that is dead, and brings it when it goes on: the lease
        then counts from that moment. And it keeps a living worker's claim from those who have work for it.
        """
        during = timedelta(seconds=seconds)
        return [
            (run, at)
            for run, at in self.lost
            if not any(began - AT_ONCE <= at + during and at <= ended for began, ended in self.stood_still)
        ]

    def had_begun(self, key: str, at: float) -> bool:
        """Whether a call was made by a worker that had just gone on, and had held the run before it stood still."""
        run_id = key.partition(":")[0]
        return any(
            thawed <= at <= thawed + BEGUN_SECONDS and run_id in self.cluster.logged(name)
            for name, thawed in self.thaws
        )

    async def _kill(self, victim: str, kind: str, turn: int) -> None:
        """A worker's replacement is there first, so that there is always one who can take over."""
        if kind == "worker":
            new = f"worker-{turn + 10}"
            await self.cluster.start_worker(new)
            await eventually(lambda: "worker registered" in self.cluster.logged(new))
            self.lost += await leases_of(self.cluster, victim)
        await self.cluster.kill(victim)
        if kind == "api":
            await self.cluster.start_api(victim)
        self.done[f"{kind} killed"] += 1

    def _check_that_nobody_ended_by_itself(self) -> None:
        for member in self.cluster.members.values():
            code = member.process.returncode if member.process is not None else None
            assert code in (None, -signal.SIGKILL), (
                f"{member.name} ended with {code}: {self.cluster.logged(member.name)[-3000:]}"
            )

    async def _stand_still(self, victim: str, kind: str, seconds: float) -> None:
        late = seconds > self.lease_seconds
        before = self.cluster.logged(victim).count("run dropped")
        began = await now_of(self.cluster)
        self.cluster.freeze(victim)
        held = await leases_of(self.cluster, victim)
        await asyncio.sleep(seconds)
        self.cluster.thaw(victim)
        if kind == "api":
            self.stood_still.append((began, await now_of(self.cluster)))
        self.thaws.append((victim, time.time()))
        self.done[f"{kind} stopped and continued{' late' * late}"] += 1
        self.lost += held if late else []
        await asyncio.sleep(BEGUN_SECONDS)
        self._frozen.discard(victim)
        self.dropped += self.cluster.logged(victim).count("run dropped") - before
