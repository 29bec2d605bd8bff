"""Claim and settle one run at a time, with an empty queue and with a million queued runs.

Through the engine, without HTTP and without a worker: each cycle starts one run (not timed), claims the first of the
queue, and settles it. The two queues lie in two databases of one server and are measured in turns, so that whatever
else the machine does meets both.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from benchmarks import machine
from benchmarks.figures import latencies_ms, median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.product import database
from melagent import log, migrate
from melagent.broker.postgres import postgres_broker
from melagent.domain.run import RunStatus
from melagent.domain.work import Entry, NewRun, Settle, Verdict
from melagent.engine.engine import Engine
from melagent.registry import Registry
from melagent.store.ids import new_id
from melagent.store.pool import create_pool
from melagent.worker.database import DatabaseSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.outcome import Options
    from melagent.domain.work import WorkItem

ROUNDS = 3
SECONDS = 5.0
WARM_UP_SECONDS = 1.0
SLOWER = 1.5
"""So many times slower a claim may be with the long queue."""

QUEUE = """
WITH new AS (
    SELECT overlay(gen_random_uuid()::text PLACING $2 FROM 1)::uuid AS id FROM generate_series(1, $1)
), inserted AS (
    INSERT INTO runs (id, version_id, entry, trigger_type, input)
    SELECT id, $3, 'start', 'manual', 'null'::bytea FROM new
)
INSERT INTO work_items (run_id, priority) SELECT id, 5 FROM new
"""

TIDY = ("VACUUM (ANALYZE) work_items", "VACUUM (ANALYZE) runs")
"""A queue of a million grows over minutes, in which autovacuum has done this many times."""


async def claim(folder: Path, options: Options) -> Outcome:
    seconds = options.seconds or SECONDS
    log.configure(stream=(folder / "engine.log").open("w"))  # stays open: loops may log until the very end
    async with database(folder) as dsn:
        empty, long = await migrated(dsn, "empty"), await migrated(dsn, "long")
        await _fill(long, options.queued)
        rounds = await compared({0: empty, options.queued: long}, seconds)
        postgres = await machine.postgres(dsn)
    rows = [_row(queued, measured) for queued, measured in rounds.items()]
    slower = round(rows[1]["claim p50 ms"] / rows[0]["claim p50 ms"], 3)
    goals = [Goal(f"claim: p50 with {options.queued:,} queued / with none", slower, "at most", SLOWER)]
    return Outcome(rows, goals, postgres, {"rounds": {str(queued): measured for queued, measured in rounds.items()}})


async def migrated(dsn: str, name: str) -> str:
    """A new database with the product's schema on the same server; its URL."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE bench_{name}")
    finally:
        await connection.close()
    made = urlsplit(dsn)._replace(path=f"/bench_{name}").geturl()
    await asyncio.to_thread(migrate.up, made)
    return made


async def compared(queues: dict[int, str], seconds: float) -> dict[int, list[dict[str, Any]]]:
    """Rounds in turns, each time in the other order, by length of the queue."""
    rounds: dict[int, list[dict[str, Any]]] = {queued: [] for queued in queues}
    async with AsyncExitStack() as stack:
        engines = {queued: await stack.enter_async_context(engine_on(dsn)) for queued, dsn in queues.items()}
        for engine in engines.values():
            await _cycles(engine, WARM_UP_SECONDS)
        for number in range(ROUNDS):
            for queued in engines if number % 2 == 0 else reversed(engines):
                figures = await _cycles(engines[queued], seconds)
                print(f"  {queued:,} others: claim p50 {figures['claim_p50_ms']} ms", file=sys.stderr, flush=True)
                rounds[queued].append(figures)
    return rounds


@asynccontextmanager
async def engine_on(dsn: str) -> AsyncIterator[Engine]:
    """The engine of a process without a worker: what it starts is queued."""
    pool, broker = await create_pool(dsn), postgres_broker(dsn)
    engine = Engine(pool, broker)
    await broker.start()
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()
        await broker.stop()
        await pool.close()


async def _cycles(engine: Engine, seconds: float) -> dict[str, Any]:
    """Start, claim and settle for so long; the latencies of the two that are timed."""
    source, version_id = DatabaseSource(engine, Registry.builtin(), "benchmark"), uuid4()
    claims, settles = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await engine.start(NewRun(new_id(), None, version_id, "start", b"null"))
        asked_at = time.perf_counter()
        items: list[WorkItem] = []
        await source.claim(1, items.extend)
        [item] = items
        claimed_at = time.perf_counter()
        verdict = await source.submit(
            Entry(item.run_id, item.lease, 1, settle=Settle(RunStatus.COMPLETED, output=b"null"))
        )
        settles.append(time.perf_counter() - claimed_at)
        claims.append(claimed_at - asked_at)
        if verdict is not Verdict.ACCEPTED:
            raise RuntimeError(f"a run could not be settled: {verdict}")
    claim, settle = latencies_ms(claims), latencies_ms(settles)
    return {"cycles": len(claims), "claim": claim, "settle": settle, "claim_p50_ms": claim["p50_ms"]}


async def _fill(dsn: str, count: int) -> None:
    print(f"  queueing {count:,} runs", file=sys.stderr, flush=True)
    connection = await asyncpg.connect(dsn)
    try:
        version_7_now = str(new_id())[:15]
        await connection.execute(QUEUE, count, version_7_now, uuid4())
        for statement in TIDY:
            await connection.execute(statement)
    finally:
        await connection.close()


def _row(queued: int, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    median = median_by("claim_p50_ms", rounds)
    timed = {
        f"{what} {share} ms": median[what][f"{share}_ms"] for what in ("claim", "settle") for share in ("p50", "p95")
    }
    return {"queued": queued, **timed, "cycles": median["cycles"]}
