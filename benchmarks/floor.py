"""The floor: what HTTP and SQL alone cost, without the engine.

It is the product's own API application with its own routes, look-ups and answers, and runs are written by the product's
own statements (`store.work.start`, `store.journal.write`), gathered for concurrent calls into as many commits a run.
What is missing is the engine: no definition, no plan, no nodes, no parameters, no expressions, no worker, no retries,
limits, hints, logs or metrics of runs. So the ratio of the two rates is what the engine costs. `floor_remote` is the
floor for the product with remote workers.

Nothing here is meant for use: an error fails its calls and is not tried again.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from uuid import UUID, uuid4

import orjson
import uvloop
from aiohttp import web

from melagent.api.app import build_app
from melagent.api.context import Services
from melagent.broker.postgres import postgres_broker
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Entry, NewRun, RunEnd, Settle
from melagent.registry import Registry
from melagent.store import journal, work
from melagent.store.pool import Pool, create_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from melagent.engine.engine import Engine

T = TypeVar("T")

LANES = 2
MAX_BATCH = 200
LEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a run leaves behind: so many steps, recorded by so many writes (all but the first write bring one step)."""

    steps: int
    writes: int


class Gathered(Generic[T]):
    """Group commit: while a statement is under way, the next one gathers."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._lanes: set[asyncio.Task[None]] = set()

    def submit(self, item: T) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._lanes) < LANES:
            self._lanes.add(asyncio.create_task(self._work()))
        return future

    async def _work(self) -> None:
        try:
            await self._write_all()
        finally:  # at once, not in a callback later: what is submitted in between would wait for the next one
            self._lanes -= {asyncio.current_task()}

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                await self._write([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  # every caller of the batch is told
                for _, future in batch:
                    future.set_exception(error)
            else:
                for _, future in batch:
                    future.set_result(None)


class Floor:
    """Takes the engine's place behind the API: a run is started, recorded and settled, and nothing happens in it."""

    def __init__(self, pool: Pool, shape: Shape) -> None:
        self.broker = postgres_broker("")  # never started: readiness only asks for its kind
        self._pool = pool
        self._shape = shape
        self._starts: Gathered[tuple[NewRun, work.Offer]] = Gathered(self._start)
        self._writes = Gathered(self._record)

    def add_routes(self, app: web.Application) -> None:
        """What the API has to answer besides its own routes."""

    async def start_and_wait(self, run: NewRun, _seconds: float, **_options: Any) -> RunEnd:
        """The answer and the output of a run that was called with `n`: both hold `{"total": 2 * n}`."""
        lease = uuid4()
        await self._starts.submit((run, work.Offer(lease, "floor")))
        total = {"total": 2 * orjson.loads(run.input)["body"]["n"]}
        steps = _steps(run.input, orjson.dumps(total), self._shape.steps)
        for entry in entries_of(run.id, lease, steps, self._shape.writes):
            await self._writes.submit(entry)
        answer = orjson.dumps({"statusCode": 200, "headers": {}, "body": total})
        return RunEnd(run.id, RunStatus.COMPLETED, steps[-1].output, None, answer)

    async def _start(self, starts: list[tuple[NewRun, work.Offer]]) -> None:
        runs, offers = [run for run, _ in starts], [offer for _, offer in starts]
        async with self._pool.acquire() as conn:
            leased = await work.start(conn, runs, offers, LEASE_SECONDS)
        if len(leased) != len(starts):
            raise RuntimeError("a run was not leased")

    async def _record(self, entries: list[Entry]) -> None:
        async with self._pool.acquire() as conn:
            held = await journal.write(conn, entries, LEASE_SECONDS)
        if len(held) != len(entries):
            raise RuntimeError("a lease was lost")


def _steps(run_input: bytes, output: bytes, count: int) -> list[StepRecord]:
    """As many steps as a run has: the trigger, whose output is the input, then steps that pass the answer on."""
    return [
        step_of(seq, run_input if seq == 1 else output, datetime.now(UTC), datetime.now(UTC))
        for seq in range(1, count + 1)
    ]


def step_of(seq: int, output: bytes, started_at: datetime, finished_at: datetime) -> StepRecord:
    return StepRecord(
        step_key=f"n{seq}",
        node_id=f"n{seq}",
        node_type="set",
        status=StepStatus.COMPLETED,
        attempt=1,
        started_at=started_at,
        finished_at=finished_at,
        handle="out",
        output=output,
        seq=seq,
    )


def entries_of(run_id: UUID, lease: UUID, steps: list[StepRecord], count: int) -> list[Entry]:
    """The writes of a run: what is left over goes with the first, and the last settles."""
    ends = range(len(steps) - count + 1, len(steps) + 1)
    settled = Settle(RunStatus.COMPLETED, output=steps[-1].output)
    return [
        Entry(run_id, lease, seq, tuple(steps[start:end]), settled if end == len(steps) else None)
        for seq, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), start=1)
    ]


def app_of(floor: Floor, pool: Pool, registry: Registry) -> web.Application:
    """The API on top of a floor."""
    engine = cast("Engine", floor)
    app = build_app(Services(pool=pool, engine=engine, registry=registry, instance="floor", version="floor"))
    floor.add_routes(app)
    return app


async def serve(dsn: str, port: int, floor_of: Callable[[Pool], Floor]) -> None:
    pool = await create_pool(dsn)
    runner = web.AppRunner(app_of(floor_of(pool), pool, Registry.installed()), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor")
    parser.add_argument("dsn")
    parser.add_argument("port", type=int)
    parser.add_argument("--steps", type=int, required=True, help="steps of a run, the trigger included")
    parser.add_argument("--writes", type=int, required=True, help="commits of a run after its start")
    given = parser.parse_args()
    shape = Shape(given.steps, given.writes)
    uvloop.run(serve(given.dsn, given.port, lambda pool: Floor(pool, shape)))


if __name__ == "__main__":
    main()
