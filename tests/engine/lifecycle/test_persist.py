"""Statements survive what may pass, give up in time, and raise at once what never will pass."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from structlog.testing import capture_logs

from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Unavailable


def failing(*errors):
    """An operation that raises these errors, one a call, and then answers."""
    left = list(errors)

    async def operation(conn):
        if left:
            raise left.pop(0)
        return await conn.fetchval("SELECT 1")

    return operation


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("53100"),
        asyncpg.ReadOnlySQLTransactionError("25006"),
        asyncpg.DeadlockDetectedError("40P01"),
        asyncpg.LockNotAvailableError("55P03"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_may_pass_is_tried_again(pool, error):
    assert await persistently(pool, failing(error, error), seconds=5) == 1


@pytest.mark.parametrize("error", [asyncpg.DataError("22000"), asyncpg.CardinalityViolationError("21000")])
async def test_a_value_that_can_never_be_stored_is_raised_at_once(pool, error):
    with pytest.raises(type(error)):
        await persistently(pool, failing(error), seconds=5)


async def test_what_fails_again_and_again_is_told_ever_more_seldom(pool, monkeypatch):
    monkeypatch.setattr("melagent.engine.lifecycle.persist.LONGEST_PAUSE_SECONDS", 0.01)
    with capture_logs() as lines:
        await persistently(pool, failing(*[asyncpg.DiskFullError("53100")] * 9), seconds=60)
    told = [line for line in lines if line["log_level"] == "warning"]
    assert [line["tries"] for line in told] == [2, 4, 8]
    assert told[0]["error"] == "DiskFullError: 53100"


async def test_it_gives_up_when_the_time_is_over(pool):
    with pytest.raises(Unavailable):
        await persistently(pool, failing(*[asyncpg.DiskFullError("53100")] * 1000), seconds=0.3)


async def test_a_connection_that_says_nothing_any_more_is_replaced(pool, monkeypatch):
    monkeypatch.setattr("melagent.engine.lifecycle.persist.FIRST_LIMIT_SECONDS", 0.2)
    silent = []

    async def operation(conn):
        if not silent:
            silent.append(conn)
            await asyncio.Event().wait()
        return await conn.fetchval("SELECT 1")

    started = time.monotonic()
    assert await persistently(pool, operation, seconds=10) == 1
    assert time.monotonic() - started < 9
