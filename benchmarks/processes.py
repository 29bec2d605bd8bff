"""The processes of a measurement: servers that are started, waited for and stopped, and the load generator."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ROOT = Path(__file__).parent.parent
READY_WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 60.0
POLL_SECONDS = 0.005
OWN_SETTINGS = ("MEL_", "DB_", "DATABASE_", "PORT", "PG")
"""Beginnings of environment variables that would change what is measured."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that answers. `ready_seconds` passed from its start to its first 200."""

    url: str
    process: psutil.Process
    ready_seconds: float

    def rss_mb(self) -> float:
        return round(self.process.memory_info().rss / 1e6, 1)

    def cpu_seconds(self) -> float:
        """Processor time that this process has used so far; PostgreSQL is not in it."""
        return cpu_seconds(self.process)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def environment() -> dict[str, str]:
    """The environment of a child: ours without the settings of the product, this checkout first, and our node."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    return kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks' / 'node'}"}


@asynccontextmanager
async def serving(
    port: int, *arguments: str, log: Path, settings: Mapping[str, str] | None = None, check: str = "/ready"
) -> AsyncIterator[Server]:
    """Run `python *arguments`, which serves `check` on the port, with its output in `log`; stop it by SIGTERM.

    Raises RuntimeError with the end of the log when it does not become ready.
    """
    started_at = time.perf_counter()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env={**environment(), **(settings or {})},
            cwd=log.parent,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await _until_ready(url + check, process, log)
        yield Server(url, psutil.Process(process.pid), time.perf_counter() - started_at)
    finally:
        await _stop(process)


@asynccontextmanager
async def running_process(*arguments: str, log: Path, settings: Mapping[str, str]) -> AsyncIterator[psutil.Process]:
    """Run `python *arguments`, which serves nothing, with its output in `log`; stop it by SIGTERM."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env={**environment(), **settings}, cwd=log.parent, stdout=output, stderr=output
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        await _stop(process)


async def load(url: str, *, field: str, connections: int, seconds: float) -> dict[str, Any]:
    """Run the load generator; its figures. Raises RuntimeError when it met any fault."""
    options = {"--field": field, "--connections": str(connections), "--seconds": str(seconds)}
    arguments = [part for option in options.items() for part in option]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.load", url, *arguments,
        env=environment(), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip  # what is run, then how
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with code {process.returncode}")
    figures: dict[str, Any] = orjson.loads(output)
    if figures["faults"]:
        raise RuntimeError(f"{url} with {connections} connections: {figures['faults']}")
    return figures


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    async with aiohttp.ClientSession() as session:
        while not await _is_ready(session, url):
            if process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} did not become ready:\n{end_of(log)}")
            await asyncio.sleep(POLL_SECONDS)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOPPED_WITHIN_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
