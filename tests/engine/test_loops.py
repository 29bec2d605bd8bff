"""for_each: results in order, nested, bounded, failing, distributed, and over the death of a worker."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from melagent.domain.definition import Definition
from tests.builders import eventually, misplaced, new_run, place, stored
from tests.instances import Stage, instance

START = {"id": "start", "type": "manual_trigger"}


def each(node_id="each", items="input", **fields):
    config = {"items": items} | fields.pop("config", {})
    return {"id": node_id, "type": "for_each", "config": config, **fields}


def value(node_id, expression, **fields):
    return {"id": node_id, "type": "transform", "config": {"expression": expression}, **fields}


def definition(*nodes, edges):
    pairs = [edge.split(">") for edge in edges.split()]
    links = [
        {"source": s.partition(".")[0], "source_handle": s.partition(".")[2] or "out", "target": t} for s, t in pairs
    ]
    return Definition.model_validate({"nodes": [START, *nodes], "edges": links})


async def run_of(pool, given, *nodes, edges):
    return new_run(await stored(pool, definition(*nodes, edges=edges)), input=orjson.dumps(given))


def ended(pool, run, status="completed"):
    async def condition():
        return (await place(pool, run.id))[0] == status

    return condition


async def output_of(pool, run):
    return orjson.loads(await pool.fetchval("SELECT output FROM runs WHERE id = $1", run.id))


async def step_keys(pool, run):
    rows = await pool.fetch("SELECT step_key FROM steps WHERE run_id = $1 ORDER BY seq", run.id)
    return [row["step_key"] for row in rows]


async def test_the_body_runs_for_each_item_and_done_has_the_results_in_order(database_url, pool):
    run = await run_of(
        pool, [3, 1, 2], each(), value("double", "item * 2"), value("sum", "input | sum"),
        edges="start>each each.item>double each.done>sum",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 12
    assert await pool.fetchval("SELECT output FROM steps WHERE step_key = 'each'") == b"[6,2,4]"
    assert await step_keys(pool, run) == ["start", "each/items", *(f"double[{n}]" for n in range(3)), "each", "sum"]


@pytest.mark.parametrize("given", [[], {}])
async def test_a_loop_over_nothing_is_done_at_once(database_url, pool, given):
    run = await run_of(pool, given, each(), value("x", "item"), edges="start>each each.item>x")
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == []


async def test_an_object_gives_its_entries_and_a_body_without_nodes_the_items_themselves(database_url, pool):
    run = await run_of(pool, {"a": 1, "b": 2}, each(), edges="start>each")
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == [{"key": "a", "value": 1}, {"key": "b", "value": 2}]


async def test_a_loop_that_is_disabled_passes_its_input_on_to_what_follows_it(database_url, pool):
    run = await run_of(
        pool, [1, 2], each(disabled=True), value("body", "item * 0"), value("after", "input | sum"),
        edges="start>each each.item>body each.done>after",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == 3
    assert await step_keys(pool, run) == ["start", "each", "after"]


async def test_loops_within_loops_see_what_is_around_them(database_url, pool):
    run = await run_of(
        pool, [[1, 2], [3]], value("ten", "10"), each("outer", "steps.start.output"), each("inner", "item"),
        value("x", "[index, item * steps.ten.output, steps.outer.output | length]"),
        edges="start>ten ten>outer outer.item>inner inner.item>x",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == [[[0, 10, 2], [1, 20, 2]], [[0, 30, 1]]]
    assert "x[0][1]" in await step_keys(pool, run)


async def test_no_more_items_are_under_way_than_allowed(database_url, pool):
    stage = Stage()
    most = [0]

    async def watch(_ctx):
        most[0] = max(most[0], len(stage.started) - len(stage.ended))
        await asyncio.sleep(0.01)

    stage.on_start = watch
    run = await run_of(
        pool, list(range(20)), each(config={"concurrency": 3}), {"id": "a", "type": "effect"},
        edges="start>each each.item>a",
    )  # fmt: skip
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert most == [3]
    assert len(stage.started) == len(set(stage.started)) == 20


BAD = value("bad", "item.x / item.y", retry={"max_attempts": 1})
ITEMS = [{"x": 4, "y": 2}, {"x": 1, "y": "no"}, {"x": 9, "y": 3}]


@pytest.mark.parametrize(("policy", "results"), [("continue", [2, "expression_error", 3]), ("skip", [2, 3])])
async def test_an_item_that_fails_is_reported_or_left_out(database_url, pool, policy, results):
    run = await run_of(
        pool, ITEMS, each(config={"onItemError": policy}), BAD,
        value("codes", "input"), edges="start>each each.item>bad each.done>codes",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    got = [one["error"]["code"] if isinstance(one, dict) else one for one in await output_of(pool, run)]
    assert got == results


@pytest.mark.parametrize("on_error", ["fail", "continue", "branch"])
async def test_an_item_that_fails_fails_the_loop_whose_settings_may_save_the_run(database_url, pool, on_error):
    stage = Stage()
    stage.gate("slow[0]")
    run = await run_of(
        pool, ITEMS, each(on_error=on_error, config={"concurrency": 3}), {"id": "slow", "type": "effect"},
        {"id": "pre", "type": "effect"}, BAD,
        value("saved", "input.error.code"),
        edges="start>each each.item>pre pre>bad each.item>slow each.done>saved" if on_error == "continue"
        else "start>each each.item>pre pre>bad each.item>slow each.error>saved",
    )  # fmt: skip
    async with instance(database_url, stage) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run, "failed" if on_error == "fail" else "completed"))
    if on_error != "fail":
        assert await output_of(pool, run) == "expression_error"
    assert await pool.fetchval("SELECT status FROM steps WHERE step_key = 'slow[0]'") == "cancelled"
    assert await pool.fetchval("SELECT status FROM steps WHERE step_key = 'each'") == "failed"
    assert await misplaced(pool) == []


async def test_items_wait_sleep_and_go_on_each_by_itself(database_url, pool):
    run = await run_of(
        pool, ["a", "b", "c"], each(), {"id": "ask", "type": "wait", "config": {}}, value("said", "input ~ item"),
        edges="start>each each.item>ask ask>said",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        for index in (2, 0, 1):
            await eventually(lambda: pool.fetchval("SELECT count(*) = 1 FROM parked WHERE reason = 'waiting'"))
            await one.engine.signal(run.id, f"ask[{index}]", orjson.dumps(str(index)))
            await eventually(
                lambda index=index: pool.fetchval(
                    "SELECT status = 'completed' FROM steps WHERE step_key = $1", f"ask[{index}]"
                )
            )
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == ["0a", "1b", "2c"]


async def test_a_loop_goes_on_elsewhere_from_its_journal(database_url, pool):
    stage = Stage()
    stage.gate("a[4]")
    run = await run_of(
        pool, list(range(10)), each(config={"concurrency": 2}), {"id": "a", "type": "effect"}, value("n", "item"),
        edges="start>each each.item>a a>n",
    )  # fmt: skip
    async with instance(database_url, stage, lease_seconds=1.5) as one:
        await one.engine.start(run)
        await eventually(lambda: "a[9]" in stage.steps("ended"))
        await one.crash()
    stage.gates.clear()
    async with instance(database_url, stage, worker_id="other") as other:
        await pool.execute("UPDATE work_items SET lease_expires_at = now() - interval '1 s' WHERE lease IS NOT NULL")
        await other.rescuer.one_pass()
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == list(range(10))
    again = [key for key in set(stage.steps()) if stage.steps().count(key) > 1]
    assert set(again) <= {"a[4]", "a[9]"}


async def test_distributed_items_are_runs_that_any_worker_may_take(database_url, pool):
    stage = Stage()
    run = await run_of(
        pool, [1, 2, 3, 4, 5, 6], value("ten", "10"),
        each(items="steps.start.output", config={"distributed": True, "concurrency": 3}),
        {"id": "a", "type": "effect"}, value("n", "item * steps.ten.output + index"),
        edges="start>ten ten>each each.item>a a>n",
    )  # fmt: skip
    async with instance(database_url, stage) as one, instance(database_url, stage, worker_id="other"):
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == [10, 21, 32, 43, 54, 65]
    rows = await pool.fetch("SELECT scope, status, depth FROM runs WHERE parent_run_id = $1 ORDER BY scope", run.id)
    assert [tuple(row) for row in rows] == [(f"each[{n}]", "completed", 1) for n in range(6)]
    assert sorted(stage.steps()) == [f"a[{n}]" for n in range(6)]
    assert await misplaced(pool) == []


@pytest.mark.parametrize(("policy", "status"), [("fail", "failed"), ("skip", "completed")])
async def test_a_distributed_item_that_fails_follows_the_same_rules(database_url, pool, policy, status):
    run = await run_of(
        pool, ITEMS, each(config={"distributed": True, "onItemError": policy}), BAD, edges="start>each each.item>bad"
    )
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run, status))
        await one.rescuer.one_pass()
        await eventually(lambda: pool.fetchval("SELECT count(*) = 0 FROM work_items"))
    if policy == "skip":
        assert await output_of(pool, run) == [2, 3]


async def test_ten_thousand_items_have_exact_results(database_url, pool):
    run = await run_of(
        pool, list(range(10_000)), each(config={"concurrency": 100}), value("n", "item + 1"), value("m", "input * 2"),
        value("total", "[input | length, input | sum]"), edges="start>each each.item>n n>m each.done>total",
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run)
        await eventually(ended(pool, run))
    assert await output_of(pool, run) == [10_000, 100_010_000]
    assert await pool.fetchval("SELECT count(*) FROM steps WHERE run_id = $1", run.id) == 20_004
