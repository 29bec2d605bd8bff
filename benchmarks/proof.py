"""Proves by SQL that what was answered is what was done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from uuid import UUID

ENDED_WITHIN_SECONDS = 30.0

LIVE = "SELECT (SELECT count(*) FROM work_items) + (SELECT count(*) FROM parked)"

RUNS = """
SELECT count(*) AS runs, count(*) FILTER (WHERE status = 'completed') AS completed FROM runs WHERE workflow_id = $1
"""

STEPS = """
SELECT coalesce(sum(steps), 0)::bigint AS steps, count(*) FILTER (WHERE steps <> $2) AS uneven
  FROM (SELECT count(*) AS steps FROM runs r JOIN steps s ON s.run_id = r.id
         WHERE r.workflow_id = $1 AND s.status = 'completed' GROUP BY r.id) AS of_each_run
"""


async def prove(dsn: str, workflow_id: UUID, answers: int, steps: int) -> dict[str, int]:
    """The counts of a workflow's runs. Raises RuntimeError unless each answer has one completed run of so many steps.

    An answer may come a moment before the end of its run, so this first waits until nothing is live.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await _until_nothing_is_live(connection)
        runs = await connection.fetchrow(RUNS, workflow_id)
        done = await connection.fetchrow(STEPS, workflow_id, steps)
    finally:
        await connection.close()
    counts = {"answers": answers, **dict(runs), **dict(done)}
    expected = {"answers": answers, "runs": answers, "completed": answers, "steps": answers * steps, "uneven": 0}
    if counts != expected:
        raise RuntimeError(f"the proof fails: {counts} instead of {expected}")
    return counts


TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"


async def transactions_of(dsn: str) -> int:
    """Transactions of the database so far. A busy session tells of its own each second, an idle one within ten."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(TRANSACTIONS))
    finally:
        await connection.close()


async def _until_nothing_is_live(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(ENDED_WITHIN_SECONDS):
        while await connection.fetchval(LIVE):  # noqa: ASYNC110  # the event is in the database
            await asyncio.sleep(0.05)
