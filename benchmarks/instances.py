"""One API instance and three behind the same nginx, on the same cores: what it costs to have more of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.figures import median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import load
from benchmarks.workloads import PURE
from deploy.local.topology import topology

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome import Options

ROUNDS = 3
SECONDS = 5.0
CONNECTIONS = 50
SHARE = 0.8


async def instances(_folder: Path, options: Options) -> Outcome:
    rounds: dict[int, list[dict[str, Any]]] = {1: [], 3: []}
    async with topology(apis=3, workers=2, redis=False, MEL_WORKER_CONCURRENCY="100") as cluster:
        url = await cluster.deploy(PURE.definition)
        await load(url, field=PURE.field, connections=CONNECTIONS, seconds=2)
        for number in range(ROUNDS):
            for count in (1, 3) if number % 2 == 0 else (3, 1):
                await cluster.balance(count)
                await load(url, field=PURE.field, connections=CONNECTIONS, seconds=1)
                seconds = options.seconds or SECONDS
                figures = await load(url, field=PURE.field, connections=CONNECTIONS, seconds=seconds)
                print(f"  {count} instances: {figures['rate']:.0f}/s", file=sys.stderr, flush=True)
                rounds[count].append(figures)
        postgres = await machine.postgres(cluster.dsn)
    one, three = median_by("rate", rounds[1]), median_by("rate", rounds[3])
    share = round(three["rate"] / one["rate"], 3)
    rows = [
        {"instances": count, "runs/s": figures["rate"], "p50 ms": figures["p50_ms"], "p99 ms": figures["p99_ms"]}
        for count, figures in ((1, one), (3, three))
    ]
    goal = Goal("instances: rate of three as a share of one", share, "at least", SHARE)
    return Outcome(rows, [goal], postgres, {"rounds": {str(count): found for count, found in rounds.items()}})
