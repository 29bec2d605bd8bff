"""Variables in runs, on real instances and a real PostgreSQL: commands happen once, and reads see what was written."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from melagent.domain.commands import StepCommand
from melagent.domain.definition import Definition
from melagent.domain.run import StepStatus
from melagent.domain.variables import MAX_IN_SCOPE, MAX_VALUE_BYTES, VariableCommand, VariableOperation
from melagent.domain.work import Entry, Verdict
from melagent.sdk import SetVariable
from melagent.store import variables
from melagent.store.ids import new_id
from tests.builders import (
    COMPLETED,
    chain,
    eventually,
    expire,
    leased_run,
    misplaced,
    new_run,
    place,
    step,
    stored,
    waits_for_a_lock,
)
from tests.instances import Stage, instance

START = ("start", "manual_trigger")
ADD = VariableOperation.INCREMENT


def change(node_id="count", key="n", scope="global", operation="increment", **config):
    settings = {name: config.pop(name) for name in ("on_error",) if name in config}
    return {"id": node_id, "type": "variable_set", "config": {"key": key, "scope": scope, "operation": operation,
                                                              **config}, **settings}  # fmt: skip


def get(node_id="get", key="n", **config):
    return {"id": node_id, "type": "variable_get", "config": {"key": key, **config}}


def show(expression, node_id="show"):
    return {"id": node_id, "type": "transform", "config": {"expression": expression}}


def graph(nodes, edges):
    """A definition with edges like `a>b a.left>c`."""
    pairs = [edge.split(">") for edge in edges.split()]
    links = [{"source": s.partition(".")[0], "source_handle": s.partition(".")[2] or "out", "target": t}
             for s, t in pairs]  # fmt: skip
    full = [{"id": node[0], "type": node[1]} if isinstance(node, tuple) else node for node in nodes]
    return Definition.model_validate({"nodes": full, "edges": links})


async def put(pool, key, value, scope="global"):
    async with pool.acquire() as conn, conn.transaction():
        command = VariableCommand(str(scope), key, VariableOperation.SET, orjson.dumps(value))
        await variables.apply(conn, [command])


async def there(pool, scope="global"):
    rows = await pool.fetch("SELECT key, value FROM variables WHERE scope = $1", str(scope))
    return {row["key"]: orjson.loads(row["value"]) for row in rows}


async def outputs(pool, run):
    rows = await pool.fetch("SELECT step_key, output FROM steps WHERE run_id = $1 ORDER BY seq", run.id)
    return {row["step_key"]: row["output"] and orjson.loads(row["output"]) for row in rows}


async def end_of(pool, run):
    """The status, output and code of the error of a run that has ended."""
    row = await pool.fetchrow("SELECT status, output, error FROM runs WHERE id = $1", run.id)
    error = row["error"] and orjson.loads(row["error"])["code"]
    return row["status"], row["output"] and orjson.loads(row["output"]), error


def ended(pool, *runs):
    async def condition():
        ids = [run.id for run in runs]
        count = await pool.fetchval("SELECT count(*) FROM runs WHERE id = ANY($1) AND finished_at IS NOT NULL", ids)
        return count == len(runs)

    return condition


async def executed(pool, database_url, definition, stage=None, **changes):
    """A run of a definition that has ended."""
    version = await stored(pool, definition)
    async with instance(database_url, stage or Stage()) as one:
        await one.engine.start(run := new_run(version, **changes))
        await eventually(ended(pool, run))
    assert await misplaced(pool) == []
    return run


# Commands.


async def test_a_command_changes_the_variable_and_the_next_node_sees_what_came_of_it(database_url, pool):
    workflow = new_id()
    await put(pool, "n", 40, workflow)
    definition = chain(START, change(scope="workflow", amount=2), show("input.value + vars.n"))
    run = await executed(pool, database_url, definition, workflow_id=workflow)
    assert await end_of(pool, run) == ("completed", 84, None)
    result = {"key": "n", "scope": "workflow", "ok": True, "value": 42, "revision": 2}
    assert (await outputs(pool, run))["count"] == result
    assert await there(pool, workflow) == {"n": 42}
    assert await there(pool) == {}


async def test_each_operation_gives_the_variable_as_it_is_then(database_url, pool):
    definition = chain(
        START,
        change("set", operation="set", value={"a": "nul \u0000 and é"}),
        change("second", operation="compare_and_set", expected=1, value=2),
        change("first", operation="compare_and_set", expected={"a": "nul \u0000 and é"}, value=2),
        change("more", amount=0.5),
        change("gone", operation="delete"),
        change("again", operation="delete"),
    )
    run = await executed(pool, database_url, definition)
    found = await outputs(pool, run)
    assert {key: (out["ok"], out["value"], out["revision"]) for key, out in found.items() if key != "start"} == {
        "set": (True, {"a": "nul \u0000 and é"}, 1),
        "second": (False, {"a": "nul \u0000 and é"}, 1),
        "first": (True, 2, 2),
        "more": (True, 2.5, 3),
        "gone": (True, None, 0),
        "again": (True, None, 0),
    }
    assert await there(pool) == {}


async def test_without_a_value_the_input_is_kept_and_a_large_one_is_read_back_whole(database_url, pool):
    large = {"text": "x" * 200_000}
    config = {"key": "n", "scope": "global"}
    definition = chain(START, {"id": "keep", "type": "variable_set", "config": config}, show("input.value.text|length"))
    run = await executed(pool, database_url, definition, input=orjson.dumps(large))
    assert await end_of(pool, run) == ("completed", 200_000, None)
    assert await there(pool) == {"n": large}


async def test_two_hundred_runs_on_two_instances_count_to_exactly_two_hundred(database_url, pool):
    version = await stored(pool, chain(START, change(), change("other", key="m"), show("steps.count.output.value")))
    runs = [new_run(version) for _ in range(200)]
    async with (
        instance(database_url, Stage(), concurrency=50) as one,
        instance(database_url, Stage(), worker_id="two", concurrency=50) as two,
    ):
        starts = [(one if number % 2 else two).engine.start(run) for number, run in enumerate(runs)]
        await asyncio.gather(*starts)
        await eventually(ended(pool, *runs))
    assert await there(pool) == {"n": 200, "m": 200}
    seen = [(await end_of(pool, run))[1] for run in runs]
    assert sorted(seen) == list(range(1, 201))


async def test_a_crash_before_the_commit_leaves_no_change_and_the_step_runs_again(database_url, pool):
    await put(pool, "n", 0)
    version = await stored(pool, chain(START, change(), ("a", "effect")))
    run = new_run(version)
    async with instance(database_url, Stage()) as dying, pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM variables FOR UPDATE")
        await dying.engine.start(run)
        await waits_for_a_lock(pool)
        await dying.crash()

    async def dead():
        return not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%transaction%'"
        )

    await eventually(dead)
    assert await there(pool) == {"n": 0}
    assert "count" not in await outputs(pool, run)
    await finished_by_another(database_url, pool, run)
    assert await there(pool) == {"n": 1}


async def test_a_crash_after_the_commit_does_not_change_the_variable_again(database_url, pool):
    version = await stored(pool, chain(START, change(), ("a", "effect"), show("steps.count.output.value")))
    run, asked = new_run(version), asyncio.Event()

    async def never(run_id, seq):
        asked.set()
        await asyncio.Event().wait()

    async with instance(database_url, Stage()) as dying:
        dying.engine.recorded = never
        await dying.engine.start(run)
        await asked.wait()
        assert await there(pool) == {"n": 1}
        await dying.crash()
    await put(pool, "n", 70)
    stage = await finished_by_another(database_url, pool, run)
    assert await there(pool) == {"n": 70}
    assert await end_of(pool, run) == ("completed", 1, None)
    assert stage.steps() == ["a"]


async def finished_by_another(database_url, pool, *runs):
    """Another instance takes the runs over from a dead one."""
    stage = Stage()
    async with instance(database_url, stage, worker_id="other") as other:
        await expire(pool)
        await other.rescuer.one_pass()
        await eventually(ended(pool, *runs))
    assert await misplaced(pool) == []
    return stage


async def test_the_answer_to_a_write_that_was_lost_does_not_change_the_variable_twice(database_url, pool):
    """The connection breaks behind the commit, and the entry is written once more."""
    version = await stored(pool, chain(START, change(), show("steps.count.output.value")))
    async with instance(database_url, Stage()) as one:
        write, broken = one.engine.recorder._write_together, []

        async def break_once(conn, entries):
            written = await write(conn, entries)
            if not broken:
                broken.append(entries)
                raise ConnectionResetError
            return written

        one.engine.recorder._write_together = break_once
        await one.engine.start(run := new_run(version))
        await eventually(ended(pool, run))
    assert len(broken) == 1
    assert await there(pool) == {"n": 1}
    assert await end_of(pool, run) == ("completed", 1, None)


def commanded(grant, seq=1, operation=ADD, settle=None, **fields):
    command = VariableCommand("global", "n", operation, **fields)
    step_made = step("count", seq, output=None)
    return Entry(grant.run_id, grant.lease, seq, (step_made,), settle, commands=(StepCommand("count", command),))


@pytest.mark.parametrize("settle", [None, COMPLETED])
async def test_an_entry_that_is_sent_again_changes_nothing(database_url, pool, settle):
    async with instance(database_url, Stage(), starts=False) as one:
        entry = commanded(await leased_run(pool), settle=settle)
        assert [await one.engine.recorder.submit(entry) for _ in range(3)] == [Verdict.ACCEPTED] * 3
        recorded = await one.engine.recorded(entry.run_id, 1)
    assert await there(pool) == {"n": 1}
    assert orjson.loads(recorded.output)["value"] == 1
    assert entry.steps[0].output is None


async def test_whoever_lost_the_lease_changes_no_variable(database_url, pool):
    async with instance(database_url, Stage(), starts=False) as one:
        lost, kept = await leased_run(pool), await leased_run(pool)
        await pool.execute("UPDATE work_items SET lease = $2 WHERE run_id = $1", lost.run_id, new_id())
        submit = one.engine.recorder.submit
        verdicts = await asyncio.gather(submit(commanded(lost)), submit(commanded(kept)))
    assert verdicts == [Verdict.LEASE_LOST, Verdict.ACCEPTED]
    assert await there(pool) == {"n": 1}


async def test_an_entry_whose_value_the_database_refuses_takes_its_change_along(database_url, pool):
    async with instance(database_url, Stage(), starts=False) as one:
        bad, good = commanded(await leased_run(pool)), commanded(await leased_run(pool))
        bad.steps[0].node_id = "nul \u0000"
        verdicts = await asyncio.gather(*map(one.engine.recorder.submit, (bad, good)))
    assert verdicts == [Verdict.INVALID, Verdict.ACCEPTED]
    assert await there(pool) == {"n": 1}


async def full(pool, scope="global"):
    await pool.execute(
        "INSERT INTO variables (scope, key, value, revision) SELECT $1, 'v' || i, '1', 1 FROM generate_series(1, $2) i",
        scope, MAX_IN_SCOPE,
    )  # fmt: skip  # the statement, then its values


TOO_MANY = "too_many"
"""For the scope of a run this takes ten thousand steps, see below."""

REFUSED = {
    "not_a_number": {"operation": "increment"},
    "out_of_range": {"operation": "increment", "key": "big", "amount": 2**63},
    "too_large": {"operation": "set", "value": "x" * MAX_VALUE_BYTES},
    TOO_MANY: {"operation": "set", "key": "one_more", "value": 1},
}


@pytest.mark.parametrize(
    ("scope", "code", "config"),
    [
        (scope, *case)
        for case in REFUSED.items()
        for scope in ("global", "run")
        if (scope, case[0]) != ("run", TOO_MANY)
    ],
)
async def test_a_command_that_cannot_be_done_fails_its_step_and_harms_no_other_run(
    database_url, pool, code, config, scope
):
    if code == TOO_MANY:
        await full(pool)
    before = [change("n", scope=scope, operation="set", value="no number")] if code == "not_a_number" else []
    before += [change("big", "big", scope, "set", value=2**63)] if code == "out_of_range" else []
    bad = await stored(pool, chain(START, *before, change(scope=scope, **config), ("a", "effect")))
    good, stage = await stored(pool, chain(START, change("fine", key="v1"), ("b", "effect"))), Stage()
    async with instance(database_url, stage) as one:
        runs = [new_run(version) for version in (bad, good) * 5]
        await asyncio.gather(*map(one.engine.start, runs))
        await eventually(ended(pool, *runs))
    ends = [await end_of(pool, run) for run in runs]
    assert [(status, error) for status, _, error in ends] == [("failed", code), ("completed", None)] * 5
    assert stage.steps() == ["b"] * 5
    failed = await pool.fetchrow("SELECT status, handle, output FROM steps WHERE step_key = 'count' LIMIT 1")
    assert tuple(failed) == ("failed", None, None)


@pytest.mark.parametrize(("on_error", "handle"), [("continue", "out"), ("branch", "error")])
@pytest.mark.parametrize("scope", ["global", "run"])
async def test_a_refused_command_leads_where_the_node_says(database_url, pool, on_error, handle, scope):
    first = change("first", scope=scope, operation="set", value="no number")
    node = change(scope=scope, on_error=on_error)
    definition = graph([START, first, node, show("input.error.code")], f"start>first first>count count.{handle}>show")
    run = await executed(pool, database_url, definition)
    assert await end_of(pool, run) == ("completed", "not_a_number", None)
    step_row = await pool.fetchrow("SELECT status, handle FROM steps WHERE step_key = 'count'")
    assert tuple(step_row) == (StepStatus.FAILED, handle)


async def test_any_node_may_change_shared_variables_and_only_variable_set_those_of_the_run(database_url, pool):
    definition, stage = chain(START, ("a", "effect"), show("input.value")), Stage()
    stage.outputs["a"] = SetVariable("n", {"nul": "\x00"}, "global")
    run = await executed(pool, database_url, definition, stage)
    assert await end_of(pool, run) == ("completed", {"nul": "\x00"}, None)
    stage.outputs["a"] = SetVariable("n", 1, "run")
    run = await executed(pool, database_url, definition, stage)
    assert await end_of(pool, run) == ("failed", None, "invalid_output")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (SetVariable("no key"), "bad_name"),
        (SetVariable("n", operation="increment", amount=float("nan")), "out_of_range"),
        (SetVariable("n", operation="increment", amount=10**400), "out_of_range"),
        (SetVariable("n", {1, 2}), "invalid_output"),
    ],
)
async def test_what_no_variable_can_be_fails_its_step_alone(database_url, pool, outcome, code):
    stage = Stage()
    stage.outputs["a"] = outcome
    run = await executed(pool, database_url, chain(START, ("a", "effect")), stage, workflow_id=new_id())
    assert await end_of(pool, run) == ("failed", None, code)


async def test_a_run_without_a_workflow_has_no_variables_of_its_workflow(database_url, pool):
    run = await executed(pool, database_url, chain(START, change(scope="workflow")))
    assert await end_of(pool, run) == ("failed", None, "no_workflow")


async def test_a_run_that_fails_while_its_command_is_written_keeps_the_change_with_its_step(database_url, pool):
    await put(pool, "n", 0)
    stop = {"id": "stop", "type": "stop", "config": {"status": "error", "message": "enough"}}
    version = await stored(pool, graph([START, change(), ("a", "pure"), stop], "start>count start>a a>stop"))
    stage, run = Stage(), new_run(version)
    gate = stage.gate("a")
    async with instance(database_url, stage) as one:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM variables FOR UPDATE")
            await one.engine.start(run)
            await waits_for_a_lock(pool)
            gate.set()
            await eventually(lambda: stage.steps("ended") == ["a"])
        await eventually(ended(pool, run))
    await failed_with_its_change(pool, run)


async def test_a_run_that_fails_before_its_command_is_written_writes_both_together(database_url, pool):
    await put(pool, "n", 0)
    stop = {"id": "stop", "type": "stop", "config": {"status": "error", "message": "enough"}}
    run = await executed(pool, database_url, graph([START, change(), stop], "start>count start>stop"))
    await failed_with_its_change(pool, run)


async def failed_with_its_change(pool, run):
    assert (await end_of(pool, run))[2] == "stopped"
    assert (await outputs(pool, run))["count"]["value"] == 1
    assert await there(pool) == {"n": 1}


async def test_commands_in_the_items_of_a_loop_are_made_once_each(database_url, pool):
    loop = {"id": "loop", "type": "for_each", "config": {"items": "range(30)", "concurrency": 10}}
    definition = graph([START, loop, change(), show("input|map(attribute='value')|sort")],
                       "start>loop loop.item>count loop.done>show")  # fmt: skip
    run = await executed(pool, database_url, definition)
    assert await end_of(pool, run) == ("completed", list(range(1, 31)), None)
    assert await there(pool) == {"n": 30}


# Variables of the run.


async def test_variables_of_a_run_live_in_its_journal_and_cost_no_write(database_url, pool):
    nodes = [change(f"c{n}", scope="run") for n in range(5)]
    version = await stored(pool, chain(START, *nodes, show("vars.n")))
    async with instance(database_url, Stage()) as one:
        entries, submit = [], one.engine.recorder.submit
        one.engine.recorder.submit = lambda entry: entries.append(entry) or submit(entry)
        await one.engine.start(run := new_run(version))
        await eventually(ended(pool, run))
    assert await end_of(pool, run) == ("completed", 5, None)
    assert len(entries) == 1
    assert await pool.fetchval("SELECT count(*) FROM variables") == 0


async def test_branches_that_run_side_by_side_lose_no_change_of_a_variable_of_the_run(database_url, pool):
    branches = [change(f"c{n}", scope="run") for n in range(20)]
    edges = " ".join(f"start>c{n} c{n}>all" for n in range(20))
    run = await executed(
        pool, database_url, graph([START, *branches, ("all", "merge"), show("vars.n")], f"{edges} all>show")
    )
    assert await end_of(pool, run) == ("completed", 20, None)
    seen = [out["value"] for key, out in (await outputs(pool, run)).items() if key.startswith("c")]
    assert seen == list(range(1, 21))  # in the order of their recording


async def test_items_of_a_loop_share_the_variables_of_the_run_also_after_a_crash(database_url, pool):
    loop = {"id": "loop", "type": "for_each", "config": {"items": "range(6)", "concurrency": 2}}
    definition = graph([START, loop, change(scope="run"), ("a", "effect"), get("end")],
                       "start>loop loop.item>count count>a loop.done>end")  # fmt: skip
    version, run = await stored(pool, definition), new_run(await stored(pool, definition))
    stage = Stage()
    stage.gate("a[3]")
    async with instance(database_url, stage) as dying:
        await dying.engine.start(run)
        await eventually(lambda: "a[3]" in stage.steps() and "a[4]" in stage.steps("ended"))
        await dying.crash()
    assert {f"count[{n}]" for n in range(4)} <= (await outputs(pool, run)).keys()
    await finished_by_another(database_url, pool, run)
    assert await end_of(pool, run) == ("completed", 6, None)
    assert version == run.version_id


async def test_a_deleted_variable_of_the_run_is_gone_after_a_crash_and_a_disabled_node_sets_none(database_url, pool):
    """The disabled node passes on what looks like a result."""
    disabled = {**change("off", scope="run"), "disabled": True}
    definition = chain(
        START,
        change("set", scope="run", operation="set", value="was here"),
        change("gone", scope="run", operation="delete"),
        show("{'key': 'n', 'scope': 'run', 'ok': true, 'value': 'forged', 'revision': 7}", "forge"),
        disabled,
        ("a", "effect"),
        get(defaultValue="nothing"),
    )
    stage, run = Stage(), new_run(await stored(pool, definition))
    stage.gate("a")
    async with instance(database_url, stage) as dying:
        await dying.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await dying.crash()
    await finished_by_another(database_url, pool, run)
    assert await end_of(pool, run) == ("completed", "nothing", None)


async def test_items_that_are_runs_of_their_own_have_variables_of_their_own(database_url, pool):
    loop = {"id": "loop", "type": "for_each", "config": {"items": "range(3)", "distributed": True}}
    first = change("first", scope="run", operation="set", value=100)
    definition = graph([START, first, loop, change(scope="run"), show("input|map(attribute='value')|list")],
                       "start>first first>loop loop.item>count loop.done>show")  # fmt: skip
    run = await executed(pool, database_url, definition)
    assert await end_of(pool, run) == ("completed", [1, 1, 1], None)


async def test_a_run_may_have_so_many_variables_and_change_those_it_has(database_url, pool, monkeypatch):
    monkeypatch.setattr("melagent.engine.variables.MAX_IN_SCOPE", 2)
    nodes = [change("a", "a", "run"), change("b", "b", "run"), change("again", "a", "run")]
    run = await executed(pool, database_url, chain(START, *nodes, change("c", "c", "run")))
    assert await end_of(pool, run) == ("failed", None, "too_many")
    assert (await outputs(pool, run))["again"]["value"] == 2
    gone = change("gone", "b", "run", "delete")
    run = await executed(pool, database_url, chain(START, *nodes, gone, change("c", "c", "run")))
    assert (await end_of(pool, run))[0] == "completed"


# Reading.


async def test_expressions_see_what_the_run_has_set_before_the_workflow_s_before_the_global_ones(database_url, pool):
    workflow = new_id()
    for key in ("a", "b", "c"):
        await put(pool, key, "global")
    for key in ("a", "b"):
        await put(pool, key, "workflow", workflow)
    await put(pool, "a", "another's", new_id())
    set_a = change("set_a", key="a", scope="run", operation="set", value="run")
    kept = {"id": "b", "type": "set", "config": {"include": "none", "fields": {
        "all": "{{ vars.a }} {{ vars['b'] }} {{ vars.c }} {{ vars.d|default('none') }}",
        "any": "{{ vars[input.key] }}",
        "names": "{{ vars|list }}",
    }}}  # fmt: skip
    definition = chain(START, set_a, kept)
    run = await executed(pool, database_url, definition, workflow_id=workflow)
    assert await end_of(pool, run) == ("completed", {
        "all": "run workflow global none", "any": "run", "names": ["a", "b", "c"],
    }, None)  # fmt: skip


@pytest.mark.parametrize(("scope", "value"), [("all", 3), ("run", 3), ("workflow", 2), ("global", 1)])
async def test_a_variable_is_read_from_the_scope_that_is_named(database_url, pool, scope, value):
    workflow = new_id()
    await put(pool, "n", 1)
    await put(pool, "n", 2, workflow)
    own = change("own", scope="run", operation="set", value=3)
    definition = chain(START, own, get(scope=scope), {"id": "list", "type": "variable_list", "config": {
        "scope": scope, "prefix": "n",
    }}, show("[steps.get.output, input]"))  # fmt: skip
    run = await executed(pool, database_url, definition, workflow_id=workflow)
    assert await end_of(pool, run) == ("completed", [value, {"n": value}], None)


async def test_a_step_that_names_no_variable_asks_for_none_and_others_only_for_what_they_name(database_url, pool):
    await put(pool, "n", 1)
    await put(pool, "m", 2)
    version = await stored(
        pool,
        chain(START, show("1", "one"), change("own", key="own", scope="run"), show("vars.own", "two"),
              show("vars.n + vars.own + vars['m']", "three"), show("vars|length", "four")),
    )  # fmt: skip
    async with instance(database_url, Stage()) as one:
        asked, read = [], one.engine.variables

        async def watched(workflow_id, wanted):
            asked.append(wanted.keys)
            return await read(workflow_id, wanted)

        one.engine.variables = watched
        await one.engine.start(run := new_run(version))
        await eventually(ended(pool, run))
    assert await end_of(pool, run) == ("completed", 3, None)
    assert asked == [frozenset({"n", "m"}), None]


async def test_what_a_step_has_read_is_not_read_again_once_it_is_recorded(database_url, pool):
    await put(pool, "n", 1)
    stage, run = (
        Stage(),
        new_run(await stored(pool, chain(START, show("vars.n", "read"), ("a", "effect"), show("steps.read.output")))),
    )
    stage.gate("a")
    async with instance(database_url, stage) as dying:
        await dying.engine.start(run)
        await eventually(lambda: stage.steps() == ["a"])
        await dying.crash()
    await put(pool, "n", 2)
    await finished_by_another(database_url, pool, run)
    assert await end_of(pool, run) == ("completed", 1, None)


async def test_a_missing_variable_is_an_error_that_names_it(database_url, pool):
    run = await executed(pool, database_url, chain(START, show("vars.missing + 1")))
    assert await end_of(pool, run) == ("failed", None, "expression_error")
    run = await executed(pool, database_url, chain(START, get(key="missing", failIfMissing=True)))
    assert await end_of(pool, run) == ("failed", None, "no_variable")


async def test_more_variables_than_a_run_may_be_given_are_an_error_and_those_named_are_not(database_url, pool):
    large = b'"' + b"x" * (MAX_VALUE_BYTES - 2) + b'"'
    await pool.execute(
        "INSERT INTO variables (scope, key, value, revision) SELECT 'global', 'v' || i, $1, 1"
        " FROM generate_series(1, 65) i", large,
    )  # fmt: skip  # the statement, then its values
    run = await executed(pool, database_url, chain(START, show("vars|length")))
    assert await end_of(pool, run) == ("failed", None, "too_large")
    run = await executed(pool, database_url, chain(START, show("vars.v7|length")))
    assert await end_of(pool, run) == ("completed", MAX_VALUE_BYTES - 2, None)


@pytest.mark.parametrize("text", ["\x00", "n\x00", "not a key!", "é"])
async def test_names_that_no_variable_can_have_are_looked_up_in_vain(database_url, pool, text):
    await put(pool, "n", 1)
    definition = chain(START, {"id": "list", "type": "variable_list", "config": {"prefix": "{{ input.key }}"}},
                       show("[input, vars[steps.start.output.key]|default(0)]"))  # fmt: skip
    run = await executed(pool, database_url, definition, input=orjson.dumps({"key": text}))
    assert await end_of(pool, run) == ("completed", [{}, 0], None)


async def test_a_run_that_sleeps_between_two_changes_goes_on_with_its_variables(database_url, pool):
    sleep = {"id": "sleep", "type": "delay", "config": {"duration": "10m"}}
    both = show("[vars.n, steps.shared.output.value]")
    nodes = [change(scope="run"), change("shared"), sleep, change("c2", scope="run"), both]
    version = await stored(pool, chain(START, *nodes))
    async with instance(database_url, Stage()) as one:
        await one.engine.start(run := new_run(version))

        async def parked():
            return (await place(pool, run.id))[1] == "parked"

        await eventually(parked)
        await pool.execute("UPDATE parked SET wake_at = now(); UPDATE steps SET wake_at = now() WHERE wake_at > now()")
        await one.unparker.one_pass()
        await eventually(ended(pool, run))
    assert await end_of(pool, run) == ("completed", [2, 1], None)
    assert await there(pool) == {"n": 1}
