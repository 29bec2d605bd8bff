"""Runs with a thousand children or ten thousand items, and a database in which many runs sleep and wait.

The large runs go through the API of a server; the many parked ones lie in a database beside an empty one, where claims
are measured in turns as in `claim`, and the passes that look for parked runs by themselves.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from benchmarks import machine
from benchmarks.claim import compared, engine_on, migrated
from benchmarks.figures import latencies_ms, median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.product import database, running
from benchmarks.workloads import by_hand, call_of, looped, value
from melagent import log
from melagent.engine.lifecycle import wake
from melagent.engine.lifecycle.signal import send
from melagent.maintenance.rescuer import Rescuer
from melagent.maintenance.unparker import Unparker
from melagent.store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.outcome import Options
    from benchmarks.product import Product
    from melagent.engine.engine import Engine

SECONDS = 5.0
TIMES = 50
DUE_SHARE = 10
"""One of so many sleepers is due at once."""

SLOWER = 1.5
PASS_MS = 10
WAKE_MS = 10
GROWN_MB = 150

PARKED = """
WITH new AS (
    SELECT overlay(gen_random_uuid()::text PLACING $2 FROM 1)::uuid AS id FROM generate_series(1, $1)
), inserted AS (
    INSERT INTO runs (id, version_id, entry, trigger_type, input, status)
    SELECT id, $3, 'start', 'manual', 'null'::bytea, $4 FROM new
)
INSERT INTO parked (run_id, priority, requires, reason, attempt, started_at, wake_at, waits)
SELECT id, 5, '', $4, 1, now(), CASE $4 WHEN 'sleeping' THEN now() + interval '1 day' END,
       CASE $4 WHEN 'waiting' THEN ARRAY['signal:go'] ELSE '{}' END
  FROM new
"""
TIDY = ("VACUUM (ANALYZE) parked", "VACUUM (ANALYZE) runs", "VACUUM (ANALYZE) run_inbox")
WAITING = "SELECT run_id FROM parked WHERE reason = 'waiting' ORDER BY run_id LIMIT $1"
MAKE_DUE = """
UPDATE parked SET wake_at = now()
 WHERE run_id IN (SELECT run_id FROM parked WHERE reason = 'sleeping' ORDER BY run_id LIMIT $1)
"""


async def growth(folder: Path, options: Options) -> Outcome:
    (folder / "large").mkdir()
    rows, grown = await _large_runs(folder / "large", options.children)
    log.configure(stream=(folder / "engine.log").open("w"))  # stays open: loops may log until the very end
    async with database(folder) as dsn:
        empty, full = await migrated(dsn, "empty"), await migrated(dsn, "full")
        await _park(full, options.parked)
        rounds = await compared({0: empty, 2 * options.parked: full}, options.seconds or SECONDS)
        async with engine_on(full) as engine:
            passes = await _passes(engine)
            waking = await _waking(engine)
            due, due_seconds = await _many_due(engine, options.parked // DUE_SHARE)
        postgres = await machine.postgres(dsn)
    without, beside = (median_by("claim_p50_ms", measured)["claim_p50_ms"] for measured in rounds.values())
    rows += [
        _row("a claim, nothing parked", without / 1000),
        _row(f"a claim beside {options.parked:,} sleeping and as many waiting runs", beside / 1000),
        *(_row(f"a pass of the {name} there", figures["p50_ms"] / 1000) for name, figures in passes.items()),
        _row("a signal wakes one of them", waking["p50_ms"] / 1000),
        _row(f"{due:,} sleepers due at once are woken", due_seconds),
    ]
    goals = [
        Goal("growth: claim p50 beside parked runs / without", round(beside / without, 3), "at most", SLOWER),
        *(Goal(f"growth: {name} pass, ms (p50)", f["p50_ms"], "at most", PASS_MS) for name, f in passes.items()),
        Goal("growth: a signal wakes a run after ms (p50)", waking["p50_ms"], "at most", WAKE_MS),
        Goal("growth: memory that large runs leave behind, MB", grown, "at most", GROWN_MB),
    ]
    return Outcome(rows, goals, postgres, {"passes": passes, "waking": waking})


async def _large_runs(folder: Path, children: int) -> tuple[list[dict[str, Any]], float]:
    """A row for each large run, whose output is checked, and by how many MB the server has grown after all of them."""
    async with running(folder) as product:
        work = value("twice", "input * 2")
        child = await product.workflow("child", by_hand(work, entry="workflow_trigger"))
        runs = {
            f"a run with {children:,} called runs": (looped(call_of(child, "item"), concurrency=100), children),
            f"a distributed for_each of {children:,} items": (
                looped(value("twice", "item * 2"), concurrency=100, distributed=True),
                children,
            ),
            f"a for_each of {10 * children:,} items": (
                looped(value("twice", "item * 2"), concurrency=10),
                10 * children,
            ),
        }
        before = product.server.rss_mb()
        rows = [await _large(product, what, *which) for what, which in runs.items()]
        return rows, round(product.server.rss_mb() - before, 1)


async def _large(product: Product, what: str, definition: dict[str, Any], count: int) -> dict[str, Any]:
    workflow_id = await product.workflow(what, definition)
    async with product.api() as api:
        began = time.perf_counter()
        output = (await product.run(api, workflow_id, list(range(count))))["output"]
        seconds = time.perf_counter() - began
    if output != [2 * item for item in range(count)]:
        raise RuntimeError(f"{what}: the output is wrong")
    return _row(what, seconds, product.server.rss_mb())


async def _park(dsn: str, count: int) -> None:
    """So many sleeping runs and as many waiting ones, all but a few without a message."""
    print(f"  parking {2 * count:,} runs", file=sys.stderr, flush=True)
    connection = await asyncpg.connect(dsn)
    try:
        version_7_now = str(new_id())[:15]
        for reason in ("sleeping", "waiting"):
            await connection.execute(PARKED, count, version_7_now, uuid4(), reason)
        for statement in TIDY:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _passes(engine: Engine) -> dict[str, dict[str, float]]:
    """The latencies of the passes that every instance makes again and again."""
    unparker, rescuer = Unparker(engine), Rescuer(engine)
    return {
        "unparker": await _timed(TIMES, lambda _: unparker.one_pass()),
        "rescuer": await _timed(TIMES, lambda _: rescuer.one_pass()),
    }


async def _waking(engine: Engine) -> dict[str, float]:
    """From the signal to the moment at which the run can be claimed; each time another run."""
    run_ids = [row["run_id"] for row in await engine.pool.fetch(WAITING, TIMES)]

    async def woken(number: int) -> None:
        await send(engine.pool, run_ids[number], "go", b"true")
        if not await wake.wake(engine.pool, [run_ids[number]]):
            raise RuntimeError("a signal woke nobody")

    return await _timed(len(run_ids), woken)


async def _many_due(engine: Engine, count: int) -> tuple[int, float]:
    """Wake all that are due at once; how many they were, and the seconds that it took."""
    await engine.pool.execute(MAKE_DUE, count)
    began, woken = time.perf_counter(), 0
    while batch := await wake.wake_due(engine.pool, thorough=False):
        woken += len(batch)
    if woken != count:
        raise RuntimeError(f"{woken} of {count} sleepers were woken")
    return woken, time.perf_counter() - began


async def _timed(times: int, act: Callable[[int], Awaitable[object]]) -> dict[str, float]:
    took = []
    for number in range(times):
        began = time.perf_counter()
        await act(number)
        took.append(time.perf_counter() - began)
    return latencies_ms(took)


def _row(what: str, seconds: float, rss_mb: float | None = None) -> dict[str, Any]:
    return {"what": what, "ms": round(seconds * 1000, 2), "server's rss mb": rss_mb}
