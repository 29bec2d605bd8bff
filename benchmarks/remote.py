"""One API process and two workers in processes of their own, over HTTP: throughput, latency, idle cost and memory.

The floor has the same topology: an API process and two workers, the same way there and back, the same statements.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg

from benchmarks import machine
from benchmarks.figures import latencies_ms
from benchmarks.idle import allow_open_files, idle
from benchmarks.memory import RemoteWorker, memory, memory_goals
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import free_port, running_process, serving
from benchmarks.product import Product, database
from benchmarks.throughput import compared, contenders_of, evidence
from benchmarks.workloads import PURE
from melagent import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.outcome import Options

WORKERS = 2
CONCURRENCY = 100
TOKEN, KEY = "benchmark-token", "benchmark-key"
SECONDS = 5.0
STEADY_RATE = 100.0

NO_QUERY = 0.02
"""One in fifty claims: counting transactions of a live database is not more exact than that."""

STARTS = """
SELECT extract(epoch FROM min(s.started_at) - r.created_at)::float8 AS seconds
  FROM runs r JOIN steps s ON s.run_id = r.id WHERE r.workflow_id = $1 AND r.created_at > $2 GROUP BY r.id, r.created_at
"""


async def remote(folder: Path, options: Options) -> Outcome:
    rows, rounds = [], {}
    async with _running(folder) as (product, workers):
        async with contenders_of(product, PURE, folder, workers=WORKERS) as contenders:
            for connections in options.connections:
                row, rounds[str(connections)] = await compared(contenders, connections, options.seconds or SECONDS)
                rows.append(row)
            watched = await memory(product, contenders[0], workers, options.runs)
            details: dict[str, Any] = {"rounds": rounds, "memory": watched}
            details |= await evidence(product, PURE, contenders)
            details["start_ms"] = await _starts(product, contenders[0].url, str(contenders[0].workflow_id))
        details["idle"] = await idle(product, TOKEN)
        goals = [*_goals(rows, details), *memory_goals(watched, options.runs)]
        return Outcome(rows, goals, await machine.postgres(product.dsn), details)


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[Product, list[RemoteWorker]]]:
    """An API instance on an embedded PostgreSQL, and workers that reach it over HTTP."""
    allow_open_files()
    port = free_port()
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database(folder / "data"))
        await asyncio.to_thread(migrate.up, dsn)
        settings = {"DATABASE_URL": dsn, "MEL_API_KEY": KEY, "MEL_WORKER_TOKEN": TOKEN}
        api = ("-m", "melagent", "api-server", "--host", "127.0.0.1", "--port", str(port))
        server = await stack.enter_async_context(serving(port, *api, log=folder / "api.log", settings=settings))
        workers = []
        for number in range(WORKERS):
            command = ("-m", "melagent", "worker", "--server", server.url, "--concurrency", str(CONCURRENCY))
            log = folder / f"worker-{number}.log"
            process = await stack.enter_async_context(running_process(*command, log=log, settings=settings))
            workers.append(RemoteWorker(process, log))
        await _until_registered(server.url)
        yield Product(server, dsn, KEY), workers


async def _until_registered(url: str) -> None:
    async with aiohttp.ClientSession(url, headers={"X-API-Key": KEY}) as api:
        while True:
            async with api.get("/api/workers") as answer:
                if (await answer.json())["total"] == WORKERS:
                    return
            await asyncio.sleep(0.05)


async def _starts(product: Product, url: str, workflow_id: str) -> dict[str, float]:
    """From the commit of a run to the start of its first step, at a steady hundred runs a second."""
    connection = await asyncpg.connect(product.dsn)
    begun = await connection.fetchval("SELECT now()")
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as calls:
        started = time.perf_counter()
        for number in range(int(STEADY_RATE * SECONDS)):
            await asyncio.sleep(max(0.0, started + number / STEADY_RATE - time.perf_counter()))
            calls.create_task(_call(session, url))
    rows = await connection.fetch(STARTS, workflow_id, begun)
    await connection.close()
    return latencies_ms(max(0.0, row["seconds"]) for row in rows)


async def _call(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json={"n": 1}) as answer:
        answer.raise_for_status()


def _goals(rows: list[dict[str, Any]], details: dict[str, Any]) -> list[Goal]:
    goals = [
        Goal(f"remote: share of the floor's rate at {row['connections']}", row["ratio"], "at least", 0.6)
        for row in rows
    ]
    goals.append(Goal("remote: runs/s, the best of all", max(row["runs/s"] for row in rows), "at least", 1400))
    goals += [Goal("remote: p50 ms at 1", row["p50 ms"], "at most", 6) for row in rows if row["connections"] == 1]
    goals.append(Goal("remote: start after commit, p50 ms", details["start_ms"]["p50_ms"], "at most", 5))
    goals.append(Goal("remote: start after commit, p99 ms", details["start_ms"]["p99_ms"], "at most", 25))
    waiting = details["idle"]
    goals.append(Goal("remote: share of a core for 1,000 idle workers", waiting["core_share"], "at most", 0.05))
    per_claim = waiting["transactions_per_claim"]
    goals.append(Goal("remote: transactions for each claim of an idle worker", per_claim, "at most", NO_QUERY))
    return goals
