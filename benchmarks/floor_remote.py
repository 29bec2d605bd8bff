"""The floor with workers in processes of their own: what the same HTTP and SQL cost, without the engine.

The API process is that of `floor`; a run is leased by its start to a worker that waits, goes to it on a line of an
answer that stays open, and comes back with the steps of others in one call, which records and settles them all. So a
run costs the statements, and takes the way, that one of the product takes: start, line, journal call, answer.

What is missing is the engine on both sides, and what the protocol is for: no sessions, no heartbeats, no limits to what
a worker is given, nothing that is repeated, no models that check what comes.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import uvloop
from aiohttp import web

from benchmarks.floor import Floor, Gathered, Shape, entries_of, serve, step_of
from melagent.domain.run import RunStatus
from melagent.domain.work import RunEnd
from melagent.store.work import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from melagent.domain.run import StepRecord
    from melagent.domain.work import Entry, NewRun
    from melagent.store.pool import Pool

CLAIMS = 2
CLAIM_SECONDS = 20.0
"""As many claims as the worker of the product has open, for as long."""

COMPACT = orjson.OPT_UTC_Z


class RemoteFloor(Floor):
    """A floor whose runs go through a worker."""

    def __init__(self, pool: Pool, shape: Shape) -> None:
        super().__init__(pool, shape)
        self._lines: dict[asyncio.Queue[bytes], None] = {}
        self._somebody = asyncio.Event()
        self._callers: dict[UUID, asyncio.Future[bytes]] = {}

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/floor/claim", self.claim)
        app.router.add_post("/floor/journal", self.journal)

    async def start_and_wait(self, run: NewRun, _seconds: float, **_options: Any) -> RunEnd:
        lease = uuid4()
        self._callers[run.id] = caller = asyncio.get_running_loop().create_future()
        await self._starts.submit((run, Offer(lease, "floor")))
        await self._give([str(run.id), str(lease), run.input.decode()])
        output = await caller
        answer = b'{"statusCode":200,"headers":{},"body":%b}' % output
        return RunEnd(run.id, RunStatus.COMPLETED, output, None, answer)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """Runs, each line an array of them, for so long."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._lines[lines] = None
        self._somebody.set()
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                while True:
                    await response.write(b"[%b]\n" % b",".join(await _all_of(lines)))
        except TimeoutError:
            pass
        finally:
            del self._lines[lines]
        await response.write(b"[%b]\n" % b",".join(_rest_of(lines)))
        await response.write_eof()
        return response

    async def journal(self, request: web.Request) -> web.Response:
        """Record the steps of runs and settle them; answer those who called them."""
        entries = [entry for item in orjson.loads(await request.read()) for entry in self._entries(item)]
        await asyncio.gather(*(self._writes.submit(entry) for entry in entries))
        for entry in entries:
            if entry.settle is not None:
                self._callers.pop(entry.run_id).set_result(entry.settle.output or b"null")
        return web.Response(status=204)

    async def _give(self, item: list[str]) -> None:
        """To those who wait, in turn."""
        while not self._lines:
            self._somebody.clear()
            await self._somebody.wait()
        lines = next(iter(self._lines))
        self._lines[lines] = self._lines.pop(lines)
        lines.put_nowait(orjson.dumps(item))

    def _entries(self, item: list[Any]) -> list[Entry]:
        run_id, lease, steps = item
        records = [_record(seq, *step) for seq, step in enumerate(steps, start=1)]
        return entries_of(UUID(run_id), UUID(lease), records, self._shape.writes)


async def _all_of(lines: asyncio.Queue[bytes]) -> list[bytes]:
    """What waits; waits for the first."""
    return [await lines.get(), *_rest_of(lines)]


def _rest_of(lines: asyncio.Queue[bytes]) -> Iterator[bytes]:
    while not lines.empty():
        yield lines.get_nowait()


def _record(seq: int, started_at: str, finished_at: str, output: str) -> StepRecord:
    return step_of(seq, output.encode(), datetime.fromisoformat(started_at), datetime.fromisoformat(finished_at))


class FloorWorker:
    """Takes runs of a floor with so many steps, and sends the steps of those that gathered in one call."""

    def __init__(self, http: aiohttp.ClientSession, steps: int) -> None:
        self._http = http
        self._steps = steps
        self._done = Gathered(self._send)
        self._running: set[asyncio.Future[None]] = set()

    async def work(self) -> None:
        async with asyncio.TaskGroup() as claims:
            for _ in range(CLAIMS):
                claims.create_task(self._claim())

    async def _claim(self) -> None:
        while True:
            async with self._http.post("/floor/claim") as answer:
                async for line in answer.content:
                    for run_id, lease, run_input in orjson.loads(line):
                        self._send_soon([run_id, lease, _steps(run_input, self._steps)])

    def _send_soon(self, item: list[Any]) -> None:
        sending = self._done.submit(item)
        self._running.add(sending)
        sending.add_done_callback(self._running.discard)

    async def _send(self, items: list[list[Any]]) -> None:
        """Once more when the connection breaks: the floor would then never answer those who called these runs."""
        body = orjson.dumps(items, option=COMPACT)
        try:
            await self._post(body)
        except aiohttp.ClientConnectionError:
            await self._post(body)

    async def _post(self, body: bytes) -> None:
        async with self._http.post("/floor/journal", data=body) as answer:
            answer.raise_for_status()


def _steps(run_input: str, count: int) -> list[tuple[datetime, datetime, str]]:
    """The trigger, whose output is the input, then steps that pass `{"total": 2 * n}` on."""
    total = orjson.dumps({"total": 2 * orjson.loads(run_input)["body"]["n"]}).decode()
    return [(datetime.now(UTC), datetime.now(UTC), total if number else run_input) for number in range(count)]


async def work(url: str, steps: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as http:
        await FloorWorker(http, steps).work()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor_remote")
    roles = parser.add_subparsers(dest="role", required=True)
    api, worker = roles.add_parser("api"), roles.add_parser("worker")
    api.add_argument("dsn")
    api.add_argument("port", type=int)
    api.add_argument("--writes", type=int, required=True, help="commits of a run after its start")
    worker.add_argument("url")
    for role in (api, worker):
        role.add_argument("--steps", type=int, required=True, help="steps of a run, the trigger included")
    given = parser.parse_args()
    if given.role == "worker":
        uvloop.run(work(given.url, given.steps))
    else:
        shape = Shape(given.steps, given.writes)
        uvloop.run(serve(given.dsn, given.port, lambda pool: RemoteFloor(pool, shape)))


if __name__ == "__main__":
    main()
