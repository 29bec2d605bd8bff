"""The remote worker over a real network that loses, cuts, delays and falls silent; the API is the real one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import orjson
import pytest
from aiohttp import web

from melagent.api.app import build_app
from melagent.api.context import Services
from melagent.broker.postgres import postgres_broker
from melagent.domain.requirement import capabilities
from melagent.domain.run import RunStatus
from melagent.domain.work import Entry, NewRun, Parent, Settle, Verdict
from melagent.engine.context import World
from melagent.engine.engine import Engine
from melagent.errors import Conflict, Unauthenticated
from melagent.maintenance.rescuer import Rescuer
from melagent.protocol.messages import Registration
from melagent.registry import NodeType, Registry
from melagent.services.copies import Copies
from melagent.store import payloads
from melagent.store.ids import new_id
from melagent.worker import connection as connection_module
from melagent.worker import http as http_module
from melagent.worker.connection import Connection
from melagent.worker.http import HttpSource
from melagent.worker.worker import Worker, WorkerOptions
from tests.builders import chain, eventually, free_run, misplaced, new_run, stored
from tests.engine.test_children import deployed
from tests.instances import Effect, Pure, Stage
from tests.proxy import relay_to

START = ("start", "manual_trigger")
TOKEN = "mel_worker_tests"


@pytest.fixture
async def engine(pool, database_url):
    broker = postgres_broker(database_url)
    engine = Engine(pool, broker, lease_seconds=6.0)
    await broker.start()
    await engine.open()
    yield engine
    await engine.close()
    await broker.stop()


@pytest.fixture
async def relay(engine, pool):
    """The real API behind a relay that can be cut, be away and fall silent."""
    services = Services(
        pool=pool, engine=engine, registry=Registry.builtin(), instance="one", version="1",
        worker_token=TOKEN, heartbeat_seconds=1.0,
    )  # fmt: skip  # what a worker needs of an instance
    runner = web.AppRunner(build_app(services), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with relay_to({"host": "127.0.0.1", "port": str(runner.addresses[0][1])}) as relay:
        yield relay
    await runner.cleanup()


@asynccontextmanager
async def connected(relay, worker_id, token=TOKEN, node_types=()):
    """A registered worker that asks for nothing yet."""
    async with aiohttp.ClientSession() as http:
        registration = Registration(id=worker_id, concurrency=10, node_types=node_types)
        connection = Connection(http, f"http://127.0.0.1:{relay.port}", token, registration)
        yield connection, await connection.register()


def _no_http():
    raise AssertionError("no node of these tests calls anybody")


@asynccontextmanager
async def working(relay, stage, worker_id="remote", token=TOKEN):
    """A remote worker whose nodes are the test's."""
    registry = Registry([*Registry.builtin().all(), *(NodeType.of(kind(stage)) for kind in (Pure, Effect))])
    async with connected(relay, worker_id, token, registry.added) as (connection, registered):
        source = HttpSource(connection, registered.lease_seconds)
        offered = capabilities((), registry.added)
        options = WorkerOptions(worker_id, 10, registered.lease_seconds, registered.heartbeat_seconds, 5.0, offered)
        worker = Worker(source, registry, World(lambda: datetime.now(UTC), http=_no_http), options)
        worker.start()
        try:
            yield worker, connection
        finally:
            for gate in stage.gates.values():
                gate.set()
            await worker.drain()
            await source.drain()


def ended(pool, count):
    async def condition():
        return await pool.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == count

    return condition


async def test_runs_are_executed_over_http(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"), ("b", "pure"))), Stage()
    async with working(relay, stage):
        runs = [new_run(version) for _ in range(20)]
        await asyncio.gather(*map(engine.start, runs))
        await eventually(ended(pool, 20))
    assert sorted(stage.started) == sorted(f"{run.id}:{step}" for run in runs for step in "ab")


async def test_a_retry_goes_on_over_http_from_the_steps_that_it_was_given(relay, engine, pool):
    stage = Stage()
    stage.gate("b")
    stage.outputs["a"] = {"text": "x" * 100_000}
    size = {"id": "size", "type": "transform", "config": {"expression": "steps.a.output.text | length"}}
    version = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"), size))
    async with working(relay, stage):
        await engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a", "b"])
        await engine.cancel(run.id)
        stage.gates["b"].set()
        await Copies(pool, engine, Registry.builtin()).retry(run.id, again := new_id())
        await eventually(ended(pool, 1))
    assert stage.started[-1] == f"{again}:b"
    assert stage.steps() == ["a", "b", "b"]
    assert await pool.fetchval("SELECT output FROM runs WHERE id = $1", again) == b"100000"


async def test_a_remote_worker_makes_the_links_of_its_run(relay, engine, pool):
    asking = chain(
        START, {"id": "link", "type": "transform", "config": {"expression": "run.resume_urls.ask"}},
        {"id": "ask", "type": "wait"}, {"id": "said", "type": "transform", "config": {"expression": "input"}},
    )  # fmt: skip
    async with working(relay, Stage()), aiohttp.ClientSession() as anybody:
        await engine.start(run := new_run(await stored(pool, asking)))
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked"))
        path = orjson.loads(await pool.fetchval("SELECT output FROM steps WHERE step_key = 'link'"))
        assert path == (await engine.linker.of(run.id)).url("ask")
        async with anybody.post(f"http://127.0.0.1:{relay.port}{path}", json={"ok": True}) as answer:
            assert answer.status == 200
        await eventually(ended(pool, 1))
    assert orjson.loads(await pool.fetchval("SELECT output FROM runs")) == {"ok": True}


@pytest.mark.parametrize("headers_first", [False, True])
async def test_a_proxy_that_keeps_answers_until_they_are_whole_costs_a_pause_and_no_run(
    relay, engine, pool, monkeypatch, headers_first
):
    monkeypatch.setattr(http_module, "BEGIN_SECONDS", 0.2)
    monkeypatch.setattr(http_module, "WAIT_SECONDS", 3.0)
    version, stage = await stored(pool, chain(START, ("a", "effect"))), Stage()
    async with holding_back(relay, headers_first=headers_first) as proxy, working(proxy, stage):
        await eventually(lambda: proxy.claims.count(False) == HttpSource.claims)
        await eventually(lambda: engine.desk.waiting == HttpSource.claims)
        await engine.start(new_run(version))
        await eventually(ended(pool, 1))
    assert stage.steps() == ["a"]
    assert proxy.claims.count(True) == HttpSource.claims


async def test_claims_that_wait_offer_all_places(relay, engine):
    async with working(relay, Stage()) as (worker, _):
        await eventually(lambda: engine.desk.waiting == HttpSource.claims)
        assert [ask.free for ask in engine.desk._asks] == [5, 5]
        assert worker._free == 0


@asynccontextmanager
async def holding_back(relay, *, headers_first):
    """A proxy that passes on the body of an answer only once it has all of it; `claims` says which were streams."""
    claims = []

    async def forward(request):
        if request.path.endswith("/claim-work"):
            claims.append((await request.json())["stream"])
        url = f"http://127.0.0.1:{relay.port}{request.path_qs}"
        headers = {"Authorization": request.headers["Authorization"]}
        async with http.request(request.method, url, data=await request.read(), headers=headers) as answer:
            response = web.StreamResponse(status=answer.status)
            if headers_first:
                await response.prepare(request)
            body = await answer.read()
        await response.prepare(request)
        await response.write(body)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        try:
            yield SimpleNamespace(port=runner.addresses[0][1], claims=claims)
        finally:
            await runner.cleanup()


async def test_large_values_travel_there_and_back(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"))), Stage()
    stage.outputs["a"] = {"text": "x" * 1_500_000}
    async with working(relay, stage):
        run = new_run(version, input=b'"' + b"i" * 700_000 + b'"')
        await engine.start(run)
        await eventually(ended(pool, 1))
    sizes = await pool.fetch("SELECT size FROM payloads WHERE run_id = $1 ORDER BY size", run.id)
    assert [row["size"] for row in sizes][-1] > 1_500_000
    assert await pool.fetchval("SELECT count(*) FROM payload_parts") == 0


async def test_a_large_value_that_is_refused_harms_no_other_run(relay, engine, pool):
    for _ in range(2):
        await free_run(pool)
    async with connected(relay, "alone") as (connection, registered):
        source = HttpSource(connection, registered.lease_seconds)
        items = []
        while len(items) < 2:
            await source.claim(2 - len(items), items.extend)
        first, second = items
        await pool.execute("UPDATE work_items SET lease = gen_random_uuid() WHERE run_id = $1", first.run_id)
        large = Settle(RunStatus.COMPLETED, output=b'"' + b"x" * 100_000 + b'"')
        verdicts = await asyncio.gather(
            source.submit(Entry(first.run_id, first.lease, 1, (), large)),
            source.submit(Entry(second.run_id, second.lease, 1, (), Settle(RunStatus.COMPLETED, output=b"1"))),
        )
        await source.drain()
    assert verdicts == [Verdict.LEASE_LOST, Verdict.ACCEPTED]


async def test_a_run_goes_on_elsewhere_from_its_journal(relay, engine, pool):
    version, stage, other = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"))), Stage(), Stage()
    stage.gate("b")
    stage.outputs["a"] = {"text": "x" * 100_000}
    async with working(relay, stage, "first") as (first, _):
        await engine.start(new_run(version))
        await eventually(lambda: stage.steps() == ["a", "b"])
        async with working(relay, other, "second"):
            await first.stop_claiming()
            await engine.release_workers({"first": None})
            await eventually(lambda: other.steps() == ["b"])
            await eventually(ended(pool, 1))


async def test_lines_that_are_cut_again_and_again_repeat_no_recorded_step(relay, engine, pool):
    version, stage = await stored(pool, chain(START, *((key, "effect") for key in "abcd"))), Stage()
    rescuer = Rescuer(engine)
    rescuer.loop.start()
    async with working(relay, stage):
        runs = [new_run(version) for _ in range(30)]
        cutting = asyncio.create_task(_cut_now_and_then(relay))
        for run in runs:
            await engine.start(run)
            await asyncio.sleep(0.02)
        await eventually(ended(pool, 30))
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
    await rescuer.loop.stop()
    assert await misplaced(pool) == []
    recorded = await pool.fetch("SELECT run_id, step_key, output FROM steps WHERE node_type = 'effect'")
    assert len(recorded) == 4 * 30
    assert {f"{row['run_id']}:{row['step_key']}" for row in recorded} == set(stage.started)


async def _cut_now_and_then(relay):
    for _ in range(40):  # and then no more: a slow machine may need longer than that for one call
        await asyncio.sleep(0.15)
        relay.cut()


async def test_a_network_that_is_away_for_a_while_costs_time_and_nothing_else(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"))), Stage()
    stage.gate("a")
    async with working(relay, stage):
        await engine.start(new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        relay.away = True
        relay.cut()
        stage.gates["a"].set()
        await asyncio.sleep(1.0)
        assert stage.steps() == ["a"]  # nothing goes on that is not durable
        relay.away = False
        await eventually(ended(pool, 1))
    assert stage.steps() == ["a", "b"]


async def test_a_worker_whose_registration_was_lost_registers_again_and_goes_on(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"))), Stage()
    async with working(relay, stage):
        await pool.execute("DELETE FROM workers")
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM workers"), seconds=200)
        await engine.start(new_run(version))
        await eventually(ended(pool, 1))


async def test_a_cancelled_run_is_let_go_at_the_next_heartbeat(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"))), Stage()
    stage.gate("a")
    async with working(relay, stage) as (worker, _):
        await engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        await engine.cancel(run.id)
        await eventually(lambda: worker.busy == 0)


async def test_a_token_that_is_refused_is_said_at_once(relay):
    with pytest.raises(Unauthenticated):
        async with working(relay, Stage(), token="wrong"):
            pass


async def test_a_worker_is_dismissed_when_another_process_takes_its_id(relay, pool, monkeypatch):
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(http_module, "WAIT_SECONDS", 3.0)
    async with working(relay, Stage()) as (_, first), working(relay, Stage()) as (_, second):
        error = await asyncio.wait_for(asyncio.shield(first.dismissed), 240)
        assert isinstance(error, Conflict)
        assert not second.dismissed.done()


def node(node_id, kind, **config):
    return {"id": node_id, "type": kind, "config": config}


async def test_variables_are_changed_and_read_over_http_also_large_ones(relay, engine, pool):
    large = "x\x00é" * 20_000
    definition = chain(
        START,
        node("count", "variable_set", key="n", scope="workflow", operation="increment", amount=2),
        node("own", "variable_set", key="own", scope="run", value=1),
        node("keep_large", "variable_set", key="text", scope="global", value="{{ steps.start.output }}"),
        node("all", "variable_list"),
        node("show", "set", include="none", fields={
            "n": "{{ vars.n + steps.count.output.value }}", "large": "{{ vars.text }}",
            "same": "{{ steps.keep_large.output.value == vars['text'] }}", "names": "{{ input|list }}",
        }),
    )  # fmt: skip  # one node a line
    version, stage, workflow = await stored(pool, definition), Stage(), new_id()
    async with working(relay, stage):
        await engine.start(run := new_run(version, workflow_id=workflow, input=orjson.dumps(large)))
        await eventually(ended(pool, 1))
    digest = await pool.fetchval("SELECT output_hash FROM runs WHERE id = $1", run.id)
    output = orjson.loads((await payloads.load(pool, run.id, [digest]))[digest])
    assert output == {"n": 4, "large": large, "same": True, "names": ["n", "own", "text"]}
    assert await pool.fetchval("SELECT count(*) FROM payload_parts") == 0


async def test_two_workers_count_to_exactly_the_number_of_runs_over_a_network_that_is_cut(relay, engine, pool):
    version = await stored(
        pool, chain(START, node("count", "variable_set", key="n", scope="global", operation="increment"))
    )
    async with working(relay, Stage()), working(relay, Stage(), "two"):
        for _ in range(5):
            await asyncio.gather(*(engine.start(new_run(version)) for _ in range(20)))
            relay.cut()

        async def all_ended():
            await Rescuer(engine).one_pass()  # for runs that were granted with an answer that was cut
            return await ended(pool, 100)()

        await eventually(all_ended, seconds=120)
    assert await pool.fetchval("SELECT value FROM variables") == b"100"
    seen = [orjson.loads(row["output"])["value"] for row in await pool.fetch("SELECT output FROM runs")]
    assert sorted(seen) == list(range(1, 101))


async def test_more_names_than_fit_into_an_address_are_read_all_the_same(relay, engine, pool):
    names = [f"{'k' * 190}{number}" for number in range(60)]
    await pool.execute(
        "INSERT INTO variables (scope, key, value, revision) SELECT 'global', unnest($1::text[]), '1', 1", names
    )
    expression = " + ".join(f"vars.{name}" for name in names)
    version = await stored(pool, chain(START, node("sum", "transform", expression=expression)))
    async with working(relay, Stage()):
        await engine.start(new_run(version))
        await eventually(ended(pool, 1))
    assert await pool.fetchval("SELECT output FROM runs") == b"60"


async def test_a_drained_worker_has_given_everything_back(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"))), Stage()
    stage.gate("a")
    async with working(relay, stage):
        await engine.start(new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        asyncio.get_running_loop().call_later(0.2, stage.gates["a"].set)
    assert await pool.fetchval("SELECT lease IS NULL FROM work_items")
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE step_key = 'a' AND status = 'completed'") == 1


async def test_waits_calls_and_loops_run_on_a_remote_worker(relay, engine, pool):
    """The inbox, large values of children and the starts of distributed items travel over HTTP as well."""
    stage = Stage()
    stage.outputs["a"] = {"text": "x" * 300_000}
    await deployed(pool, "child", chain(("start", "workflow_trigger"), ("a", "effect")))
    ask = {"id": "ask", "type": "wait"}
    call = {"id": "call", "type": "workflow_call", "config": {"workflow": "child"}}
    size = {"id": "size", "type": "transform", "config": {"expression": "[input.text | length, steps.ask.output]"}}
    _, version = await deployed(pool, "parent", chain(START, ask, call, size))
    async with working(relay, stage):
        await engine.start(run := new_run(version))
        await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked WHERE reason = 'waiting'"))
        await engine.signal(run.id, "ask", b'"yes"')
        await eventually(ended(pool, 2))
    assert await pool.fetchval("SELECT output FROM runs WHERE id = $1", run.id) == b'[300000,"yes"]'


@pytest.mark.parametrize("distributed", [False, True])
async def test_a_loop_runs_on_a_remote_worker(relay, engine, pool, distributed):
    each = {"id": "each", "type": "for_each", "config": {"items": "input", "distributed": distributed}}
    double = {"id": "double", "type": "transform", "config": {"expression": "item * 2"}}
    definition = chain(START, each, double)
    edges = (definition.edges[0], definition.edges[1].model_copy(update={"source_handle": "item"}))
    version = await stored(pool, definition.model_copy(update={"edges": edges}))
    async with working(relay, Stage()):
        await engine.start(run := new_run(version, input=b"[3,1,2]"))
        await eventually(ended(pool, 4 if distributed else 1))
    assert await pool.fetchval("SELECT output FROM runs WHERE id = $1", run.id) == b"[6,2,4]"


async def test_a_remote_worker_pauses_a_run_within_a_heartbeat(relay, engine, pool):
    version, stage = await stored(pool, chain(START, ("a", "effect"), ("b", "effect"))), Stage()
    stage.gate("a")
    async with working(relay, stage):
        await engine.start(run := new_run(version))
        await eventually(lambda: stage.steps() == ["a"])
        await engine.pause(run.id)
        await asyncio.sleep(2.0)  # heartbeats come every second
        stage.gates["a"].set()
        await eventually(lambda: pool.fetchval("SELECT reason = 'paused' FROM parked"))
        assert stage.steps() == ["a"]
        await engine.resume(run.id)
        await eventually(ended(pool, 1))


async def test_a_remote_worker_starts_only_what_the_server_would(relay, engine, pool):
    """Whatever a worker says of a run that it starts, the version and the entry are the server's choice."""
    child, _ = await deployed(pool, "child", chain(("start", "workflow_trigger")))
    other = await stored(pool, chain(START))
    await free_run(pool, version_id=other)
    async with connected(relay, "liar") as (connection, registered):
        source, items = HttpSource(connection, registered.lease_seconds), []
        await source.claim(1, items.extend)
        parent = Parent(items[0].run_id, "call", 1, attached=False)
        lie = NewRun(new_run().id, child, other, "start", b"1", parent=parent)
        verdict = await source.submit(Entry(items[0].run_id, items[0].lease, 1, starts=(lie,)))
        await source.drain()
    assert verdict is Verdict.INVALID
    assert await pool.fetchval("SELECT count(*) FROM runs") == 1
