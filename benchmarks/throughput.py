"""Webhook to answer under load, in turns with the floor: `pure`, `effectful`, and the run of forty steps."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks import machine
from benchmarks.figures import median_by
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import Server, end_of, free_port, load, running_process, serving
from benchmarks.product import Product, running
from benchmarks.proof import prove
from benchmarks.workloads import EFFECTFUL, FORTY, PURE, Workload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from benchmarks.outcome import Options

ROUNDS = 7
"""The two follow one another in each, as the speed of a shared machine changes from minute to minute."""

SECONDS = 5.0
WARM_UP_SECONDS = 2.0
RATIO = 0.6
RUNS_PER_SECOND = {"pure": 1800.0, "effectful": 1300.0}
FULL_LOAD = (50, 100)
"""Numbers of connections for which a rate is a goal."""

DURATIONS = """
SELECT percentile_disc(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY 1000 * extract(epoch FROM finished_at - created_at))
  FROM runs WHERE workflow_id = $1
"""


@dataclass(slots=True)
class Contender:
    """One of the two that are measured in turns, and how many answers it has given."""

    name: str
    server: Server
    url: str
    field: str
    workflow_id: UUID
    answers: int = 0

    async def measure(self, connections: int, seconds: float) -> dict[str, Any]:
        """One round of load, with the processor time that the server spent on each run."""
        before = self.server.cpu_seconds()
        figures = await load(self.url, field=self.field, connections=connections, seconds=seconds)
        self.answers += figures["answers"]
        spent = self.server.cpu_seconds() - before
        return figures | {"server_cpu_ms_per_run": round(1000 * spent / figures["answers"], 3)}


async def pure(folder: Path, options: Options) -> Outcome:
    return await _measured(PURE, folder, options)


async def effectful(folder: Path, options: Options) -> Outcome:
    return await _measured(EFFECTFUL, folder, options)


async def forty(folder: Path, options: Options) -> Outcome:
    """One connection; how long a run takes is read from the database as well."""
    async with running(folder) as product, contenders_of(product, FORTY, folder) as contenders:
        row, rounds = await compared(contenders, 1, options.seconds or SECONDS)
        details = {"rounds": rounds, **await evidence(product, FORTY, contenders)}
        p50, p95, longest = await _durations_ms(product.dsn, contenders[0].workflow_id)
        row |= {"run p50 ms": p50, "run p95 ms": p95, "run max ms": longest}
        goals = [
            Goal("forty: run of 40 steps, ms (p50, by the database)", p50, "at most", 100),
            Goal("forty: answer after ms (p50)", row["p50 ms"], "at most", 100),
            _same_writes(FORTY, details),
        ]
        return Outcome([row], goals, await machine.postgres(product.dsn), details)


async def _measured(workload: Workload, folder: Path, options: Options) -> Outcome:
    rows, rounds = [], {}
    async with running(folder) as product, contenders_of(product, workload, folder) as contenders:
        for connections in options.connections:
            row, rounds[str(connections)] = await compared(contenders, connections, options.seconds or SECONDS)
            rows.append(row)
        details = {"rounds": rounds, **await evidence(product, workload, contenders)}
        goals = [*_goals(workload.name, rows), _same_writes(workload, details)]
        return Outcome(rows, goals, await machine.postgres(product.dsn), details)


@asynccontextmanager
async def contenders_of(
    product: Product, workload: Workload, folder: Path, *, workers: int = 0
) -> AsyncIterator[list[Contender]]:
    """The product with the workflow deployed and the floor with runs of the same shape, both warmed up.

    The floor has so many workers in processes of their own.
    """
    if workload is EFFECTFUL and not await product.effects_of("bench_effect"):
        raise RuntimeError("`effectful` needs the node that comes with the benchmarks")
    deployed, below = await product.deploy(workload), await product.deploy(workload)
    async with _floor(product, workload, folder, workers) as floor:
        contenders = [
            Contender("product", product.server, deployed.webhook_url, workload.field, deployed.workflow_id),
            Contender("floor", floor, _at(floor.url, below.webhook_url), "total", below.workflow_id),
        ]
        for contender in contenders:
            await contender.measure(1, WARM_UP_SECONDS)
        yield contenders


@asynccontextmanager
async def _floor(product: Product, workload: Workload, folder: Path, workers: int) -> AsyncIterator[Server]:
    port, steps = free_port(), ("--steps", str(workload.steps))
    module = ("benchmarks.floor_remote", "api") if workers else ("benchmarks.floor",)
    arguments = ("-m", *module, product.dsn, str(port), *steps, "--writes", str(workload.writes))
    async with AsyncExitStack() as stack:
        # Not `/ready`: the floor has no encryption keys, and needs none.
        serves = serving(port, *arguments, log=folder / "floor.log", check="/health")
        floor = await stack.enter_async_context(serves)
        for number in range(workers):
            worker = ("-m", "benchmarks.floor_remote", "worker", floor.url, *steps)
            log = folder / f"floor-worker-{number}.log"
            await stack.enter_async_context(running_process(*worker, log=log, settings={}))
        try:
            yield floor
        except RuntimeError as error:
            error.add_note(_ends_of_logs(folder))
            raise


def _ends_of_logs(folder: Path) -> str:
    return "\n".join(f"{log.name}:\n{end_of(log)}" for log in sorted(folder.glob("floor*.log")))


def _at(server_url: str, webhook_url: str) -> str:
    """The same webhook on another server of the same database."""
    return server_url + urlsplit(webhook_url).path


async def compared(
    contenders: list[Contender], connections: int, seconds: float
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Rounds in turns, each time in the other order; a row of the medians, and all rounds.

    The ratio is the median of the rounds' own ratios.
    """
    rounds: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    for number in range(ROUNDS):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            figures = await contender.measure(connections, seconds)
            print(f"  {contender.name} at {connections}: {figures['rate']:.0f}/s", file=sys.stderr, flush=True)
            rounds[contender.name].append(figures)
    product, floor = median_by("rate", rounds["product"]), median_by("rate", rounds["floor"])
    pairs = zip(rounds["product"], rounds["floor"], strict=True)
    row = {
        "connections": connections,
        "runs/s": product["rate"],
        "floor/s": floor["rate"],
        "ratio": round(median(above["rate"] / below["rate"] for above, below in pairs), 3),
        "p50 ms": product["p50_ms"],
        "p95 ms": product["p95_ms"],
        "p99 ms": product["p99_ms"],
        "floor p50 ms": floor["p50_ms"],
        "cpu ms": product["server_cpu_ms_per_run"],
        "floor cpu ms": floor["server_cpu_ms_per_run"],
    }
    return row, rounds


async def evidence(product: Product, workload: Workload, contenders: list[Contender]) -> dict[str, Any]:
    """The proofs by SQL, and how many writes a run of the product really took beside the number it should take."""
    proofs = {c.name: await prove(product.dsn, c.workflow_id, c.answers, workload.steps) for c in contenders}
    writes = await product.metric("mel_journal_batch_entries_sum") / contenders[0].answers
    return {"proofs": proofs, "writes_per_run": {"product": round(writes, 2), "floor": workload.writes}}


async def _durations_ms(dsn: str, workflow_id: UUID) -> list[float]:
    """p50, p95 and the maximum from the commit of the start to the commit of the end."""
    connection = await asyncpg.connect(dsn)
    try:
        return [round(float(value), 3) for value in await connection.fetchval(DURATIONS, workflow_id)]
    finally:
        await connection.close()


def _same_writes(workload: Workload, details: dict[str, Any]) -> Goal:
    """The ratio to the floor means something only when both write equally often."""
    writes = details["writes_per_run"]["product"]
    return Goal(f"{workload.name}: writes after the start of a run", writes, "at most", workload.writes)


def _goals(name: str, rows: list[dict[str, Any]]) -> list[Goal]:
    goals = []
    for row in rows:
        connections = row["connections"]
        goals.append(Goal(f"{name}: share of the floor's rate at {connections}", row["ratio"], "at least", RATIO))
        if connections in FULL_LOAD:
            goals.append(Goal(f"{name}: runs/s at {connections}", row["runs/s"], "at least", RUNS_PER_SECOND[name]))
        if connections == 1:
            goals.append(Goal(f"{name}: p50 ms at 1", row["p50 ms"], "at most", 3))
    return goals
