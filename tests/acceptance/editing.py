"""A workflow that many edit through nginx, on instances that are killed and cut off, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import orjson

from deploy.local.topology import ROOT, required, topology
from melagent.domain.draft_state import DraftState
from melagent.domain.operations import replay
from melagent.services import drafts
from melagent.store.pool import PoolLimits, create_pool
from tests.acceptance.editors import DEFINITION, Caller, Editor
from tests.builders import eventually
from tests.proxy import proxy_to, relay_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from deploy.local.topology import Topology
    from tests.proxy import Proxy

CUT_OFF = "api-3"
"""The instance whose way to the broker leads through a relay."""

LISTENERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE (query ILIKE '%pg_notify%' OR query ILIKE 'listen%') AND pid <> pg_backend_pid()
"""
EDITS = "SELECT seq, client, client_edit_id, ops::text AS ops FROM edits WHERE workflow_id = $1 ORDER BY seq"
SETTLE_SECONDS = 60.0


@dataclass
class Scene:
    """Three instances, one workflow, and those who edit it."""

    cluster: Topology
    relay: Proxy
    workflow_id: str
    dice: random.Random
    pause: float = 0.25
    editors: list[Editor] = field(default_factory=list)
    dead: list[Editor] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    tasks: dict[Any, asyncio.Task[None]] = field(default_factory=dict)
    roaming: Roaming | None = None

    def begin(self, editors: int, callers: int) -> None:
        for _ in range(editors):
            self._add_editor()
        for _ in range(callers):
            caller = Caller(self.cluster.url, self.cluster.api_key, self.workflow_id, self._dice())
            self.callers.append(caller)
            self.tasks[id(caller)] = asyncio.create_task(caller.live(self.pause * 3))

    async def begin_roaming(self, clients: int) -> None:
        """Let people with our own client library take part."""
        self.roaming = await Roaming.begin(self.cluster, self.workflow_id, clients, self.dice.randrange(10**6))

    async def edits_go_on(self, more: int = 3) -> None:
        """Return when every editor has had so many edits acknowledged from now on, and REST callers one each."""
        wanted = {id(editor): len(editor.acknowledged) + more for editor in self.editors}
        called = {id(caller): len(caller.acknowledged) for caller in self.callers}

        def gone_on() -> bool:
            self.nobody_failed()
            return all(len(editor.acknowledged) >= wanted[id(editor)] for editor in self.editors) and all(
                len(caller.acknowledged) > called[id(caller)] for caller in self.callers
            )

        await eventually(gone_on)

    def nobody_failed(self) -> None:
        for task in self.tasks.values():
            if task.done():
                task.result()

    async def chaos(self, seconds: float) -> None:
        """Whatever can go wrong does, in an order by the seed, everything at least once, for at least so long.

        PostgreSQL is restarted once. An instance cannot be cut off again before it was reached again.
        """
        broken = [self.kill, self.stop, self.restart_broker, self.cut_off]
        order = self.dice.sample([*broken, self.restart_postgres], 5)
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        async with asyncio.TaskGroup() as group:
            while order or clock() < until:
                await asyncio.sleep(self.dice.uniform(0.5, 1.5))
                self.nobody_failed()
                breaks = order.pop() if order else self.dice.choice(broken)
                if breaks == self.cut_off:
                    if not self.relay.silent:
                        group.create_task(self.cut_off())
                else:
                    await breaks()

    async def kill(self) -> None:
        """`kill -9` of an instance and, at the same moment, of half of those whose sockets are there.

        Others take their places. Meanwhile the draft is compacted.
        """
        name, there = await eventually(self._shared_instance)
        victims = self.dice.sample(there, len(there) // 2)
        compacting = asyncio.create_task(self._compact())
        for editor in victims:
            editor.vanish()
            self.tasks.pop(id(editor)).cancel()
            self.editors.remove(editor)
            self.dead.append(editor)
        await self.cluster.kill(name)
        await compacting
        for _ in victims:
            self._add_editor()
        await self.cluster.start_again(name)
        self.done["instances killed"] += 1
        self.done["authors killed"] += len(victims)
        self.done["authors who came back"] += len(there) - len(victims)

    async def stop(self) -> None:
        """End an instance as for an upgrade, and start it again: it sends its people elsewhere."""
        name = self.dice.choice([member.name for member in self.cluster.of_kind("api-")])
        code = await self.cluster.stop(name)
        assert code == 0, f"{name} ended with {code}: {self.cluster.logged(name)[-3000:]}"
        await self.cluster.start_again(name)
        self.done["instances stopped"] += 1

    async def restart_broker(self) -> None:
        """Kill Redis and start it again after a while; without Redis cut the connections that listen."""
        if self.cluster.redis_port is None:
            async with self.cluster.database() as conn:
                self.done["LISTEN connections cut"] += len(await conn.fetch(LISTENERS))
        else:
            await self.cluster.kill("redis")
            await asyncio.sleep(self.dice.uniform(0.5, 2.5))
            await self.cluster.start_redis()
            self.done["Redis restarted"] += 1

    async def restart_postgres(self) -> None:
        await self.cluster.restart_postgres()
        self.done["PostgreSQL restarted"] += 1

    async def cut_off(self) -> None:
        """One instance hears nothing of the broker for a while, on lines that stay open; then they break."""
        self.relay.silent = True
        await asyncio.sleep(self.dice.uniform(3, 12))
        self.relay.silent = False
        self.relay.cut()
        self.done["instance cut off from the broker"] += 1

    async def settle(self) -> None:
        """Let nobody edit any more, and wait until everybody has everything."""
        for one in (*self.editors, *self.callers):
            one.writes = False

        def nothing_waits() -> bool:
            self.nobody_failed()
            return not any(editor.pending for editor in self.editors) and not any(
                caller.waits for caller in self.callers
            )

        await eventually(nothing_waits, SETTLE_SECONDS)
        if self.roaming is not None:
            await self.roaming.end()

        async def settled() -> bool:
            self.nobody_failed()
            if any(editor.pending or not editor.draft.seq for editor in self.editors):
                return False
            async with self.cluster.database() as conn:
                seq = await conn.fetchval("SELECT seq FROM drafts WHERE workflow_id = $1", UUID(self.workflow_id))
            return all(editor.draft.seq == seq for editor in self.editors)

        try:
            await eventually(settled, SETTLE_SECONDS)
        except AssertionError:
            raise AssertionError({e.client: (e.draft.seq, e.pending, e.instance) for e in self.editors}) from None

    async def check(self) -> dict[str, Any]:
        """All that must hold. Answers what was done and seen."""
        async with self.cluster.database() as conn:
            stored = await conn.fetch(EDITS, UUID(self.workflow_id))
        pool = await create_pool(self.cluster.dsn, PoolLimits(max_open=3))
        try:
            async with pool.acquire() as conn:
                state = await drafts.load(conn, UUID(self.workflow_id))
        finally:
            await pool.close()
        rest = await self.cluster.call("GET", f"/api/workflows/{self.workflow_id}/draft")
        expected = canonical(state.definition())
        assert [row["seq"] for row in stored] == list(range(2, state.seq + 1))
        assert canonical(replayed(stored)) == expected
        assert (canonical(rest["definition"]), rest["revision"]) == (expected, state.seq)
        for editor in self.editors:
            assert (canonical(editor.content()), editor.draft.seq) == (expected, state.seq)
        self._check_acknowledged(stored)
        if self.roaming is not None:
            self.roaming.check(expected, {(row["client"], row["client_edit_id"]): row["seq"] for row in stored})
        everybody = [*self.editors, *self.dead]
        return {
            **self.done,
            "edits": len(stored),
            "acknowledged": sum(len(one.acknowledged) for one in (*everybody, *self.callers)),
            "refused": counted(editor.refusals for editor in everybody),
            "closes": counted(editor.closes for editor in everybody),
            "joins": counted(editor.joins for editor in everybody),
            "roaming": self.roaming.seen() if self.roaming is not None else None,
            "calls": counted(caller.answers for caller in self.callers),
        }

    def _check_acknowledged(self, stored: list[Any]) -> None:
        """Everything that anybody saw is stored as it was seen, and once."""
        by_seq = {row["seq"]: (row["client"], row["client_edit_id"]) for row in stored}
        editors = {editor.client for editor in (*self.editors, *self.dead)}
        ours = (row for row in stored if row["client"] in editors or row["client"].startswith("rest"))
        marks = Counter(mark_of(orjson.loads(row["ops"])) for row in ours)
        assert set(marks.values()) == {1}
        for editor in (*self.editors, *self.dead):
            assert {seq: by_seq.get(seq) for seq in editor.history} == editor.history
            assert all(by_seq[seq] == (editor.client, edit_id) for edit_id, seq in editor.acknowledged.items())
        for caller in self.callers:
            assert caller.acknowledged <= marks.keys()

    async def _shared_instance(self) -> tuple[str, list[Editor]] | None:
        """An instance with the sockets of several people, and these; null when everybody is on the way somewhere."""
        names = [member.name for member in self.cluster.of_kind("api-")]
        for name in self.dice.sample(names, len(names)):
            instance = await instance_of(self.cluster, name)
            there = [editor for editor in self.editors if editor.instance == instance]
            if len(there) > 1:
                return name, there
        return None

    async def _compact(self) -> None:
        pool = await create_pool(self.cluster.dsn, PoolLimits(max_open=3))
        try:
            await drafts.compact(pool, UUID(self.workflow_id))
        finally:
            await pool.close()
        self.done["compactions"] += 1

    def _add_editor(self) -> None:
        editor = Editor(self.cluster.url, self.cluster.api_key, self.workflow_id, self._dice())
        self.editors.append(editor)
        self.tasks[id(editor)] = asyncio.create_task(editor.live(self.pause))

    def _dice(self) -> random.Random:
        return random.Random(self.dice.random())  # to repeat a test


@dataclass
class Roaming:
    """People who use our own client library, in a process of their own; `report` is what it says at its end."""

    process: asyncio.subprocess.Process
    out: Path
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def begin(cls, cluster: Topology, workflow_id: str, clients: int, seed: int) -> Roaming:
        out = cluster.folder / "roam.json"
        process = await asyncio.create_subprocess_exec(
            required("node", "nodejs"), "--import", "tsx", "tests/roam.ts", "--workflow", workflow_id,
            "--clients", str(clients), "--seed", str(seed), "--seconds", "3600", "--pace", "200", "--out", str(out),
            cwd=ROOT / "web", env={**os.environ, "MEL_URL": cluster.url, "MEL_KEY": cluster.api_key},
        )  # fmt: skip
        return cls(process, out)

    async def end(self) -> None:
        """Return when all of them have everything saved."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), 2 * SETTLE_SECONDS)
        self.report = orjson.loads(self.out.read_bytes())
        assert code == 0, self.report["clients"]

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def check(self, expected: bytes, stored: dict[tuple[str, int], int]) -> None:
        """Their copy is the draft, and what was acknowledged to them is in it."""
        assert canonical(self.report["definition"]) == expected
        for edit in self.report["acknowledged"]:
            seq = stored.get((edit["client"], edit["id"]))
            assert seq is not None, f"acknowledged and not there: {edit}"
            assert edit["seq"] in {seq, None}
        assert not any(client["errors"] for client in self.report["clients"])

    def seen(self) -> dict[str, Any]:
        refused = Counter(refusal["error"] for client in self.report["clients"] for refusal in client["refused"])
        return {"acknowledged": len(self.report["acknowledged"]), "refused": dict(refused)}


@asynccontextmanager
async def scene(seed: int, *, redis: bool, apis: int = 3) -> AsyncIterator[Scene]:
    """Instances behind nginx, one of them with a relay on its way to the broker, and a workflow."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(topology(apis=apis - 1, workers=0, redis=redis))
        if redis:
            relay = await stack.enter_async_context(relay_to({"host": "127.0.0.1", "port": str(cluster.redis_port)}))
            settings = {"REDIS_URL": f"redis://127.0.0.1:{relay.port}"}
        else:
            relay = await stack.enter_async_context(proxy_to(cluster.dsn))
            settings = {"DATABASE_DIRECT_URL": relay.url}
        await cluster.start_api(CUT_OFF, **settings)
        await cluster.reload_nginx()
        there = Scene(cluster, relay, await made_workflow(cluster), random.Random(seed))  # to repeat a test
        try:
            yield there
        finally:
            if there.roaming is not None:
                await there.roaming.kill()
            for task in there.tasks.values():
                task.cancel()
            await asyncio.gather(*there.tasks.values(), return_exceptions=True)


async def made_workflow(cluster: Topology) -> str:
    made = await cluster.call("POST", "/api/workflows", {"name": "edited by many", "definition": DEFINITION})
    return str(made["id"])


async def instance_of(cluster: Topology, name: str) -> str:
    """What a member calls itself."""
    url = f"http://127.0.0.1:{cluster.members[name].port}/health"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return str(answer.headers["X-Mel-Instance"])


def replayed(stored: list[Any]) -> dict[str, Any]:
    state = DraftState.load(DEFINITION, 1)
    for row in stored:
        replay(state, orjson.loads(row["ops"]), row["seq"])
    return state.definition()


def counted(counters: Iterable[Counter[Any]]) -> dict[str, int]:
    """All of them together, by names that JSON can hold."""
    return {
        str(int(name) if isinstance(name, int) else name): count
        for name, count in sorted(sum(counters, Counter()).items(), key=str)
    }


def mark_of(ops: list[dict[str, Any]]) -> str:
    """The mark that the author of an edit gave it: the last name or note in it, not what was there before."""
    last = ops[-1]
    value = last["definition"]["notes"] if last["op"] == "draft.replace" else last["value"]
    return str(value if isinstance(value, str) else value[0]["text"])


def canonical(value: Any) -> bytes:
    """JSON text that is equal for equal values: 1 and 1.0 are."""
    return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
