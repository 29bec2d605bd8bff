"""What a loop, a call and a replay cost: through the API, one run after the other, each answer checked."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks import machine
from benchmarks.figures import latencies_ms
from benchmarks.outcome import Goal, Outcome
from benchmarks.product import running
from benchmarks.workloads import by_hand, call_of, looped, value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from benchmarks.outcome import Options
    from benchmarks.product import Product

    Execute: TypeAlias = Callable[[Any], Awaitable[Any]]

SECONDS = 5.0
WARM_UP = 20
ITEMS = list(range(100))
STEPS = 1_000
LOOP_MS = 60
CALL_MS = 10
REPLAY_MS = 300


async def cost(folder: Path, options: Options) -> Outcome:
    seconds = options.seconds or SECONDS
    work = (value("one", "input + 1"), value("two", "input * 2"))
    async with running(folder) as product, product.api() as api:
        child = await product.workflow("called", by_hand(*work, entry="workflow_trigger"))
        body = (value("a", "item + 1"), value("b", "input * 2"), value("c", "input - 1"))
        loop = await product.workflow("loop", looped(*body, concurrency=10))
        inline = await product.workflow("inline", by_hand(*work))
        calling = await product.workflow("calling", by_hand(call_of(child, "input")))

        async def output_of(workflow_id: str, given: Any) -> Any:
            return (await product.run(api, workflow_id, given))["output"]

        def execute(workflow_id: str) -> Execute:
            return partial(output_of, workflow_id)

        looping = await _latencies(execute(loop), ITEMS, [2 * item + 1 for item in ITEMS], seconds)
        without = await _latencies(execute(inline), 20, 42, seconds)
        called = await _latencies(execute(calling), 20, 42, seconds)
        replayed = await _latencies(await _replaying(product, api), None, STEPS - 1, seconds)
        postgres = await machine.postgres(product.dsn)
    added = round(called["p50_ms"] - without["p50_ms"], 3)
    rows = [
        _row("100 items through a for_each of three nodes", looping),
        _row("two nodes", without),
        _row("the same two nodes in a workflow that is called", called),
        _row("a run of 1,000 steps, replayed from its last", replayed),
    ]
    goals = [
        Goal("cost: 100 items through a for_each of three nodes, ms (p50)", looping["p50_ms"], "at most", LOOP_MS),
        Goal("cost: a call adds ms (p50)", added, "at most", CALL_MS),
        Goal("cost: replay of a run of 1,000 steps, ms (p50)", replayed["p50_ms"], "at most", REPLAY_MS),
    ]
    return Outcome(rows, goals, postgres)


async def _replaying(product: Product, api: aiohttp.ClientSession) -> Execute:
    """Replays a run of 1,000 steps, each of which adds one to the input, from its last step."""
    nodes = [value(f"n{number}", "input + 1") for number in range(1, STEPS)]
    run = await product.run(api, await product.workflow("long", by_hand(*nodes)), 0)

    async def replay(_: Any) -> Any:
        return (await product.replay(api, run["id"], nodes[-1]["id"]))["output"]

    return replay


async def _latencies(execute: Execute, given: Any, expected: Any, seconds: float) -> dict[str, float]:
    """Of runs one after the other for so long, by the clock of the caller. Raises RuntimeError on a wrong output."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) <= WARM_UP:
        began = time.perf_counter()
        if (output := await execute(given)) != expected:
            raise RuntimeError(f"a run answered {output!r}")
        took.append(time.perf_counter() - began)
    figures = latencies_ms(took[WARM_UP:])
    print(f"  p50 {figures['p50_ms']} ms", file=sys.stderr, flush=True)
    return figures


def _row(what: str, figures: dict[str, float]) -> dict[str, Any]:
    return {"what": what, "p50 ms": figures["p50_ms"], "p95 ms": figures["p95_ms"], "max ms": figures["max_ms"]}
