"""Retry and replay: what a new run takes over, what it runs, and that it is made as a whole or not at all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import orjson
import pytest

from melagent.domain.definition import Definition
from melagent.domain.ids import milliseconds_of, uuid7
from melagent.domain.work import Limit
from melagent.engine.lifecycle import copy as lifecycle
from melagent.errors import Conflict, NotFound, Unavailable, Unprocessable
from melagent.registry import Registry
from melagent.sdk import NodeError
from melagent.services import runs
from melagent.services.copies import Copies, Replay
from melagent.services.definitions import encode
from melagent.store import copies as store
from melagent.store import workflows
from melagent.store.ids import new_id
from tests.builders import chain, eventually, misplaced, new_run, place, stored, waits_for_a_lock
from tests.instances import Stage, instance

START = {"id": "start", "type": "manual_trigger"}
ONCE = {"max_attempts": 1}


def effect(node_id, **fields):
    return {"id": node_id, "type": "effect", "retry": ONCE, **fields}


def value(node_id, expression, **fields):
    return {"id": node_id, "type": "transform", "config": {"expression": expression}, **fields}


def definition(*nodes, edges, **settings):
    pairs = [edge.split(">") for edge in edges.split()]
    links = [
        {"source": s.partition(".")[0], "source_handle": s.partition(".")[2] or "out", "target": t} for s, t in pairs
    ]
    return Definition.model_validate({"nodes": [START, *nodes], "edges": links, "settings": settings})


class Failing(Stage):
    """A stage on which the steps in `failing` fail as long as they are in it."""

    def __init__(self, *failing):
        super().__init__()
        self.failing = set(failing)
        self.on_start = self._fail

    async def _fail(self, ctx):
        if ctx.step_key in self.failing:
            raise NodeError("not now", code="not_now")


def copies(one):
    return Copies(one.engine.pool, one.engine, Registry.builtin())


async def retried(one, run_id):
    await copies(one).retry(run_id, made := new_id())
    return made


async def replayed(one, run_id, **wanted):
    await copies(one).replay(run_id, made := new_id(), Replay(**wanted))
    return made


def ended(pool, run_id, status="completed"):
    async def condition():
        return (await place(pool, run_id))[0] == status

    return condition


async def ran(one, pool, run, status="completed"):
    await one.engine.start(run)
    await eventually(ended(pool, run.id, status))
    return run.id


async def steps_of(pool, run_id):
    rows = await pool.fetch("SELECT * FROM steps WHERE run_id = $1 ORDER BY seq", run_id)
    return [dict(row) for row in rows]


async def keys_of(pool, run_id):
    return [step["step_key"] for step in await steps_of(pool, run_id)]


async def output_of(pool, run_id):
    return orjson.loads((await runs.get(pool, run_id)).output)


async def listed(pool, definition, workflow_id=None, number=1):
    """A numbered version of a workflow, and current; the ids of both."""
    workflow_id = workflow_id or new_id()
    async with pool.acquire() as conn:
        await workflows.insert(conn, workflow_id, "w", "", encode(definition))
        version = await pool.fetchval(
            "INSERT INTO versions (id, workflow_id, version_number, name, definition, definition_hash, created_by)"
            " VALUES ($1, $2, $3, 'v', $4::text::json, '', 'test') RETURNING id",
            new_id(), workflow_id, number, encode(definition).decode(),
        )  # fmt: skip
        await pool.execute("UPDATE workflows SET current_version = $2 WHERE id = $1", workflow_id, number)
    return workflow_id, version


async def test_a_retry_runs_what_failed_and_what_follows_and_nothing_else(database_url, pool):
    stage = Failing("b")
    run = new_run(await stored(pool, chain(START, effect("a"), effect("b"), effect("c"))), input=b'{"n": 1}')
    async with instance(database_url, stage) as one:
        await ran(one, pool, run, "failed")
        before = await steps_of(pool, run.id)
        stage.failing.clear()
        again = await retried(one, run.id)
        await eventually(ended(pool, again))
    assert stage.steps() == ["a", "b", "b", "c"]
    assert stage.started[-2:] == [f"{again}:b", f"{again}:c"]
    assert await steps_of(pool, run.id) == before
    copied, seqs = (await steps_of(pool, again))[:2], [step["seq"] for step in await steps_of(pool, again)]
    assert copied == [{**step, "run_id": again} for step in before[:2]]
    assert seqs == [1, 2, 3, 4]
    row = await pool.fetchrow("SELECT retry_of, input, attempt, parent_run_id FROM runs WHERE id = $1", again)
    assert tuple(row) == (run.id, b'{"n": 1}', 1, None)
    assert await misplaced(pool) == []


async def test_a_cancelled_run_can_be_retried_and_what_may_have_run_runs_again(database_url, pool):
    stage = Stage()
    stage.gate("b")
    run = new_run(await stored(pool, chain(START, effect("a"), effect("b"))))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: stage.steps() == ["a", "b"])
        await one.engine.cancel(run.id)
        stage.gates["b"].set()
        again = await retried(one, run.id)
        await eventually(ended(pool, again))
    assert stage.steps() == ["a", "b", "b"]


async def test_only_runs_that_failed_or_were_cancelled_can_be_retried(database_url, pool):
    version = await stored(pool, chain(START, {"id": "wait", "type": "wait", "config": {}}))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))
        await eventually(ended(pool, run.id, "waiting"))
        with pytest.raises(Conflict):
            await retried(one, run.id)
        await one.engine.signal(run.id, "wait", b"1")
        await eventually(ended(pool, run.id))
        with pytest.raises(Conflict):
            await retried(one, run.id)
        with pytest.raises(NotFound):
            await retried(one, new_id())


async def test_a_run_that_its_own_node_failed_meets_this_node_again(database_url, pool):
    stop = {"id": "halt", "type": "stop", "config": {"status": "error", "message": "enough"}}
    run = new_run(await stored(pool, chain(START, effect("a"), stop, effect("b"))))
    stage = Stage()
    async with instance(database_url, stage) as one:
        await ran(one, pool, run, "failed")
        again = await retried(one, run.id)
        await eventually(ended(pool, again, "failed"))
    assert stage.steps() == ["a"]
    assert "halt" in await keys_of(pool, again)


async def test_a_run_whose_time_was_over_gets_its_time_again(database_url, pool):
    stage = Stage()
    stage.gate("b")
    workflow_id, version = await listed(pool, chain(START, effect("a"), effect("b"), timeout_seconds=3600.0))
    async with instance(database_url, stage) as one:
        await one.engine.start(run := new_run(version, workflow_id=workflow_id))
        await eventually(lambda: stage.steps() == ["a", "b"])
        await one.engine.cancel(run.id)
        again = await retried(one, run.id)
        left = await pool.fetchval("SELECT extract(epoch FROM deadline_at - now()) FROM runs WHERE id = $1", again)
        assert 3500 < left <= 3600
        stage.gates["b"].set()
        await eventually(ended(pool, again))


LOOP = [{"id": "each", "type": "for_each", "config": {"items": "[0, 1, 2, 3]", "concurrency": 2}}, effect("a")]


@pytest.mark.parametrize("policy", ["fail", "skip", "continue"])
async def test_items_that_are_done_are_not_done_again(database_url, pool, policy):
    """With a limit on items under way, a new run must meet them in the order in which the old one did."""
    stage = Failing("a[1]", "end")
    loop = {**LOOP[0], "config": {**LOOP[0]["config"], "onItemError": policy}}
    nodes = [loop, LOOP[1], value("n", "index * 10"), effect("end")]
    run = new_run(await stored(pool, definition(*nodes, edges="start>each each.item>a a>n each.done>end")))
    async with instance(database_url, stage) as one:
        await ran(one, pool, run, "failed")
        done = {step["step_key"] for step in await steps_of(pool, run.id) if step["status"] == "completed"}
        stage.failing.clear()
        first = len(stage.started)
        again = await retried(one, run.id)
        await eventually(ended(pool, again))
    assert not done.intersection(stage.steps()[first:])
    assert "each/items" in await keys_of(pool, again)
    results = orjson.loads(await pool.fetchval("SELECT output FROM steps WHERE run_id=$1 AND step_key='each'", again))
    assert {"fail": [0, 10, 20, 30], "skip": [0, 20, 30]}.get(policy, results) == results
    assert await misplaced(pool) == []


async def test_a_loop_that_goes_on_after_a_failed_item_goes_on_where_it_was(database_url, pool):
    """The loop was cancelled in the middle; the failure of its first item was saved, and stays so."""
    stage = Failing("a[0]")
    stage.gate("a[2]")
    loop = {**LOOP[0], "config": {**LOOP[0]["config"], "onItemError": "skip", "concurrency": 1}}
    run = new_run(await stored(pool, definition(loop, LOOP[1], edges="start>each each.item>a")))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(lambda: "a[2]" in stage.steps())
        await one.engine.cancel(run.id)
        stage.gates["a[2]"].set()
        again = await retried(one, run.id)
        await eventually(ended(pool, again))
    assert stage.steps() == ["a[0]", "a[1]", "a[2]", "a[2]", "a[3]"]


async def test_distributed_items_that_are_done_are_not_run_again_and_none_is_retried_by_itself(database_url, pool):
    stage = Stage()
    stage.gate("a[2]")
    loop = {**LOOP[0], "config": {**LOOP[0]["config"], "distributed": True, "concurrency": 4}}
    run = new_run(await stored(pool, definition(loop, LOOP[1], edges="start>each each.item>a")))
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        done = "SELECT count(*) = 3 FROM steps WHERE step_key LIKE 'each[%' AND status = 'completed'"
        await eventually(lambda: pool.fetchval(done))
        await one.engine.cancel(run.id)
        item = "SELECT id FROM runs WHERE scope = 'each[2]' AND status = 'cancelled'"
        child = await eventually(lambda: pool.fetchval(item))
        stage.gates["a[2]"].set()
        for call in (retried, replayed):
            with pytest.raises(Conflict, match=str(run.id)):
                await call(one, child)
        again = await retried(one, run.id)
        await eventually(ended(pool, again))
    assert await pool.fetchval("SELECT array_agg(scope) FROM runs WHERE parent_run_id = $1", again) == ["each[2]"]
    assert await pool.fetchval("SELECT min(id::text) FROM runs WHERE parent_run_id = $1", again) > str(again)
    assert sorted(stage.steps()) == ["a[0]", "a[1]", "a[2]", "a[2]", "a[3]"]


async def test_a_called_run_that_completed_is_not_called_again(database_url, pool):
    stage = Failing("b")
    called, _ = await listed(pool, chain({"id": "start", "type": "workflow_trigger"}, effect("inner")))
    call = {"id": "call", "type": "workflow_call", "config": {"workflow": str(called)}}
    workflow_id, version = await listed(pool, chain(START, call, effect("b")))
    async with instance(database_url, stage) as one:
        run_id = await ran(one, pool, new_run(version, workflow_id=workflow_id), "failed")
        stage.failing.clear()
        await eventually(ended(pool, await retried(one, run_id)))
    assert stage.steps() == ["inner", "b", "b"]
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE parent_run_id IS NOT NULL") == 1


DIAMOND = definition(
    effect("a"), effect("b"), effect("c"), effect("d"), edges="start>a start>b a>c b>c c>d"
)  # fmt: skip


@pytest.mark.parametrize(
    ("from_step", "runs"), [("a", "acd"), ("c", "cd"), ("d", "d"), ("start", "abcd"), (None, "abcd")]
)
async def test_a_replay_runs_a_step_and_all_behind_it(database_url, pool, from_step, runs):
    stage = Stage()
    async with instance(database_url, stage) as one:
        run_id = await ran(one, pool, new_run(await stored(pool, DIAMOND), input=b"5"))
        stage.started.clear()
        again = await replayed(one, run_id, from_step=from_step)
        await eventually(ended(pool, again))
    assert sorted(stage.steps()) == list(runs)
    assert await pool.fetchval("SELECT input FROM runs WHERE id = $1", again) == b"5"
    assert sorted(await keys_of(pool, again)) == ["a", "b", "c", "d", "start"]


SHOW = definition(
    value("a", "'a'"), value("b", "'b'"), value("both", "inputs"), value("one", "input"),
    edges="start>a start>b a>both b>both both>one",
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        ({"from_step": "start", "input": 1}, {"a": "a", "b": "b"}),
        ({"from_step": "one", "input": [1, None]}, [1, None]),
        ({"from_step": "one", "input": None}, None),
        ({"from_step": "one"}, {"a": "a", "b": "b"}),
        ({"from_step": "both", "input": {"a": 1, "b": "x" * 9000}}, {"a": 1, "b": "x" * 9000}),
        ({"from_step": "both", "input": {"b": 2}}, {"a": "a", "b": 2}),
    ],
)
async def test_a_replay_gives_the_step_another_input(database_url, pool, wanted, output):
    async with instance(database_url, Stage()) as one:
        run_id = await ran(one, pool, new_run(await stored(pool, SHOW), input=b"5"))
        before = await steps_of(pool, run_id)
        again = await replayed(one, run_id, **wanted)
        await eventually(ended(pool, again))
        assert await output_of(pool, again) == output
        assert await steps_of(pool, run_id) == before
    given = b"1" if wanted["from_step"] == "start" else b"5"
    assert await pool.fetchval("SELECT input FROM runs WHERE id = $1", again) == given


@pytest.mark.parametrize(
    "wanted",
    [
        {"from_step": "nowhere"},
        {"from_step": "both", "input": 1},
        {"from_step": "both", "input": {"one": 1}},
        {"from_step": "alone", "input": 1},
        {"from_step": "one", "version": 1},
    ],
)
async def test_a_replay_that_cannot_be_is_refused_and_makes_nothing(database_url, pool, wanted):
    nodes = [node.model_dump() for node in SHOW.nodes[1:]]
    alone = definition(*nodes, value("alone", "1"), edges="start>a start>b a>both b>both both>one b.error>alone")
    async with instance(database_url, Stage()) as one:
        run_id = await ran(one, pool, new_run(await stored(pool, alone)))
        with pytest.raises(Unprocessable):
            await replayed(one, run_id, **wanted)
    assert await pool.fetchval("SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize("from_step", ["each", "a", "n", "a[1]", "each/items"])
async def test_a_step_in_a_loop_is_replayed_with_the_whole_loop(database_url, pool, from_step):
    stage = Stage()
    nodes = [*LOOP, value("n", "index"), effect("before"), effect("end")]
    whole = definition(*nodes, edges="start>before before>each each.item>a a>n each.done>end")
    async with instance(database_url, stage) as one:
        run_id = await ran(one, pool, new_run(await stored(pool, whole)))
        stage.started.clear()
        await eventually(ended(pool, await replayed(one, run_id, from_step=from_step)))
        assert sorted(stage.steps()) == [*(f"a[{n}]" for n in range(4)), "end"]
        stage.started.clear()
        again = await replayed(one, run_id, from_step="end", input=["all"])
        await eventually(ended(pool, again))
    assert stage.steps() == ["end"]
    assert "n[3]" in await keys_of(pool, again)
    assert await pool.fetchval("SELECT output FROM steps WHERE run_id = $1 AND step_key = 'each'", again) == b'["all"]'


async def test_a_replay_under_another_version_takes_over_what_still_holds(database_url, pool):
    stage = Stage()
    workflow_id, first = await listed(pool, DIAMOND)
    changed = DIAMOND.model_copy(
        update={
            "nodes": tuple(
                node.model_copy(update={"timeout_seconds": 9.0}) if node.id in "bd" else node for node in DIAMOND.nodes
            )
        }
    )
    async with instance(database_url, stage) as one:
        run_id = await ran(one, pool, new_run(first, workflow_id=workflow_id))
        _, second = await listed(pool, changed, workflow_id, 2)
        for version, runs in ((2, "bcd"), ("current", "bcd"), (1, "d"), (None, "d")):
            stage.started.clear()
            again = await replayed(one, run_id, from_step="d", version=version)
            await eventually(ended(pool, again))
            assert sorted(stage.steps()) == list(runs), version
            used = await pool.fetchval("SELECT version_id FROM runs WHERE id = $1", again)
            assert used == (second if runs == "bcd" else first)
        with pytest.raises(NotFound):
            await replayed(one, run_id, version=9)
        await pool.execute("UPDATE workflows SET deleted_at = now()")
        with pytest.raises(NotFound):
            await replayed(one, run_id)


async def test_a_copy_keeps_what_its_run_was_started_with(database_url, pool):
    workflow_id, version = await listed(pool, chain(START, priority=3, labels=["zone=eu"]))
    async with instance(database_url, Stage(), starts=False) as one:
        run = new_run(version, workflow_id=workflow_id, priority=1, requires="gpu=yes zone=eu")
        await one.engine.start(run)
        await one.engine.cancel(run.id)
        again = await retried(one, run.id)
    row = await pool.fetchrow("SELECT priority, requires FROM work_items WHERE run_id = $1", again)
    assert tuple(row) == (1, "gpu=yes zone=eu")


async def test_a_copy_of_a_run_with_a_limit_waits_for_its_place(database_url, pool):
    stage = Stage()
    stage.gate("a")
    workflow_id, version = await listed(pool, chain(START, effect("a"), max_concurrency=1))
    limit = Limit(workflow_id, 1)
    async with instance(database_url, stage) as one:
        first, second = (new_run(version, workflow_id=workflow_id, limit=limit) for _ in range(2))
        await one.engine.start(first)
        await eventually(lambda: stage.steps() == ["a"])
        await one.engine.start(second)
        await one.engine.cancel(second.id)
        again = await retried(one, second.id)
        await one.engine.waker.drain()
        assert await pool.fetchval("SELECT reason FROM parked WHERE run_id = $1", again) == "limited"
        stage.gates["a"].set()
        await eventually(ended(pool, again))
    assert await misplaced(pool) == []


async def test_large_values_are_copied_and_live_on_when_their_first_run_is_gone(database_url, pool):
    stage = Failing("b")
    stage.outputs["a"] = {"text": "x" * 20_000}
    size = value("size", "steps.a.output.text | length")
    run = new_run(
        await stored(pool, chain(START, effect("a"), effect("b"), size)), input=orjson.dumps({"big": "y" * 10_000})
    )
    async with instance(database_url, stage) as one:
        await ran(one, pool, run, "failed")
        again = await retried(one, run.id)
        await eventually(ended(pool, again, "failed"))
        for table in ("runs", "steps", "payloads"):
            await pool.execute(f"DELETE FROM {table} WHERE {'id' if table == 'runs' else 'run_id'} = $1", run.id)
        stage.failing.clear()
        last = await retried(one, again)
        await eventually(ended(pool, last))
    assert await output_of(pool, last) == 20_000
    assert stage.steps() == ["a", "b", "b", "b"]
    assert await pool.fetchval("SELECT count(*) FROM payloads WHERE run_id = $1", last) == 2


# Made as a whole or not at all.


@pytest.fixture
async def failed(database_url, pool):
    """A failed run on an instance that runs nothing any more."""
    stage = Failing("b")
    run = new_run(await stored(pool, chain(START, effect("a"), effect("b"))))
    async with instance(database_url, stage) as one:
        await ran(one, pool, run, "failed")
    async with instance(database_url, stage, starts=False) as one:
        yield SimpleNamespace(one=one, run_id=run.id)


async def whole(pool, run_id):
    """Whether the copy is there with all it consists of; null when there is nothing of it."""
    found = [
        await pool.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = $1", run_id)
        for table, column in (("runs", "id"), ("work_items", "run_id"), ("steps", "run_id"))
    ]
    return {(0, 0, 0): None, (1, 1, 2): True}.get(tuple(found), found)


async def test_a_process_that_dies_before_the_commit_leaves_nothing(failed, pool, database_url):
    made = new_id()
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE payloads")
        dying = asyncio.create_task(copies(failed.one).retry(failed.run_id, made))
        await waits_for_a_lock(pool)
        await failed.one.crash()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
    await eventually(lambda: pool.fetchval("SELECT count(*) = 0 FROM pg_locks WHERE mode = 'RowExclusiveLock'"))
    assert await whole(pool, made) is None
    async with instance(database_url, Stage(), starts=False, worker_id="other") as other:
        await copies(other).retry(failed.run_id, made)
    assert await whole(pool, made) is True


async def test_a_process_that_dies_after_the_commit_has_made_the_run_once(failed, pool, database_url, monkeypatch):
    made, write = new_id(), lifecycle._write

    async def and_die(conn, wanted):
        await write(conn, wanted)
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "_write", and_die)
        patch.setattr(lifecycle, "GIVE_UP_SECONDS", 0.2)
        with pytest.raises(Unavailable):
            await copies(failed.one).retry(failed.run_id, made)
    before = await steps_of(pool, made)
    assert await whole(pool, made) is True
    async with instance(database_url, Stage(), worker_id="other") as other:
        await copies(other).retry(failed.run_id, made)
        await eventually(ended(pool, made))
        await copies(other).retry(failed.run_id, made)
    assert (await steps_of(pool, made))[:2] == before
    assert await pool.fetchval("SELECT count(*) FROM runs") == 2


async def test_of_many_calls_for_one_copy_one_makes_it(failed, pool, database_url):
    made = new_id()
    async with instance(database_url, Stage(), starts=False, worker_id="other") as other:
        await asyncio.gather(*(copies(one).retry(failed.run_id, made) for one in [failed.one, other] * 10))
    assert await whole(pool, made) is True


async def test_a_run_that_is_deleted_meanwhile_is_not_found_and_nothing_is_made(failed, pool, monkeypatch):
    made, copy = new_id(), store.copy

    async def too_late(conn, *values):
        await pool.execute("DELETE FROM steps WHERE run_id = $1", failed.run_id)
        return await copy(conn, *values)

    monkeypatch.setattr(store, "copy", too_late)
    with pytest.raises(NotFound):
        await copies(failed.one).retry(failed.run_id, made)
    assert await whole(pool, made) is None


async def test_a_copy_makes_the_week_that_it_belongs_to(failed, pool):
    made = uuid7(milliseconds_of(new_id()) + 200 * 86_400_000, b"0123456789")
    await copies(failed.one).retry(failed.run_id, made)
    assert await whole(pool, made) is True
