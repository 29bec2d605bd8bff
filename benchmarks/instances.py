"""One API instance and three behind the same nginx, on the same cores: what it costs to have more of them.

Beside the rates stand statements and processor time of a run: they depend less on what else the machine does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import machine
from benchmarks.figures import median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import cpu_seconds, load
from benchmarks.product import metrics_of
from benchmarks.workloads import PURE
from deploy.local.topology import topology

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome import Options
    from deploy.local.topology import Topology

ROUNDS = 3
SECONDS = 5.0
CONNECTIONS = 50
SHARE = 0.8
STATEMENTS = {
    "starts": "mel_start_seconds_count",
    "claims": "mel_claim_seconds_count",
    "journal writes": "mel_journal_seconds_count",
}


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
                figures = await _measured(cluster, url, seconds)
                print(f"  {count} instances: {figures['rate']:.0f}/s", file=sys.stderr, flush=True)
                rounds[count].append(figures)
        postgres = await machine.postgres(cluster.dsn)
    one, three = median_by("rate", rounds[1]), median_by("rate", rounds[3])
    share = round(three["rate"] / one["rate"], 3)
    rows = [
        {
            "instances": count,
            "runs/s": figures["rate"],
            "p50 ms": figures["p50_ms"],
            "p99 ms": figures["p99_ms"],
            **{f"{what}/run": figures[f"{what}_per_run"] for what in STATEMENTS},
            "api cpu ms": figures["api_cpu_ms_per_run"],
            "worker cpu ms": figures["worker_cpu_ms_per_run"],
        }
        for count, figures in ((1, one), (3, three))
    ]
    goal = Goal("instances: rate of three as a share of one", share, "at least", SHARE)
    return Outcome(rows, [goal], postgres, {"rounds": {str(count): found for count, found in rounds.items()}})


async def _measured(cluster: Topology, url: str, seconds: float) -> dict[str, Any]:
    before, statements = _cpu_seconds(cluster), await _statements(cluster)
    figures = await load(url, field=PURE.field, connections=CONNECTIONS, seconds=seconds)
    spent = {kind: after - before[kind] for kind, after in _cpu_seconds(cluster).items()}
    figures |= {f"{kind}_cpu_ms_per_run": round(1000 * used / figures["answers"], 3) for kind, used in spent.items()}
    done = {what: count - statements[what] for what, count in (await _statements(cluster)).items()}
    return figures | {f"{what}_per_run": round(count / figures["answers"], 3) for what, count in done.items()}


async def _statements(cluster: Topology) -> dict[str, float]:
    """How many statements of each kind all instances have sent so far; claims that found nothing are left out."""
    counts = dict.fromkeys(STATEMENTS, 0.0)
    for member in cluster.of_kind("api-"):
        shown = await metrics_of(f"http://127.0.0.1:{member.port}")
        for what, name in STATEMENTS.items():
            counts[what] += shown[name]
    return counts


def _cpu_seconds(cluster: Topology) -> dict[str, float]:
    """Processor time so far of all instances, and of all workers."""
    kinds = {"api": cluster.of_kind("api-"), "worker": cluster.of_kind("worker-")}
    return {kind: sum(cpu_seconds(psutil.Process(member.process.pid)) for member in members if member.process)
            for kind, members in kinds.items()}  # fmt: skip
