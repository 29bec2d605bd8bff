"""The measurement as a whole: which parts, in which order, and what they should come to."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.figures import median_by
from benchmarks.idle import allow_open_files
from benchmarks.outcome import Goal, Outcome
from benchmarks.realtime.contenders import contenders
from benchmarks.realtime.measures import begin_at, delivery, highest, killed, many, resting
from benchmarks.realtime.setting_up import peers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from benchmarks.outcome import Options
    from benchmarks.realtime.contenders import Contender

    Contenders = dict[str, Callable[[], AbstractAsyncContextManager[Contender]]]

IN_ROUNDS = ("delivery", "highest", "killed")
"""In this order: the last one ends a contender."""

PARTS = (*IN_ROUNDS, "resting", "many")
OURS, ALONE, FLOOR, HOCUSPOCUS = "ours", "ours, PostgreSQL alone", "floor", "hocuspocus"
SECONDS = 5.0
DELIVERIES = 9.0
"""A second, for each connection, where it is measured how long they take: 9,000 at 1,000."""

RESTING_MINUTES = 5
OPEN_FILES = 1_000
"""Of an instance, or nginx, besides its sockets."""

MANY_SECONDS = 20.0
"""How long each batch of many sockets is left alone: longer than a peer is asked whether it is there."""

P50_MS, P99_MS = 3.0, 10.0
TIMES_HOCUSPOCUS = 5.0
SHARE_ALONE = 0.85
KIB = 24.0
GROWTH = 1.05
IN_STEP_SECONDS = 2.0


async def realtime(folder: Path, options: Options) -> Outcome:
    """All parts, or those that the options name."""
    allow_open_files(max(options.many, 4 * max(options.sockets)) + OPEN_FILES)
    installed = await peers()
    measured = _Measured(contenders(installed, folder / "peers"), options)
    parts = options.parts or PARTS
    if in_rounds := [part for part in IN_ROUNDS if part in parts]:
        await measured.rounds(in_rounds)
    if "resting" in parts:
        await measured.resting()
    if "many" in parts:
        await measured.many()
    return Outcome(
        measured.rows(), measured.goals(), measured.postgres, {"peers": installed.versions, **measured.details}
    )


class _Measured:
    """What was measured so far: `details` by part and contender."""

    def __init__(self, known: Contenders, options: Options) -> None:
        self.details: dict[str, Any] = {}
        self.postgres: dict[str, Any] = {}
        self._known = known
        self._options = options
        self._seconds = options.seconds or SECONDS
        self._sockets = max(options.sockets)

    async def rounds(self, parts: Sequence[str]) -> None:
        """Each contender in its turn, so that what disturbs the machine disturbs all; it is started anew each time."""
        for _ in range(self._options.rounds):
            for name in self._known:
                async with self._known[name]() as contender:
                    await self._note(contender)
                    for part in parts:
                        if name == FLOOR and part == "killed":
                            continue  # it forgets whoever comes back
                        _say(f"{name}, {part}")
                        await getattr(self, f"_{part}")(name, contender)

    async def _delivery(self, name: str, contender: Contender) -> None:
        for sockets in self._options.sockets:
            figures = await delivery(contender, sockets, DELIVERIES * sockets, self._seconds)
            self._add(f"delivery_at_{sockets}", name, figures)
            _say(f"  {sockets} sockets: same {figures['same']}, cross {figures['cross']}")

    async def _highest(self, name: str, contender: Contender) -> None:
        before = self._of("highest", name)
        reached = before[-1]["deliveries"] if before else 0
        figures = await highest(contender, self._sockets, self._seconds, begin_at(reached))
        if reached and not figures["deliveries"]:  # it began too high
            figures = await highest(contender, self._sockets, self._seconds)
        self._add("highest", name, figures)

    async def _killed(self, name: str, contender: Contender) -> None:
        figures = await killed(contender, self._sockets)
        self._add("killed", name, figures)
        _say(f"  {figures}")

    async def resting(self) -> None:
        """All at the same time: nothing happens that could disturb."""
        seconds = RESTING_MINUTES * self._options.minute
        names = [name for name in self._known if name not in (ALONE, FLOOR)]
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._rest(name, seconds)) for name in names}
        self.details["resting"] = {name: task.result() for name, task in tasks.items()}

    async def _rest(self, name: str, seconds: float) -> dict[str, Any]:
        async with self._known[name]() as contender:
            figures = await resting(contender, self._sockets, seconds)
        _say(f"{name} at rest: {figures}")
        return figures

    async def many(self) -> None:
        async with self._known[OURS]() as contender:
            await self._note(contender)
            figures = await many(contender, self._options.many, min(MANY_SECONDS, 4 * self._seconds))
        _say(f"ours, many: {figures}")
        self.details["many"] = {OURS: figures}

    def rows(self) -> list[dict[str, Any]]:
        """One for each contender and number of connections; what is measured at one number only stands there."""
        return [self._row(name, sockets) for name in self._known for sockets in self._options.sockets]

    def _row(self, name: str, sockets: int) -> dict[str, Any]:
        delivered = self._delivered(name, sockets)
        row: dict[str, Any] = {"what": name, "connections": sockets}
        for where in ("same", "cross"):
            row[f"{where} p50, p95, p99 ms"] = _shown(delivered[where]) if delivered else None
        at_most = sockets == self._sockets
        reached, stopped = self._reached(name), self._stopped(name)
        rest = self.details.get("resting", {}).get(name)
        return row | {
            "highest/s": reached if at_most else None,
            "KiB/connection": rest["kib_per_connection"] if rest and at_most else None,
            "in step s": stopped["in_step_seconds"] if stopped and at_most else None,
            "lost": stopped["missing"] if stopped and at_most else None,
        }

    def goals(self) -> list[Goal]:
        """Of what was measured."""
        goals = []
        for name in (OURS, ALONE):
            if delivered := self._delivered(name, self._sockets):
                where = f"realtime: {name}: cross-instance at {self._sockets}"
                goals.append(Goal(f"{where}, p50 ms", delivered["cross"]["p50_ms"], "at most", P50_MS))
                goals.append(Goal(f"{where}, p99 ms", delivered["cross"]["p99_ms"], "at most", P99_MS))
        if (most := self._reached(OURS)) is not None:
            others, alone = self._reached(HOCUSPOCUS) or 1, self._reached(ALONE) or 0
            goals.append(Goal("realtime: times Hocuspocus' rate", most / others, "at least", TIMES_HOCUSPOCUS))
            goals.append(Goal("realtime: PostgreSQL alone, of the rate", alone / max(most, 1), "at least", SHARE_ALONE))
        if rest := self.details.get("resting"):
            goals.append(Goal("realtime: KiB a connection", rest[OURS]["kib_per_connection"], "at most", KIB))
            goals.append(Goal("realtime: connections lost at rest", rest[OURS]["lost"], "at most", 0))
        if batches := self.details.get("many"):
            least = min(batch["open"] for batch in batches[OURS]["batches"])
            goals.append(Goal("realtime: sockets on one instance", least, "at least", batches[OURS]["sockets"]))
            growth = batches[OURS]["growth"]
            goals.append(Goal("realtime: memory, third batch by first", growth, "at most", GROWTH))
        for name in (OURS, ALONE):
            if stopped := self._stopped(name):
                where = f"realtime: {name}: killed instance"
                goals.append(Goal(f"{where}, in step s", stopped["in_step_seconds"], "at most", IN_STEP_SECONDS))
                goals.append(Goal(f"{where}, updates lost", stopped["missing"], "at most", 0))
        return goals

    def _add(self, part: str, name: str, figures: dict[str, Any]) -> None:
        self.details.setdefault(part, {}).setdefault(name, []).append(figures)

    def _of(self, part: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.details.get(part, {}).get(name, [])
        return found

    async def _note(self, contender: Contender) -> None:
        if contender.cluster is not None and not self.postgres:
            self.postgres = await machine.postgres(contender.cluster.dsn)

    def _delivered(self, name: str, sockets: int) -> dict[str, Any] | None:
        """The round whose latency is the median; null when it was not measured, or did not deliver everything."""
        rounds = self._of(f"delivery_at_{sockets}", name)
        whole = [{**figures, "by": figures["cross"]["p99_ms"]} for figures in rounds if figures["cross"]]
        return median_by("by", whole) if whole else None

    def _reached(self, name: str) -> int | None:
        rounds = self._of("highest", name)
        return int(median_by("deliveries", rounds)["deliveries"]) if rounds else None

    def _stopped(self, name: str) -> dict[str, Any] | None:
        rounds = self._of("killed", name)
        return median_by("in_step_seconds", rounds) if rounds else None


def _shown(latencies: dict[str, float]) -> str:
    return ", ".join(f"{latencies[share]:g}" for share in ("p50_ms", "p95_ms", "p99_ms"))


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
