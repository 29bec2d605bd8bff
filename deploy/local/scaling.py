"""`./test-scaling.sh --local`: the scaled deployment as processes, and a proof that it scales.

One line a check. Ends with 0 when all hold, and leaves nothing behind, interrupted or not. With `--keep` the cluster
stays until Ctrl-C when all checks hold.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp

from deploy.local import editing
from deploy.local.topology import ProgramMissing, Topology, topology, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from deploy.local.topology import Member

WORKFLOW: dict[str, Any] = {
    "nodes": [
        {"id": "hook", "type": "webhook", "config": {"mode": "sync", "respond": "last_node"}},
        {"id": "double", "type": "set", "config": {"fields": {"doubled": "{{ input.body.n * 2 }}"}}},
    ],
    "edges": [{"source": "hook", "target": "double"}],
}
CALLS = 120


class Failed(Exception):
    """A check that does not hold; the message says what was seen."""


@dataclass(slots=True)
class Proof:
    """The checks in their order, each on the cluster as the one before left it."""

    cluster: Topology
    hook: str = ""
    called: int = 0
    broken_off: int = 0

    async def readiness(self) -> str:
        for member in self.cluster.of_kind("api-"):
            await self.cluster.until_ready(member)
        return f"{len(self.cluster.of_kind('api-'))} instances are ready"

    async def load_balancing(self) -> str:
        seen = await self._instances(30)
        expect(len(seen) == len(self.cluster.of_kind("api-")), f"answers came from {dict(seen)}")
        return f"30 answers came from {len(seen)} instances: {sorted(seen.values())}"

    async def api(self) -> str:
        types = await self.cluster.call("GET", "/api/node-types")
        self.hook = await self.cluster.deploy(WORKFLOW)
        return f"{len(types)} node types; a workflow was made, deployed and armed"

    async def runs(self) -> str:
        await self._call_many(CALLS)
        return f"{CALLS} webhook calls were answered with the result of their run"

    async def distribution(self) -> str:
        counts = {
            member.name: self.cluster.logged(member.name).count("claimed work")
            for member in self.cluster.of_kind("worker-")
        }
        expect(all(counts.values()), f"claims by worker: {counts}")
        return f"claims by worker: {counts}"

    async def failover_of_an_instance(self) -> str:
        calls = asyncio.create_task(self._call_many(CALLS, may_fail=10))
        await asyncio.sleep(0.1)
        await self.cluster.kill("api-1")
        failed = await calls
        await self.cluster.start_api("api-1")
        return f"kill -9 of api-1 under load: {failed} of {CALLS} calls broke off, those on its connections"

    async def failover_of_a_worker(self) -> str:
        calls = asyncio.create_task(self._call_many(CALLS))
        self.cluster.freeze("worker-1")  # so that it dies with runs in its hands
        await until(self._held_by_the_first_worker, "worker-1 to hold a run")
        held, before = await self._held_by_the_first_worker(), time.monotonic()
        await self.cluster.kill("worker-1")
        await calls
        await self.cluster.start_worker("worker-1")
        return (
            f"kill -9 of worker-1, which held {held} runs, under load: all {CALLS} calls were answered, "
            f"within {time.monotonic() - before:.1f} s"
        )

    async def scaling_up(self) -> str:
        async with self._calls_meanwhile():
            await asyncio.gather(self.cluster.start_api("api-4"), self.cluster.start_api("api-5"))
            await self.cluster.reload_nginx()
            await asyncio.gather(self.cluster.start_worker("worker-3"), self.cluster.start_worker("worker-4"))
            await until(lambda: self._sees(5), "five instances to answer")
            await until(self._all_workers_claim, "all workers to get work")
        expect(len(self.cluster.of_kind("worker-")) == 4, "a worker has ended")
        return "api=5 worker=4 while running: no call failed, all of them answer and work"

    async def live_editing(self) -> str:
        return await self._edit_together("api-")

    async def live_editing_scaled_apart(self) -> str:
        """`server realtime` takes all sockets, and the API goes on beside it."""
        names = ("realtime-1", "realtime-2")
        for name in names:
            await self.cluster.start_realtime(name)
        await self.cluster.reload_nginx()
        await until(self._sockets_go_to_realtime, "nginx to send sockets to the realtime instances")
        seen = await self._edit_together("realtime-")
        for name in names:
            code = await self.cluster.stop(name)
            expect(code == 0, f"{name} ended with {code}")
        await self.cluster.reload_nginx()
        return f"two instances of `server realtime`: {seen}"

    async def _edit_together(self, kind: str) -> str:
        """Two people on two instances of a kind, one of which is killed, and there again afterwards."""
        killed: list[str] = []

        async def kill(instance: str) -> None:
            members = {await self._name_of(member): member for member in self.cluster.of_kind(kind)}
            expect(instance in members, f"the socket was on {instance}, and not on {sorted(members)}")
            killed.append(members[instance].name)
            await self.cluster.kill(killed[0])

        seen = await editing.prove(self.cluster.url, self.cluster.api_key, kill)
        await self.cluster.start_again(killed[0])
        return seen

    async def _sockets_go_to_realtime(self) -> bool:
        """For a moment after it is told of them nginx may still ask others; whoever asks without a key learns whom."""
        names = {await self._name_of(member) for member in self.cluster.of_kind("realtime-")}
        url = f"{self.cluster.url}/api/ws/workflows/{uuid4()}"
        async with fresh_connections() as session:
            for _ in range(8):
                async with session.get(url) as response:
                    if response.headers.get("X-Mel-Instance") not in names:
                        return False
        return True

    async def _name_of(self, member: Member) -> str:
        """What an instance calls itself."""
        url = f"http://127.0.0.1:{member.port}/health"
        async with fresh_connections() as session, session.get(url) as response:
            return response.headers["X-Mel-Instance"]

    async def scaling_down(self) -> str:
        async with self._calls_meanwhile():
            for name in ("worker-2", "worker-3", "worker-4", "api-3", "api-4", "api-5"):
                code = await self.cluster.stop(name)
                expect(code == 0, f"{name} ended with {code}")
            await self.cluster.reload_nginx()
            await until(lambda: self._sees(2), "two instances to answer")
        return "api=2 worker=1 while running: no call failed, every process drained and ended with 0"

    async def exactness(self) -> str:
        async def nothing_live() -> bool:
            async with self.cluster.database() as conn:
                return bool(await conn.fetchval("SELECT NOT EXISTS (SELECT FROM work_items)"))

        await until(nothing_live, "all runs to end")
        async with self.cluster.database() as conn:
            rows = await conn.fetch("SELECT status, count(*) AS n FROM runs GROUP BY status")
        runs = {row["status"]: row["n"] for row in rows}
        expect(set(runs) == {"completed"}, f"runs: {runs}")
        most = self.called + self.broken_off  # a call that broke off may have started a run
        expect(self.called <= runs["completed"] <= most, f"{runs['completed']} runs for {self.called} answers")
        return f"{self.called} answers, {runs['completed']} runs, all of them completed"

    async def _held_by_the_first_worker(self) -> int:
        async with self.cluster.database() as conn:
            return int(await conn.fetchval("SELECT count(*) FROM work_items WHERE worker_id = 'worker-1'"))

    async def _instances(self, calls: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        async with fresh_connections() as session:
            for _ in range(calls):
                async with session.get(f"{self.cluster.url}/health") as response:
                    seen[response.headers["X-Mel-Instance"]] += 1
        return seen

    async def _sees(self, instances: int) -> bool:
        return len(await self._instances(20)) == instances

    async def _all_workers_claim(self) -> bool:
        await self._call_many(20)
        logs = [self.cluster.logged(member.name) for member in self.cluster.of_kind("worker-")]
        return all("claimed work" in log.rpartition("worker registered")[2] for log in logs)  # since its last start

    @asynccontextmanager
    async def _calls_meanwhile(self) -> AsyncIterator[None]:
        """Calls go on until the end of the block, and none may fail."""
        ended = asyncio.Event()
        calling = asyncio.create_task(self._call(takewhile(lambda _: not ended.is_set(), count())))
        try:
            yield
        finally:
            ended.set()
            await calling

    async def _call_many(self, calls: int, may_fail: int = 0) -> int:
        """So many calls; how many of them broke off."""
        return await self._call(iter(range(calls)), may_fail)

    async def _call(self, numbers: Iterator[int], may_fail: int = 0) -> int:
        """Call the webhook, eight at a time, and check each answer; how many calls broke off."""
        failed: list[str] = []

        async def caller(session: aiohttp.ClientSession) -> None:
            for n in numbers:
                try:
                    async with session.post(self.hook, json={"n": n}) as response:
                        body = await response.json() if response.status == 200 else {}
                        if body.get("doubled") == 2 * n:
                            self.called += 1
                        else:
                            failed.append(f"status {response.status}")
                except aiohttp.ClientError as error:
                    failed.append(repr(error))
                await asyncio.sleep(0.01)

        async with fresh_connections() as session:
            await asyncio.gather(*(caller(session) for _ in range(8)))
        self.broken_off += len(failed)
        expect(len(failed) <= may_fail, f"{len(failed)} calls failed: {failed[:3]}")
        return len(failed)


def fresh_connections() -> aiohttp.ClientSession:
    """A connection for each call, as senders of webhooks do: nginx resets the idle ones when it is reloaded."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))


def expect(holds: object, seen: str) -> None:
    if not holds:
        raise Failed(seen)


async def main(*, keep: bool) -> int:
    begun = time.monotonic()
    _end_cleanly_when_told_to()
    print("starting PostgreSQL, Redis, nginx, three API instances and two workers ...", flush=True)
    try:
        async with topology(MEL_WORKER_CONCURRENCY="20") as cluster:
            proof = Proof(cluster)
            checks: list[Callable[[], Awaitable[str]]] = [
                proof.readiness, proof.load_balancing, proof.api, proof.runs, proof.distribution,
                proof.failover_of_an_instance, proof.failover_of_a_worker, proof.scaling_up, proof.live_editing,
                proof.live_editing_scaled_apart, proof.scaling_down, proof.exactness,
            ]  # fmt: skip  # the order is the story
            passed = await _run(checks)
            print(f"\n{passed} of {len(checks)} checks passed in {time.monotonic() - begun:.0f} s", flush=True)
            if keep and passed == len(checks):
                await _keep(cluster)
            return 0 if passed == len(checks) else 1
    except (ProgramMissing, RuntimeError, TimeoutError) as error:
        print(f"FAIL  the cluster did not start: {error}")
    except asyncio.CancelledError:
        print("\nended before its time; nothing is left behind")
    return 1


def _end_cleanly_when_told_to() -> None:
    """The first SIGINT, SIGTERM or SIGHUP cancels this task, which closes the cluster; more of them do not hurry it."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in signals:
        loop.add_signal_handler(number, end)


async def _keep(cluster: Topology) -> None:
    print(f"running at {cluster.url} with the API key {cluster.api_key}; Ctrl-C ends it", flush=True)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def _run(checks: list[Callable[[], Awaitable[str]]]) -> int:
    """Each check in turn; the first that does not hold is the last, since the others stand on it."""
    for number, check in enumerate(checks):
        name = getattr(check, "__name__", "check").replace("_", " ")
        try:
            print(f"ok    {name}: {await check()}", flush=True)
        except (Failed, editing.Broken, RuntimeError, TimeoutError, aiohttp.ClientError) as error:
            print(f"FAIL  {name}: {error}", flush=True)
            return number
    return len(checks)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(keep="--keep" in sys.argv[1:])))
