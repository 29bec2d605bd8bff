"""A thousand workers that wait for work, each as the shipped one does: two claims of 28 s that stay open."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from benchmarks.proof import transactions_of

if TYPE_CHECKING:
    from benchmarks.product import Product

WORKERS = 1_000
PLACES = (3, 2)
"""What the two claims of a worker with the default of five places ask for: half of them, and the rest."""

WAIT_SECONDS = 28.0
SECONDS = 2 * WAIT_SECONDS
"""Of one measurement: each claim ends twice. A session is trusted for less, so that looking sessions up would show."""

SETTLE_SECONDS = 11.0
"""A session of PostgreSQL that falls idle tells of its last transactions within ten seconds."""

OPEN_FILES = 4 * WORKERS + 1_000


def allow_open_files(count: int = OPEN_FILES) -> None:
    """Let this process, and those it starts from now on, have so many files open. Raises ValueError.

    By default these are enough for a connection for each claim.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


async def idle(product: Product, token: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The share of a core that the instance needs, and the transactions that a claim costs beyond those without any."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = await _rates(product, seconds / 3)
    claims = [0]
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        product.server.url, headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None)
    ) as http:
        workers = [asyncio.create_task(_worker(http, number, claims)) for number in range(WORKERS)]
        while claims[0] < len(PLACES) * WORKERS:
            await asyncio.sleep(0.1)
            _raise_first(workers)
        await asyncio.sleep(SETTLE_SECONDS)
        first = claims[0]
        during = await _rates(product, seconds)
        _raise_first(workers)
        rate = (claims[0] - first) / during["seconds"]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    more = during["transactions"] - before["transactions"]
    return {
        "workers": WORKERS,
        "claims_per_second": round(rate, 1),
        "core_share": round(during["core_share"], 4),
        "transactions_per_second": {
            "without": round(before["transactions"], 2),
            "with": round(during["transactions"], 2),
        },
        "transactions_per_claim": round(max(0.0, more) / rate, 4),
    }


async def _rates(product: Product, seconds: float) -> dict[str, float]:
    cpu, count, at = product.server.cpu_seconds(), await transactions_of(product.dsn), time.perf_counter()
    await asyncio.sleep(seconds)
    passed = time.perf_counter() - at
    return {
        "seconds": passed,
        "core_share": (product.server.cpu_seconds() - cpu) / passed,
        "transactions": (await transactions_of(product.dsn) - count) / passed,
    }


async def _worker(http: aiohttp.ClientSession, number: int, claims: list[int]) -> None:
    worker_id = f"idle-{number}"
    async with http.post("/api/workers", json={"id": worker_id}) as answer:
        answer.raise_for_status()
        session = (await answer.json())["session"]
    async with asyncio.TaskGroup() as claiming:
        for places in PLACES:
            body = {"session": session, "max_items": places, "wait_seconds": WAIT_SECONDS, "stream": True}
            claiming.create_task(_claim(http, f"/api/workers/{worker_id}/claim-work", body, claims))


async def _claim(http: aiohttp.ClientSession, path: str, body: dict[str, Any], claims: list[int]) -> None:
    while True:
        async with http.post(path, json=body) as answer:
            answer.raise_for_status()
            claims[0] += 1
            while await answer.content.readany():
                pass


def _raise_first(workers: list[asyncio.Task[None]]) -> None:
    for worker in workers:
        if worker.done():
            worker.result()
