"""Ten minutes at full rate: does the rate hold, does memory stay flat, do the small tables stay small?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks import machine
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import load
from benchmarks.product import Product, running
from benchmarks.proof import prove
from benchmarks.workloads import PURE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome import Options

MINUTES = 10
CONNECTIONS = 50
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
    """Measures `pure`; a shorter minute may be given."""
    async with running(folder) as product:
        deployed = await product.deploy(PURE)
        rows = []
        for minute in range(1, MINUTES + 1):
            row = await _minute(product, deployed.webhook_url, minute, options.minute)
            print(f"  minute {minute}: {row['runs/s']:.0f}/s, {row['rss mb']} MB", file=sys.stderr, flush=True)
            rows.append(row)
        proof = await prove(product.dsn, deployed.workflow_id, sum(row["answers"] for row in rows), PURE.steps)
        return Outcome(rows, _goals(rows), await machine.postgres(product.dsn), {"proofs": {"product": proof}})


async def _minute(product: Product, url: str, minute: int, seconds: float) -> dict[str, Any]:
    figures = await load(url, field=PURE.field, connections=CONNECTIONS, seconds=seconds)
    row = {"minute": minute, "answers": figures["answers"], "runs/s": figures["rate"]}
    latencies = {f"{name[:3]} ms": figures[name] for name in ("p50_ms", "p95_ms", "p99_ms")}
    return row | latencies | {"rss mb": product.server.rss_mb()} | await _sizes(product.dsn)


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
        Goal("soak: memory after the last minute / after the second", round(memory, 3), "at most", MEMORY_GROWN),
        Goal("soak: memory of API and worker in one process, MB", last["rss mb"], "at most", MEMORY_MB),
    ]
