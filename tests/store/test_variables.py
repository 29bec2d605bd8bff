"""Commands on variables: once, with the caller's transaction, in order, and never in each other's way for ever."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from melagent.domain.variables import MAX_IN_SCOPE, Refusal, VariableCommand, VariableOperation, Wanted
from melagent.errors import TooLarge
from melagent.store import variables
from melagent.store.ids import new_id
from tests.builders import waits_for_a_lock


def command(operation, key="k", scope="global", **fields):
    return VariableCommand(scope, key, VariableOperation(operation), **fields)


async def apply(pool, *commands):
    async with pool.acquire() as conn, conn.transaction():
        return await variables.apply(conn, commands)


async def stored(pool, scope="global"):
    rows = await pool.fetch("SELECT key, value, revision FROM variables WHERE scope = $1", scope)
    return {row["key"]: (row["value"], row["revision"]) for row in rows}


async def fill(pool, count, scope="global", value=b"1"):
    await pool.execute(
        "INSERT INTO variables (scope, key, value, revision) SELECT $1, 'v' || n, $3, 1 FROM generate_series(1, $2) n",
        scope, count, value,
    )  # fmt: skip  # the statement, then its values


async def test_commands_of_one_batch_on_one_key_follow_each_other(pool):
    results = await apply(
        pool,
        command("increment"),
        command("increment", amount=4),
        command("compare_and_set", expected=b"5", value=b'"five"'),
        command("increment"),
        command("set", "other", value=b"[]"),
        command("delete"),
        command("increment", amount=2),
    )
    assert [(result.value, result.revision, result.refusal) for result in results] == [
        (b"1", 1, None), (b"5", 2, None), (b'"five"', 3, None), (b'"five"', 3, Refusal.NOT_A_NUMBER), (b"[]", 1, None),
        (None, 0, None), (b"2", 1, None),
    ]  # fmt: skip  # one list, not one result a line
    assert await stored(pool) == {"k": (b"2", 1), "other": (b"[]", 1)}


async def test_refused_commands_and_deletions_leave_nothing_behind(pool):
    await apply(pool, command("set", "there", value=b"1"))
    results = await apply(
        pool,
        command("compare_and_set", "absent", expected=b"1", value=b"2"),
        command("delete", "never"),
        command("set", "brief", value=b"1"),
        command("delete", "brief"),
        command("delete", "there"),
        command("set", "a/b", value=b"1"),
        command("set", scope="nowhere", value=b"1"),
    )
    assert [result.refusal for result in results] == [
        Refusal.NOT_EQUAL, None, None, None, None, Refusal.BAD_NAME, Refusal.BAD_NAME,
    ]  # fmt: skip  # one list, not one result a line
    assert await stored(pool) == {}
    assert await apply(pool) == []


async def test_a_transaction_that_is_rolled_back_takes_its_commands_with_it(pool):
    await apply(pool, command("set", value=b"1"))
    with pytest.raises(RuntimeError):  # noqa: PT012  # the transaction ends with the error
        async with pool.acquire() as conn, conn.transaction():
            await variables.apply(conn, [command("increment"), command("set", "new", value=b"1")])
            raise RuntimeError
    assert await stored(pool) == {"k": (b"1", 1)}


async def test_without_a_transaction_nothing_is_done(pool):
    async with pool.acquire() as conn:
        with pytest.raises(AssertionError):
            await variables.apply(conn, [command("increment")])
    assert await stored(pool) == {}


@pytest.mark.parametrize("there", [True, False])
async def test_whoever_comes_second_goes_on_from_what_the_first_made(pool, there):
    if there:
        await apply(pool, command("set", value=b"10"))
    async with pool.acquire() as conn, conn.transaction():
        (first,) = await variables.apply(conn, [command("increment")])
        second = asyncio.create_task(apply(pool, command("increment")))
        await waits_for_a_lock(pool)
    assert ((await second)[0].value, first.value) == ((b"12", b"11") if there else (b"2", b"1"))


async def test_whoever_waits_for_a_variable_that_is_deleted_or_never_made_begins_anew(pool):
    await apply(pool, command("set", "deleted", value=b"10"))
    async with pool.acquire() as conn, conn.transaction():
        await variables.apply(conn, [command("delete", "deleted"), command("compare_and_set", "k", expected=b"1")])
        second = asyncio.create_task(apply(pool, command("increment", "deleted"), command("increment", "k")))
        await waits_for_a_lock(pool)
    assert [result.value for result in await second] == [b"1", b"1"]
    assert await stored(pool) == {"deleted": (b"1", 1), "k": (b"1", 1)}


async def test_only_one_of_many_takes_what_can_be_taken_once(pool):
    takes = [apply(pool, command("compare_and_set", expected=b"null", value=b"%d" % n)) for n in range(20)]
    results = [result for (result,) in await asyncio.gather(*takes)]
    assert sum(result.ok for result in results) == 1
    assert len({result.value for result in results}) == 1


async def test_many_at_once_in_any_order_lose_nothing_and_never_wait_in_a_circle(pool):
    """Each batch names its keys in an order of its own; a deadlock would be an error of one of the transactions."""
    dice = random.Random(4)
    keys = [f"k{n}" for n in range(8)]
    added = dict.fromkeys(keys, 0)
    batches = []
    for _ in range(200):
        batch = []
        for key in dice.choices(keys, k=6):
            amount = dice.randint(1, 9)
            added[key] += amount
            batch.append(command("increment", key, amount=amount))
        brief = f"brief{dice.randint(0, 3)}"  # comes and goes under the others' feet
        batch += [command("delete", brief), command("set", brief, value=b"1")][:: dice.choice((1, -1))]
        dice.shuffle(batch)
        batches.append(batch)
    await asyncio.gather(*(apply(pool, *batch) for batch in batches))
    found = {key: int(value) for key, (value, _) in (await stored(pool)).items() if not key.startswith("brief")}
    assert found == {key: total for key, total in added.items() if total}


async def test_a_full_scope_takes_no_more_but_what_is_there_still_changes(pool):
    await fill(pool, MAX_IN_SCOPE - 1)
    results = await apply(
        pool,
        command("set", "last", value=b"1"),
        command("set", "one_more", value=b"1"),
        command("increment", "v1"),
        command("delete", "v2"),
        command("set", "in_its_place", value=b"1"),
        command("increment", "yet_another"),
        command("set", scope=str(new_id()), value=b"1"),
    )
    assert [result.refusal for result in results] == [
        None, Refusal.TOO_MANY, None, None, None, Refusal.TOO_MANY, None,
    ]  # fmt: skip  # one list, not one result a line
    assert len(await stored(pool)) == MAX_IN_SCOPE


async def test_pages_follow_each_other_by_scope_and_key(pool):
    workflow = str(new_id())
    await apply(
        pool, *(command("set", key, scope, value=b"1") for scope in ("global", workflow) for key in ("b", "a", "B"))
    )
    async with pool.acquire() as conn:
        found, more = await variables.page(conn, None, ("", ""), 4)
        rest, last = await variables.page(conn, None, (found[-1].scope, found[-1].key), 4)
        of_one, _ = await variables.page(conn, "global", ("", ""), 10)
        assert await variables.count(conn, None) == 6
        assert await variables.count(conn, workflow) == 3
    names = [(variable.scope, variable.key) for variable in (*found, *rest)]
    assert names == [(scope, key) for scope in (workflow, "global") for key in ("B", "a", "b")]
    assert (len(found), more, last) == (4, True, False)
    assert [variable.key for variable in of_one] == ["B", "a", "b"]


async def test_a_page_of_large_values_ends_early_and_nothing_is_left_out(pool, monkeypatch):
    monkeypatch.setattr(variables, "PAGE_BYTES", 250)
    await fill(pool, 5, value=b'"' + b"x" * 98 + b'"')
    await apply(pool, command("set", "v3", value=b'"' + b"x" * 300 + b'"'))
    pages, after = [], ("", "")
    async with pool.acquire() as conn:
        while True:
            found, more = await variables.page(conn, None, after, 10)
            pages.append([variable.key for variable in found])
            if not more:
                break
            after = (found[-1].scope, found[-1].key)
    assert pages == [["v1", "v2"], ["v3"], ["v4", "v5"]]


async def test_a_run_sees_its_workflows_variables_before_the_global_ones(pool):
    workflow = new_id()
    await apply(
        pool,
        command("set", "both", value=b'"global"'),
        command("set", "everywhere", value=b"1"),
        command("set", "both", str(workflow), value=b'"own"'),
        command("set", "elsewhere", str(new_id()), value=b"1"),
    )
    async with pool.acquire() as conn:
        assert await variables.of_run(conn, workflow) == {"both": b'"own"', "everywhere": b"1"}
        assert await variables.of_run(conn, None) == {"both": b'"global"', "everywhere": b"1"}
        assert await variables.of_run(conn, workflow, Wanted(frozenset({"both", "nothing"}))) == {"both": b'"own"'}
        assert await variables.of_run(conn, workflow, Wanted(frozenset())) == {}


async def test_a_run_is_not_given_more_than_it_can_hold(pool, monkeypatch):
    monkeypatch.setattr(variables, "RUN_BYTES", 10)
    await fill(pool, 11)
    async with pool.acquire() as conn:
        with pytest.raises(TooLarge):
            await variables.of_run(conn, None)
        assert len(await variables.of_run(conn, None, Wanted(frozenset(f"v{n}" for n in range(1, 11))))) == 10


async def test_the_table_itself_refuses_what_no_command_may_write(pool):
    insert = "INSERT INTO variables (scope, key, value, revision) VALUES ($1, $2, $3, 1)"
    for row in (("nowhere", "k", b"1"), ("global", "a/b", b"1"), ("global", "k", b"x" * 262145)):
        with pytest.raises(asyncpg.CheckViolationError):
            await pool.execute(insert, *row)
