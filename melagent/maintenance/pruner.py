"""Drops the weeks whose history need not be kept any longer. Every instance looks; an advisory lock decides who drops.

A week is dropped as a whole, and only when none of its runs is alive: a run that sleeps for a year keeps the week of
its start for a year. Whatever else runs leave behind is in `store.remains`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from melagent.engine import metrics
from melagent.errors import Unavailable
from melagent.loop import Loop
from melagent.store import remains, retention
from melagent.store.pool import MAY_PASS, single_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.store.pool import Connection, Pool
    from melagent.store.retention import Week

INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 60.0

NOT_NOW: tuple[type[BaseException], ...] = (Unavailable, *MAY_PASS)

log = structlog.get_logger()


class Pruner:
    """Keeps runs for `days` days, for ever with 0. `dsn` leads to the server itself: a claim needs its own session."""

    def __init__(self, pool: Pool, dsn: str, days: int) -> None:
        self._pool = pool
        self._dsn = dsn
        self._days = days
        self._kept: set[str] = set()
        self.loop = Loop("pruner", self.one_pass, interval_seconds=INTERVAL_SECONDS)

    async def one_pass(self) -> float | None:
        """Drop one week, the oldest; again at once when there was one."""
        async with self._pool.acquire() as conn:
            weeks = await retention.expired(conn, self._days)
        self._tell_kept([week for week in weeks if week.live and not week.begun])
        due = [week.name for week in weeks if week.begun or not week.live]
        if not due:
            return None
        try:
            async with single_connection(self._dsn) as conn:
                if not await retention.claim(conn):
                    return RETRY_SECONDS
                await drop_week(conn, due[0])
        except NOT_NOW as error:
            log.warning("week not dropped yet", week=due[0], error=f"{type(error).__name__}: {error}")
            return RETRY_SECONDS
        return 0.0

    def _tell_kept(self, weeks: Sequence[Week]) -> None:
        """Say which weeks are kept for the sake of runs that have not ended, once for each."""
        metrics.WEEKS_KEPT.set(len(weeks))
        for week in weeks:
            if week.name not in self._kept:
                log.info("week kept, runs of it have not ended", week=week.name, live_runs=week.live)
        self._kept = {week.name for week in weeks}


async def drop_week(conn: Connection, week: str) -> None:
    """Drop the tables of a week, from wherever that stands; may be interrupted and repeated at any point.

    Once a week is detached nothing can be started in it. So the second look at its live runs is the last word: should a
    clock that is weeks behind have started one since the first look, the week is attached again.
    """
    for table in await retention.tables(conn, week):
        await retention.detach(conn, table)
    marked = [table for table in await retention.tables(conn, week) if table.marked]
    if not marked:
        return  # another instance was faster
    if live := await retention.live_runs(conn, week):
        for table in marked:
            await retention.attach(conn, table)
        log.warning("week kept, a run was started in it", week=week, live_runs=live)
        return
    await remains.drop_between(conn, *retention.ids_of(week))
    for table in marked:
        await retention.drop(conn, table)
    metrics.WEEKS_DROPPED.inc()
    log.info("week dropped", week=week, tables=[table.name for table in marked])
