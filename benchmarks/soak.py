"""Ten minutes at full rate: does the rate hold, does memory stay flat, do the small tables stay small?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks import machine
from benchmarks.outcome import Goal, Outcome
from benchmarks.product import Product, running
from benchmarks.throughput import Contender, contenders_of, evidence
from benchmarks.workloads import PURE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome import Options

MINUTES = 10
CONNECTIONS = 50
FLOOR_SHARE = 0.1
"""Of a minute, for which the floor is measured after it."""

RATE_KEPT = 0.9
MEMORY_GROWN = 1.1
MEMORY_MB = 120

SIZES = """
SELECT pg_total_relation_size('work_items') / 1e6 AS work_items_mb,
       pg_total_relation_size('parked') / 1e6 AS parked_mb,
       (SELECT sum(pg_total_relation_size(relid)) / 1e6 FROM pg_partition_tree('runs')) AS runs_mb,
       (SELECT sum(pg_total_relation_size(relid)) / 1e6 FROM pg_partition_tree('steps')) AS steps_mb,
       (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'work_items') AS dead_items
"""


async def soak(folder: Path, options: Options) -> Outcome:
    """Measures `pure`; a shorter minute may be given. Between the minutes the floor shows what the machine is worth."""
    rows = []
    async with running(folder) as product, contenders_of(product, PURE, folder) as (measured, floor):
        for minute in range(1, MINUTES + 1):
            row = await _minute(product, measured, floor, minute, options.minute)
            print(f"  minute {minute}: {row['runs/s']:.0f}/s, {row['rss mb']} MB", file=sys.stderr, flush=True)
            rows.append(row)
        details = await evidence(product, PURE, [measured, floor])
        return Outcome(rows, _goals(rows), await machine.postgres(product.dsn), details)


async def _minute(
    product: Product, measured: Contender, floor: Contender, minute: int, seconds: float
) -> dict[str, Any]:
    figures = await measured.measure(CONNECTIONS, seconds)
    rss, below = product.server.rss_mb(), await floor.measure(CONNECTIONS, seconds * FLOOR_SHARE)
    row = {"minute": minute, "answers": figures["answers"], "runs/s": figures["rate"]}
    row |= {"floor/s": below["rate"], "ratio": round(figures["rate"] / below["rate"], 3)}
    latencies = {f"{name[:3]} ms": figures[name] for name in ("p50_ms", "p95_ms", "p99_ms")}
    return row | latencies | {"rss mb": rss} | await _sizes(product.dsn)


async def _sizes(dsn: str) -> dict[str, float]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(SIZES)
    finally:
        await connection.close()
    return {name.replace("_", " "): round(float(value), 1) for name, value in row.items()}


def _goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """The first minute warms up, so the last is compared with the second."""
    second, last = rows[1], rows[-1]
    rate, memory = last["runs/s"] / second["runs/s"], last["rss mb"] / second["rss mb"]
    return [
        Goal("soak: rate of the last minute / of the second", round(rate, 3), "at least", RATE_KEPT),
        Goal(
            "soak: share of the floor, last minute / second",
            round(last["ratio"] / second["ratio"], 3),
            "at least",
            RATE_KEPT,
        ),
        Goal("soak: memory after the last minute / after the second", round(memory, 3), "at most", MEMORY_GROWN),
        Goal("soak: memory of API and worker in one process, MB", last["rss mb"], "at most", MEMORY_MB),
    ]
