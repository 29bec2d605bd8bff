"""A webhook called at one API instance, and answered by a worker that is connected to another one.

The instance that is called has no worker, so each run crosses twice: as work to the other instance, and as an answer
back. In turns with it the same webhook is called at the worker's own instance: the difference is what crossing costs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from benchmarks import machine
from benchmarks.figures import median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import cpu_seconds, load
from benchmarks.proof import prove
from benchmarks.workloads import PURE
from deploy.local.topology import topology, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from benchmarks.outcome import Options
    from deploy.local.topology import Topology

ROUNDS = 3
SECONDS = 5.0
WARM_UP_SECONDS = 2.0
P50_MS = 10.0
RATE = 800.0
CALLED, WORKERS_OWN, WORKER = "api-1", "api-2", "worker-1"
WORKFLOW = "SELECT workflow_id FROM triggers"


async def crossing(_folder: Path, options: Options) -> Outcome:
    rows: list[dict[str, Any]] = []
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    answers = 0
    async with topology(apis=2, workers=0, redis=False, MEL_WORKER_CONCURRENCY="100") as cluster:
        urls = await _urls(cluster)
        for url in urls.values():
            answers += (await load(url, field=PURE.field, connections=1, seconds=WARM_UP_SECONDS))["answers"]
        for connections in options.connections:
            row, measured = await _in_turns(cluster, urls, connections, options.seconds or SECONDS)
            answers += sum(figures["answers"] for each in measured.values() for figures in each)
            rows.append(row)
            rounds[str(connections)] = measured
        proof = await prove(cluster.dsn, await _workflow(cluster), answers, PURE.steps)
        postgres = await machine.postgres(cluster.dsn)
    return Outcome(rows, _goals(rows), postgres, {"rounds": rounds, "proofs": {"product": proof}})


async def _urls(cluster: Topology) -> dict[str, str]:
    """The address of the webhook at both instances, with a worker at one of them."""
    path = urlsplit(await cluster.deploy(PURE.definition)).path
    instances = {name: f"http://127.0.0.1:{cluster.members[name].port}" for name in (CALLED, WORKERS_OWN)}
    await cluster.start_worker(WORKER, "--server", instances[WORKERS_OWN])

    async def registered() -> bool:
        return bool((await cluster.call("GET", "/api/workers"))["total"])

    await until(registered, "the worker to register")
    return {name: f"{instance}{path}" for name, instance in instances.items()}


async def _in_turns(
    cluster: Topology, urls: dict[str, str], connections: int, seconds: float
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Rounds at both instances, each time in the other order; a row of the medians, and all rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in urls}
    for number in range(ROUNDS):
        for name in urls if number % 2 == 0 else reversed(urls):
            before = _cpu_seconds(cluster)
            figures = await load(urls[name], field=PURE.field, connections=connections, seconds=seconds)
            spent = {member: after - before[member] for member, after in _cpu_seconds(cluster).items()}
            figures["cpu_ms_per_run"] = {
                member: round(1000 * used / figures["answers"], 3) for member, used in spent.items()
            }
            print(f"  {name} at {connections}: {figures['rate']:.0f}/s", file=sys.stderr, flush=True)
            rounds[name].append(figures)
    crossed, direct = median_by("rate", rounds[CALLED]), median_by("rate", rounds[WORKERS_OWN])
    row = {
        "connections": connections,
        "runs/s": crossed["rate"],
        "p50 ms": crossed["p50_ms"],
        "p95 ms": crossed["p95_ms"],
        "p99 ms": crossed["p99_ms"],
        "called cpu ms": crossed["cpu_ms_per_run"][CALLED],
        "other cpu ms": crossed["cpu_ms_per_run"][WORKERS_OWN],
        "worker cpu ms": crossed["cpu_ms_per_run"][WORKER],
        "direct/s": direct["rate"],
        "direct p50 ms": direct["p50_ms"],
        "direct p99 ms": direct["p99_ms"],
    }
    return row, rounds


def _cpu_seconds(cluster: Topology) -> dict[str, float]:
    """Processor time of the instances and of the worker so far."""
    processes = {name: cluster.members[name].process for name in (CALLED, WORKERS_OWN, WORKER)}
    return {name: cpu_seconds(psutil.Process(process.pid)) for name, process in processes.items() if process}


async def _workflow(cluster: Topology) -> UUID:
    async with cluster.database() as connection:
        found: UUID = await connection.fetchval(WORKFLOW)
    return found


def _goals(rows: list[dict[str, Any]]) -> list[Goal]:
    by_connections = {row["connections"]: row for row in rows}
    goals = []
    if row := by_connections.get(1):
        goals.append(Goal("crossing: p50 ms at 1", row["p50 ms"], "at most", P50_MS))
    if row := by_connections.get(50):
        goals.append(Goal("crossing: runs/s at 50", row["runs/s"], "at least", RATE))
    return goals
