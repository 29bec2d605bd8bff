"""Two instances, somebody honest, and hostile people who send whatever they can think of for two minutes.

What they get are refusals and close codes that the pages about the wire name; nobody else notices anything.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from deploy.local.topology import topology
from melagent.services import drafts
from melagent.store.pool import PoolLimits, create_pool
from tests.acceptance.editing import canonical, instance_of
from tests.acceptance.editors import DEFINITION, Editor
from tests.builders import eventually
from tests.realtime.document import FROM_SERVER, VALIDATORS
from tests.realtime.hostile import HONEST, HOSTILE, MESSAGES, WELL_FORMED, attack

KINDS = pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
SECONDS, ATTACKERS = 120.0, 6
BATCH = 100
"""So many examples are made of one seed."""

FAULTS = ("error", "critical")
CODES = {4400, 4413, 4508, 4529}
EXAMPLES = st.tuples(
    st.lists(MESSAGES, min_size=1, max_size=8)
    | st.lists(WELL_FORMED, min_size=1, max_size=8)
    | st.lists(HOSTILE, min_size=1, max_size=3),
    st.sampled_from([True, True, True, False]),
)


class Attackers:
    """People who send messages to instances, each list of them on a socket of its own, and read what is answered.

    `ends` is what became of the sockets: the code with which each was closed, `stays`,
    or `closed` by themselves. `refusals` are the errors of all frames that refuse something.
    """

    def __init__(self, urls, http):
        self.ends: Counter[int | str | None] = Counter()
        self.refusals: Counter[str] = Counter()
        self._urls = itertools.cycle(urls)
        self._http = http
        self._examples: asyncio.Queue = asyncio.Queue(maxsize=ATTACKERS)

    async def attack(self, seconds):
        attacking = [asyncio.create_task(self._attack()) for _ in range(ATTACKERS)]
        making = asyncio.create_task(asyncio.to_thread(self._make, asyncio.get_running_loop(), seconds))
        try:
            await asyncio.wait([making, *attacking], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait_for(making, 60)
            await asyncio.wait_for(self._examples.join(), 60)
        finally:
            for task in attacking:
                task.cancel()
            for outcome in await asyncio.gather(*attacking, return_exceptions=True):
                if not isinstance(outcome, asyncio.CancelledError):
                    raise outcome

    def _make(self, loop, seconds):
        until = time.monotonic() + seconds
        for number in itertools.takewhile(lambda _: time.monotonic() < until, itertools.count()):
            self._make_some(loop, number)

    def _make_some(self, loop, number):
        """Make the examples of a seed."""

        @seed(number)
        @settings(
            max_examples=BATCH, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(example=EXAMPLES)
        def put(example):
            asyncio.run_coroutine_threadsafe(self._examples.put(example), loop).result(60)

        put()

    async def _attack(self):
        while True:
            messages, joins = await self._examples.get()
            end = await attack(self._open, messages, joins=joins, see=self._check)
            self.ends[end] += 1
            self._examples.task_done()

    def _open(self):
        return self._http.ws_connect(next(self._urls), max_msg_size=0)

    def _check(self, frame):
        assert frame["type"] in FROM_SERVER
        VALIDATORS[frame["type"]].validate(frame)
        if frame["type"] in ("refused", "error"):
            self.refusals[frame["error"]] += 1


@asynccontextmanager
async def somebody_honest(cluster, workflow_id):
    """Edits the workflow until the end of the block, and then holds what the database holds."""
    honest = Editor(cluster.url, cluster.api_key, workflow_id)
    honest.client = HONEST
    editing = asyncio.create_task(honest.live(0.2))
    try:
        yield honest
        honest.writes = False
        await eventually(lambda: editing.done() or not honest.pending)
        pool = await create_pool(cluster.dsn, PoolLimits(max_open=3))
        try:
            async with pool.acquire() as conn:
                stored = await drafts.load(conn, UUID(workflow_id))
        finally:
            await pool.close()
        await eventually(lambda: editing.done() or honest.draft.seq >= stored.seq)
        assert not editing.done(), editing.result()
        assert (honest.draft.seq, canonical(honest.content())) == (stored.seq, canonical(stored.definition()))
    finally:
        editing.cancel()
        await asyncio.gather(editing, return_exceptions=True)


async def identities(cluster):
    """The processes, and what they call themselves, which is new with each start."""
    return {
        member.name: (member.process.pid, await instance_of(cluster, member.name)) for member in cluster.of_kind("api-")
    }


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@KINDS
async def test_hostile_people_get_refusals_and_close_codes_and_nobody_else_notices(redis):
    async with topology(apis=2, workers=0, redis=redis) as cluster:
        definition = {**DEFINITION, "nodes": [*DEFINITION["nodes"], {"id": "done", "type": "noop"}]}
        made = await cluster.call("POST", "/api/workflows", {"name": "attacked", "definition": definition})
        token = await cluster.call("POST", "/api/tokens", {"name": "hostile", "role": "editor"})
        before = await identities(cluster)
        urls = [f"http://127.0.0.1:{member.port}/api/ws/workflows/{made['id']}" for member in cluster.of_kind("api-")]
        async with (
            somebody_honest(cluster, made["id"]) as honest,
            aiohttp.ClientSession(headers={"X-API-Key": token["token"]}) as http,
        ):
            await eventually(lambda: honest.acknowledged)
            attackers = Attackers(urls, http)
            await attackers.attack(SECONDS)
        assert await identities(cluster) == before
        for name in before:
            lines = cluster.logged(name).splitlines()
            assert [line for line in lines if "Traceback" in line or orjson.loads(line)["level"] in FAULTS] == []
        assert attackers.ends.keys() <= {*CODES, "stays", "closed"}
        assert {4400, 4413, "stays"} <= attackers.ends.keys()
        assert {"bad_request", "not_found", "conflict"} <= attackers.refusals.keys()
        assert len(honest.acknowledged) > SECONDS
        assert honest.closes.keys() <= {4508}
