"""One API process and two workers in processes of their own, over HTTP: throughput, latency, idle cost and memory.

The floor is the same as elsewhere, the API and the statements without the engine and without any worker, so the ratio
here holds the way to the workers and back as well.
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
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import free_port, running_process, serving
from benchmarks.product import Product, database
from benchmarks.throughput import compared, contenders_of, evidence
from benchmarks.workloads import PURE
from melagent import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import psutil

    from benchmarks.outcome import Options

WORKERS = 2
CONCURRENCY = 100
TOKEN, KEY = "benchmark-token", "benchmark-key"
SECONDS = 5.0
IDLE_WORKERS = 1_000
IDLE_SECONDS = 10.0
STEADY_RATE = 100.0

STARTS = """
SELECT extract(epoch FROM min(s.started_at) - r.created_at)::float8 AS seconds
  FROM runs r JOIN steps s ON s.run_id = r.id WHERE r.workflow_id = $1 AND r.created_at > $2 GROUP BY r.id, r.created_at
"""
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


async def remote(folder: Path, options: Options) -> Outcome:
    rows, rounds = [], {}
    async with _running(folder) as (product, workers):
        async with contenders_of(product, PURE, folder) as contenders:
            before = [_rss_mb(worker) for worker in workers]
            for connections in options.connections:
                row, rounds[str(connections)] = await compared(contenders, connections, options.seconds or SECONDS)
                rows.append(row)
            runs = contenders[0].answers
            details: dict[str, Any] = {"rounds": rounds, **await evidence(product, PURE, contenders)}
            details["start_ms"] = await _starts(product, contenders[0].url, str(contenders[0].workflow_id))
        details["worker_rss_mb"] = {"before": before, "after": [_rss_mb(worker) for worker in workers], "runs": runs}
        details["idle"] = await _idle(product)
        return Outcome(rows, _goals(rows, details), await machine.postgres(product.dsn), details)


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[Product, list[psutil.Process]]]:
    """An API instance on an embedded PostgreSQL, and workers that reach it over HTTP."""
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
            workers.append(await stack.enter_async_context(running_process(*command, log=log, settings=settings)))
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


async def _idle(product: Product) -> dict[str, float]:
    """A thousand further workers that wait for work: the share of a core that the instance needs, commits a second."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=0)
    connection = await asyncpg.connect(product.dsn)
    async with aiohttp.ClientSession(product.server.url, headers=headers, connector=connector) as session:
        polls = [asyncio.create_task(_poll(session, f"idle-{n}")) for n in range(IDLE_WORKERS)]
        await asyncio.sleep(IDLE_SECONDS)
        cpu, commits, at = product.server.cpu_seconds(), await connection.fetchval(COMMITS), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        seconds = time.perf_counter() - at
        share = (product.server.cpu_seconds() - cpu) / seconds
        rate = (await connection.fetchval(COMMITS) - commits) / seconds
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
    await connection.close()
    return {"workers": IDLE_WORKERS, "core_share": round(share, 4), "commits_per_second": round(rate, 1)}


async def _poll(session: aiohttp.ClientSession, worker_id: str) -> None:
    async with session.post("/api/workers", json={"id": worker_id}) as answer:
        known = (await answer.json())["session"]
    while True:
        body = {"session": known, "max_items": 5, "wait_seconds": 30}
        async with session.post(f"/api/workers/{worker_id}/claim-work", json=body) as answer:
            await answer.read()


def _rss_mb(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 1e6, 1)


def _goals(rows: list[dict[str, Any]], details: dict[str, Any]) -> list[Goal]:
    goals = [
        Goal(f"remote: share of the floor's rate at {row['connections']}", row["ratio"], "at least", 0.6)
        for row in rows
    ]
    goals.append(Goal("remote: runs/s, the best of all", max(row["runs/s"] for row in rows), "at least", 1400))
    goals += [Goal("remote: p50 ms at 1", row["p50 ms"], "at most", 6) for row in rows if row["connections"] == 1]
    goals.append(Goal("remote: start after commit, p50 ms", details["start_ms"]["p50_ms"], "at most", 5))
    goals.append(Goal("remote: start after commit, p99 ms", details["start_ms"]["p99_ms"], "at most", 25))
    goals.append(Goal("remote: share of a core for 1,000 idle workers", details["idle"]["core_share"], "at most", 0.05))
    goals.append(Goal("remote: memory of a worker, MB", max(details["worker_rss_mb"]["after"]), "at most", 90))
    return goals
