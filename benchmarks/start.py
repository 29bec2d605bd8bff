"""How long a start takes on a database that is there already, what `--help` takes, and idle memory."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.outcome import Goal, Outcome
from benchmarks.processes import ROOT, Server, environment, free_port, serving
from benchmarks.product import database, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.outcome import Options

TIMES = 5
IDLE_AFTER_SECONDS = 2.0
READY_SECONDS = 1.5
HELP_SECONDS = 0.3
MEMORY_MB = 120


async def start(folder: Path, options: Options) -> Outcome:  # noqa: ARG001  # all benchmarks are called alike
    async with running(folder) as product:
        first, postgres = product.server.ready_seconds, await machine.postgres(product.dsn)
    whole = [await _whole(folder) for _ in range(TIMES)]
    async with database(folder / "data") as dsn:
        api = [await _api_server(folder, dsn) for _ in range(TIMES)]
    help_seconds = [await _help() for _ in range(TIMES)]
    rows = [
        {"what": "server, new database", "seconds": round(first, 3), "rss mb": None},
        _row("server, existing database", whole),
        _row("api-server, existing database", api),
        {"what": "--help", "seconds": round(statistics.median(help_seconds), 3), "rss mb": None},
    ]
    return Outcome(rows, _goals(rows), postgres, {"server": whole, "api_server": api, "help_seconds": help_seconds})


async def _whole(folder: Path) -> dict[str, float]:
    """`server server`: PostgreSQL, API and worker."""
    async with running(folder) as product:
        return await _measured(product.server)


async def _api_server(folder: Path, dsn: str) -> dict[str, float]:
    """`server api-server` on a PostgreSQL that runs."""
    port = free_port()
    arguments = ("-m", "melagent", "api-server", "--host", "127.0.0.1", "--port", str(port), "--database-url", dsn)
    async with serving(port, *arguments, log=folder / "api-server.log") as server:
        return await _measured(server)


async def _measured(server: Server) -> dict[str, float]:
    await asyncio.sleep(IDLE_AFTER_SECONDS)
    print(f"  ready after {server.ready_seconds:.2f} s", file=sys.stderr, flush=True)
    return {"ready_seconds": round(server.ready_seconds, 3), "rss_mb": server.rss_mb()}


async def _help() -> float:
    started_at = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "melagent", "--help", env=environment(), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait() != 0:
        raise RuntimeError("--help failed")
    return round(time.perf_counter() - started_at, 3)


def _row(what: str, measured: Sequence[dict[str, float]]) -> dict[str, Any]:
    seconds, memory = (statistics.median(one[name] for one in measured) for name in ("ready_seconds", "rss_mb"))
    return {"what": what, "seconds": seconds, "rss mb": memory}


def _goals(rows: list[dict[str, Any]]) -> list[Goal]:
    _, whole, api, help_ = rows
    return [
        Goal("start: server ready after s", whole["seconds"], "at most", READY_SECONDS),
        Goal("start: api-server ready after s", api["seconds"], "at most", READY_SECONDS),
        Goal("start: api-server idle memory, MB", api["rss mb"], "at most", MEMORY_MB),
        Goal("start: --help, s", help_["seconds"], "at most", HELP_SECONDS),
    ]
