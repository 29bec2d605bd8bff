"""Three API instances and two workers behind nginx, as processes: what is answered is true, whatever dies."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import aiohttp
import pytest

from deploy.local.topology import topology
from tests.acceptance.program import line_of
from tests.builders import eventually, misplaced

SYNC_HOOK = {"id": "hook", "type": "webhook", "config": {"mode": "sync", "respond": "last_node"}}
ASYNC_HOOK = {"id": "hook", "type": "webhook"}
DOUBLE = {"id": "double", "type": "set", "config": {"fields": {"doubled": "{{ input.body.n * 2 }}"}}}
SLEEP = {"id": "sleep", "type": "delay", "config": {"duration": "1s"}}
END = {"id": "end", "type": "noop"}
LEASE_SECONDS, RESCUE_SECONDS = 15.0, 2.0


@dataclass
class Load:
    """Callers of webhooks; what they were answered."""

    cluster: object
    accepted: list = field(default_factory=list)
    answered: int = 0
    wrong: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    stopping: bool = False
    tasks: list = field(default_factory=list)
    number: int = 0

    def begin(self, url, callers, *, sync, pause=0.0):
        self.tasks += [asyncio.create_task(self._call(url, sync=sync, pause=pause)) for _ in range(callers)]

    async def end(self):
        self.stopping = True
        await asyncio.gather(*self.tasks)

    async def _call(self, url, *, sync, pause):
        limit = aiohttp.ClientTimeout(total=90)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while not self.stopping:
                self.number += 1
                n = self.number
                try:
                    async with session.post(url, json={"n": n}) as response:
                        await self._note(response, n, sync=sync)
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failed.append((time.time(), repr(error)))
                    await asyncio.sleep(0.05)
                await asyncio.sleep(pause)

    async def _note(self, response, n, *, sync):
        if response.status == 202:
            self.accepted.append((await response.json())["run_id"])
        elif response.status == 200 and sync:
            self.answered += 1
            if (body := await response.json()).get("doubled") != 2 * n:
                self.wrong.append((n, body))
        elif response.status == 504 and response.content_type == "application/json":
            self.accepted += [run] if (run := (await response.json()).get("run_id")) else []
        else:
            self.failed.append((time.time(), response.status))


async def nothing_live(cluster):
    async with cluster.database() as conn:
        return not await conn.fetchval("SELECT (SELECT count(*) FROM work_items) + (SELECT count(*) FROM parked)")


async def check_exact(cluster, load):
    """Every 2xx has exactly one finished run, every step of every run is recorded once, nothing is out of place."""
    await eventually(lambda: nothing_live(cluster), seconds=120)
    async with cluster.database() as conn:
        runs = {str(row["id"]): row["status"] for row in await conn.fetch("SELECT id, status FROM runs")}
        steps = await conn.fetch("SELECT run_id, count(*) AS n FROM steps WHERE status = 'completed' GROUP BY run_id")
        assert await misplaced(conn) == []
    assert load.wrong == []
    assert len(load.accepted) == len(set(load.accepted))
    assert set(load.accepted) <= set(runs)
    assert set(runs.values()) == {"completed"}
    assert len(runs) >= len(load.accepted) + load.answered
    assert len(steps) == len(runs)
    assert {row["n"] for row in steps} <= {3, 4}


@pytest.fixture
async def cluster():
    async with topology(MEL_WORKER_CONCURRENCY="100") as made:
        yield made


async def hooks(cluster):
    """A webhook that answers with the result, and one that answers at once, whose runs take longer than a second."""
    return await cluster.deploy(line_of(SYNC_HOOK, DOUBLE, END)), await cluster.deploy(
        line_of(ASYNC_HOOK, SLEEP, DOUBLE, END)
    )


async def test_whatever_is_killed_or_frozen_every_answered_call_has_one_finished_run(cluster):
    await chaos(cluster, turns=10, seed=7)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(3))
async def test_the_same_for_minutes(cluster, seed):
    await chaos(cluster, turns=150, seed=seed)


async def chaos(cluster, turns, seed):
    """Every two seconds some process is killed and replaced, or frozen and thawed eight seconds later."""
    load, dice = Load(cluster), random.Random(seed)
    sync, deferred = await hooks(cluster)
    load.begin(sync, 4, sync=True)
    load.begin(deferred, 2, sync=False, pause=0.05)
    for turn in range(turns):
        await asyncio.sleep(2)
        victim = dice.choice(cluster.of_kind(dice.choice(["api-", "worker-"]))).name
        if turn % 3 == 2:
            cluster.freeze(victim)
            asyncio.get_running_loop().call_later(8, cluster.thaw, victim)
            continue
        await cluster.kill(victim)
        await (cluster.start_api(victim) if victim.startswith("api") else cluster.start_worker(f"worker-{turn + 10}"))
    await asyncio.sleep(8)
    await load.end()
    await check_exact(cluster, load)
    assert load.answered > 100
    assert len(load.accepted) > 50


async def test_work_of_a_dead_worker_goes_on_within_a_lease_and_a_rescue_pass(cluster):
    load = Load(cluster)
    _, deferred = await hooks(cluster)
    load.begin(deferred, 4, sync=False, pause=0.02)
    held = []
    while len(held) < 5:
        await asyncio.sleep(0.2)
        held = await leases_of(cluster, "worker-1")
    await cluster.kill("worker-1")
    await load.end()
    await check_exact(cluster, load)
    await check_takeover(cluster, held)


async def leases_of(cluster, worker_id):
    """The runs that a worker holds, with the database's time."""
    async with cluster.database() as conn:
        rows = await conn.fetch("SELECT run_id, now() AS at FROM work_items WHERE worker_id = $1", worker_id)
    return [(row["run_id"], row["at"]) for row in rows]


async def check_takeover(cluster, held):
    """What a dead worker held went on within a lease and a rescue pass: by the database's clock it ended soon after."""
    async with cluster.database() as conn:
        ends = dict(
            await conn.fetch("SELECT id, finished_at FROM runs WHERE id = ANY($1::uuid[])", [r for r, _ in held])
        )
    late = [(run, (ends[run] - at).total_seconds()) for run, at in held]
    itself = 10.0  # such a run takes a second, and the machine may be slow
    assert [found for found in late if found[1] > LEASE_SECONDS + RESCUE_SECONDS + itself] == []


async def test_a_rolling_restart_fails_no_request_and_delays_no_run_by_a_lease(cluster):
    load = Load(cluster)
    sync, deferred = await hooks(cluster)
    load.begin(sync, 4, sync=True, pause=0.02)
    load.begin(deferred, 2, sync=False, pause=0.05)
    await asyncio.sleep(1)
    for name in ("api-1", "api-2", "api-3"):
        assert await cluster.stop(name) == 0
        await cluster.start_api(name)
    for number in (1, 2):
        await cluster.start_worker(f"worker-new-{number}")
        assert await cluster.stop(f"worker-{number}") == 0
    await asyncio.sleep(1)
    await load.end()
    await check_exact(cluster, load)
    assert len(load.failed) <= 1  # a connection that was opened in the very moment in which the socket closed
    async with cluster.database() as conn:
        slowest = await conn.fetchval("SELECT max(extract(epoch FROM finished_at - created_at)) FROM runs")
    assert slowest < LEASE_SECONDS


async def test_postgresql_and_redis_may_go_away_and_nothing_accepted_is_lost(cluster):
    load = Load(cluster)
    sync, deferred = await hooks(cluster)
    load.begin(sync, 3, sync=True, pause=0.02)
    load.begin(deferred, 2, sync=False, pause=0.05)
    for _ in range(2):
        await asyncio.sleep(2)
        await cluster.restart_postgres()
    await asyncio.sleep(2)
    answered = load.answered
    await cluster.kill("redis")
    await eventually(lambda: load.answered > answered + 20)
    await cluster.start_redis()
    answered = load.answered
    await eventually(lambda: load.answered > answered + 20)
    await load.end()
    await check_exact(cluster, load)


async def test_a_sleeping_run_wakes_on_another_worker_though_everything_was_killed(cluster):
    url = await cluster.deploy(line_of(ASYNC_HOOK, {"id": "sleep", "type": "delay", "config": {"duration": "8s"}}, END))
    load = Load(cluster)
    load.begin(url, 2, sync=False, pause=0.1)
    await eventually(lambda: len(load.accepted) >= 10)
    await load.end()

    async def all_sleep():
        async with cluster.database() as conn:
            return await conn.fetchval("SELECT count(*) FROM parked") >= len(load.accepted)

    await eventually(all_sleep)
    for name in ("worker-1", "worker-2", "api-1", "api-2", "api-3"):
        await cluster.kill(name)
    for name in ("api-1", "api-2", "api-3"):
        await cluster.start_api(name)
    await cluster.start_worker("worker-3")
    await eventually(lambda: nothing_live(cluster), seconds=120)
    async with cluster.database() as conn:
        slept = await conn.fetch("SELECT extract(epoch FROM finished_at - created_at) AS seconds, status FROM runs")
    assert {row["status"] for row in slept} == {"completed"}
    assert min(row["seconds"] for row in slept) >= 8
