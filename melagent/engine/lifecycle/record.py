"""Record: steps become durable and leases end, fenced by the lease token, many runs in one statement.

Entries that do more than that (start children, take in messages, change variables) are written in a transaction of
their own, many at once as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from melagent.domain.commands import with_result
from melagent.domain.work import Entry, NewRun, Verdict
from melagent.engine import metrics
from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.persist import bisected, persistently, with_partitions
from melagent.store import inbox, journal, variables, work
from melagent.store.pool import guarded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Mapping, Sequence
    from uuid import UUID

    from melagent.store.journal import Written
    from melagent.store.pool import Connection, Pool

LANES = 2

log = structlog.get_logger()


@dataclass(slots=True)
class Aftermath:
    """What has become possible by a write: runs to wake, workflows with a free place, children to run, failures."""

    to_wake: set[UUID] = field(default_factory=set)
    with_place: set[UUID] = field(default_factory=set)
    started: list[NewRun] = field(default_factory=list)
    failed: bool = False


class Recorder:
    """Writes journal entries in batches. `on_recorded` is given those that were accepted, after they are durable."""

    def __init__(
        self, pool: Pool, *, lease_seconds: float, on_recorded: Callable[[Sequence[Entry], Aftermath], None]
    ) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._on_recorded = on_recorded
        # One entry of a run in a statement: beside that of the lease's holder there may be one that is too late.
        self._batcher: Batcher[Entry, Verdict] = Batcher(
            self._write, lanes=LANES, size_of=_size, key_of=lambda entry: entry.run_id
        )

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        """Whether the entry was recorded. Raises Unavailable when the database stays away for a whole lease."""
        return self._batcher.submit(entry)

    async def drain(self) -> None:
        await self._batcher.drain()

    async def _write(self, entries: Sequence[Entry]) -> list[Verdict]:
        aftermath = Aftermath()

        async def write_part(part: Sequence[Entry]) -> list[Verdict]:
            written = await self._write_part(part)
            accepted = [entry.run_id in written for entry in part]
            _note(aftermath, [entry for entry, fine in zip(part, accepted, strict=True) if fine], written)
            return [Verdict.ACCEPTED if fine else Verdict.LEASE_LOST for fine in accepted]

        verdicts = await bisected(entries, write_part, _refuse)
        accepted = [e for e, v in zip(entries, verdicts, strict=True) if v is Verdict.ACCEPTED]
        if accepted:
            self._on_recorded(accepted, aftermath)
        return verdicts

    async def _write_part(self, entries: Sequence[Entry]) -> Mapping[UUID, Written | None]:
        """The runs whose entry is durable; with null where nothing more is known of one that was written before."""
        plain = [entry for entry in entries if entry.is_plain]
        others = [entry for entry in entries if not entry.is_plain]

        async def operation(conn: Connection) -> dict[UUID, Written | None]:
            held: dict[UUID, Written | None] = {}
            if plain:
                run_ids = [entry.run_id for entry in plain]
                held |= await with_partitions(conn, run_ids, lambda: journal.write(conn, plain, self._lease_seconds))
            if others:
                run_ids = [*(entry.run_id for entry in others), *(run.id for entry in others for run in entry.starts)]
                held |= await with_partitions(conn, run_ids, lambda: self._write_together(conn, others))
            unheld = [e for e in entries if e.settle and e.run_id not in held]
            return held | dict.fromkeys(await journal.settled_by(conn, unheld)) if unheld else held

        metrics.JOURNAL_ENTRIES.observe(len(entries))
        with metrics.JOURNAL_SECONDS.time():
            accepted = await persistently(self._pool, operation, seconds=self._lease_seconds)
        metrics.LEASES_LOST.inc(len(entries) - len(accepted))
        return accepted

    async def _write_together(self, conn: Connection, entries: Sequence[Entry]) -> dict[UUID, Written]:
        """Entries with all that belongs to them, in one transaction."""
        async with guarded(conn):
            held = await journal.hold(conn, entries)
            entries = await _with_results(conn, entries, held)
            fresh = [entry for entry in entries if entry.run_id in held]
            taken = [(entry.run_id, number) for entry in fresh for number in entry.taken]
            if taken:
                await inbox.take(conn, [run_id for run_id, _ in taken], [number for _, number in taken])
            written = await journal.write(conn, entries, self._lease_seconds)
            if starts := [run for entry in fresh for run in entry.starts]:
                await work.start(conn, starts, [None] * len(starts), self._lease_seconds)
            return written


async def _with_results(conn: Connection, entries: Sequence[Entry], held: Collection[UUID]) -> Sequence[Entry]:
    """Execute the commands of the entries of these runs; the entries with what came of them."""
    commands = [(entry.run_id, command) for entry in entries if entry.run_id in held for command in entry.commands]
    if not commands:
        return entries
    results = await variables.apply(conn, [command.command for _, command in commands])
    found = {
        (run_id, command.step_key): (command, result)
        for (run_id, command), result in zip(commands, results, strict=True)
    }
    return [
        replace(
            entry,
            steps=tuple(
                with_result(step, *found[name]) if (name := (entry.run_id, step.step_key)) in found else step
                for step in entry.steps
            ),
        )
        for entry in entries
    ]


def _note(aftermath: Aftermath, entries: Sequence[Entry], written: Mapping[UUID, Written | None]) -> None:
    for entry in entries:
        if entry.settle is not None and entry.settle.waits:
            aftermath.to_wake.add(entry.run_id)  # a message may have come while it parked
        aftermath.started += entry.starts
        if (what := written[entry.run_id]) is not None:
            aftermath.to_wake |= {what.parent} if what.parent else set()
            aftermath.with_place |= {what.limited_by} if what.limited_by else set()
            aftermath.failed = aftermath.failed or what.failed
    aftermath.with_place |= {run.limit.workflow_id for run in aftermath.started if run.limit}


def _size(entry: Entry) -> int:
    return sum(map(len, entry.values))


def _refuse(entry: Entry, error: BaseException) -> Verdict:
    log.warning("entry refused", run_id=str(entry.run_id), seq=entry.seq, error=f"{type(error).__name__}: {error}")
    return Verdict.INVALID
