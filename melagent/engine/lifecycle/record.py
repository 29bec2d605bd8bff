"""Record: steps become durable and leases end, fenced by the lease token, many runs in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.domain.work import Entry, Verdict
from melagent.engine import metrics
from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.persist import bisected, persistently, with_partitions
from melagent.store import journal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

LANES = 2

log = structlog.get_logger()


class Recorder:
    """Writes journal entries in batches. `on_recorded` is given those that were accepted, after they are durable."""

    def __init__(self, pool: Pool, *, lease_seconds: float, on_recorded: Callable[[Sequence[Entry]], None]) -> None:
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
        verdicts = await bisected(entries, self._write_part, _refuse)
        accepted = [e for e, v in zip(entries, verdicts, strict=True) if v is Verdict.ACCEPTED]
        if accepted:
            self._on_recorded(accepted)
        return verdicts

    async def _write_part(self, entries: Sequence[Entry]) -> list[Verdict]:
        async def operation(conn: Connection) -> set[UUID]:
            run_ids = [entry.run_id for entry in entries]
            held = await with_partitions(conn, run_ids, lambda: journal.write(conn, entries, self._lease_seconds))
            unheld = [e for e in entries if e.settle and e.run_id not in held]
            return held | await journal.settled_by(conn, unheld) if unheld else held

        metrics.JOURNAL_ENTRIES.observe(len(entries))
        with metrics.JOURNAL_SECONDS.time():
            accepted = await persistently(self._pool, operation, seconds=self._lease_seconds)
        metrics.LEASES_LOST.inc(len(entries) - len(accepted))
        return [Verdict.ACCEPTED if e.run_id in accepted else Verdict.LEASE_LOST for e in entries]


def _size(entry: Entry) -> int:
    result = len(entry.settle.output or b"") if entry.settle else 0
    return result + sum(len(step.output or b"") for step in entry.steps)


def _refuse(entry: Entry, error: BaseException) -> Verdict:
    log.warning("entry refused", run_id=str(entry.run_id), seq=entry.seq, error=f"{type(error).__name__}: {error}")
    return Verdict.INVALID
