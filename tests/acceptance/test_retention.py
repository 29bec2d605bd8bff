"""Retention by the program itself: an instance drops old weeks, and one that is killed meanwhile leaves no harm."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from melagent.store import partitions, retention
from tests.builders import eventually

ROOT = Path(__file__).parents[2]
OLD = datetime(2020, 1, 8, tzinfo=UTC)
WEEK = "2020w02"


@asynccontextmanager
async def instance(database_url, tmp_path):
    """An API instance that keeps runs for a day."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MEL_", "DATABASE_", "DB_", "PORT"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "melagent", "api-server", "--host", "127.0.0.1", "--port", "0", cwd=ROOT,
        env={**kept, "HOME": str(tmp_path), "DATABASE_URL": database_url, "MEL_RETENTION_RUNS_DAYS": "1"},
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip  # the command, then how it is run
    yield process
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def tables(pool):
    """The tables of the old week, and whether each is attached as it should be."""
    async with pool.acquire() as conn:
        return {table.parent: table.attached and not table.pending for table in await retention.tables(conn, WEEK)}


async def test_an_instance_drops_what_another_was_killed_over(pool, database_url, tmp_path):
    async with pool.acquire() as conn:
        await partitions.create(conn, OLD)
    reader = await asyncpg.connect(database_url)
    reading = reader.transaction()
    await reading.start()
    await reader.fetch("SELECT FROM steps LIMIT 1")  # so that detaching has to wait
    async with instance(database_url, tmp_path) as process:

        async def half_way():
            return await tables(pool) == {"runs": False, "steps": False, "payloads": True}

        await eventually(half_way)
        process.kill()
    await reading.rollback()
    await reader.close()

    async def nobody_there():
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'ALTER %'"
        return await pool.fetchval(sessions) == 0

    await eventually(nobody_there)
    assert len(await tables(pool)) == 3
    async with instance(database_url, tmp_path):

        async def gone():
            return await tables(pool) == {}

        await eventually(gone)
