"""Weekly partitions of runs, steps and payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from datetime import datetime

    from melagent.store.pool import Connection

CREATE = "SELECT create_week_partitions($1, $2)"
CREATE_AHEAD = "SELECT create_week_partitions(now(), $1)"


async def create(conn: Connection, moment: datetime, weeks: int = 1) -> int:
    """Make the partitions of the week of `moment` and those after it; how many were missing."""
    return int(await conn.fetchval(CREATE, moment, weeks))


async def create_ahead(conn: Connection, weeks: int) -> int:
    return int(await conn.fetchval(CREATE_AHEAD, weeks))


def is_missing(error: BaseException) -> bool:
    """Whether an insert failed because no partition takes its row: a CHECK would be named, and texts are translated."""
    return isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None
