"""How a write survives a database that is away, a deadlock, a missing partition, and one bad value among many."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

import structlog

from melagent.domain.ids import time_of
from melagent.errors import Unavailable
from melagent.store import partitions
from melagent.store.pool import BAD_DATA, MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
FIRST_LIMIT_SECONDS = 5.0
"""What the first attempt may take. A connection whose other end vanished without a word would hold it for minutes; each
further attempt may take twice as long, in case it is the database that is slow."""


async def persistently(pool: Pool, operation: Callable[[Connection], Awaitable[R]], *, seconds: float) -> R:
    """Run one repeatable statement until it is answered; Unavailable when the database cannot do it for `seconds`.

    After a lost connection it is unknown whether the statement was committed, so it is simply sent again. Errors about
    its values (`BAD_DATA`) are raised at once; whatever else the server says (disk full, read-only after a fail-over,
    starting up) may pass.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    tries, pause, limit = 1, FIRST_PAUSE_SECONDS, FIRST_LIMIT_SECONDS
    while True:
        try:
            return await _attempt(pool, operation, min(limit, max(0.1, give_up_at - loop.time())))
        except BAD_DATA:
            raise
        except MAY_PASS as error:
            if loop.time() + pause > give_up_at:
                raise Unavailable("The database cannot do this right now.") from error
            tell = log.warning if tries > 1 and tries.bit_count() == 1 else log.debug  # the 2nd, 4th, 8th ...
            tell("attempt failed", tries=tries, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret
        tries, pause, limit = tries + 1, min(2 * pause, LONGEST_PAUSE_SECONDS), 2 * limit


async def _attempt(pool: Pool, operation: Callable[[Connection], Awaitable[R]], seconds: float) -> R:
    connection = await pool.acquire(timeout=seconds)
    try:
        async with asyncio.timeout(seconds):
            return await operation(connection)
    except TimeoutError:
        connection.terminate()  # it would be given back only after as long a wait again
        raise
    finally:
        await pool.release(connection)


async def with_partitions(conn: Connection, run_ids: Sequence[UUID], operation: Callable[[], Awaitable[R]]) -> R:
    """Run a statement; when the partition of a run is missing, make it and run the statement again."""
    try:
        return await operation()
    except BAD_DATA as error:
        if not partitions.is_missing(error):
            raise
        for moment in {time_of(run_id).date(): time_of(run_id) for run_id in run_ids}.values():
            await partitions.create(conn, moment)
        return await operation()


async def bisected(
    items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[list[R]]], refuse: Callable[[T, BaseException], R]
) -> list[R]:
    """Write a batch; when the database refuses a value in it, halve it until only the guilty items are refused."""
    try:
        return await write(items)
    except BAD_DATA as error:
        if len(items) == 1:
            return [refuse(items[0], error)]
    middle = len(items) // 2
    first = await bisected(items[:middle], write, refuse)
    return first + await bisected(items[middle:], write, refuse)
