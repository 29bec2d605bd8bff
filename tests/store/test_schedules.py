"""What is claimed, and what is not, by the clock of the database and in spite of other sessions."""

from datetime import timedelta

from melagent.domain.firing import GRACE
from melagent.store import schedules
from melagent.store.ids import new_id
from melagent.store.pool import guarded
from tests.scheduling import deploy, deployed, let_pass, new_workflow, schedule, triggers


async def claimed(conn, without=(), limit=10, limit_missed=10):
    """The nodes of the triggers that are claimed, in their order."""
    _, held = await schedules.claim(conn, without, limit, limit_missed)
    return [trigger.entry for trigger in held]


async def test_a_trigger_that_somebody_holds_is_passed_over(pool):
    await deployed(pool, schedule("a"), schedule("b"))
    await let_pass(pool, timedelta(minutes=1))
    async with pool.acquire() as one, guarded(one), pool.acquire() as other, guarded(other):
        first, second = await claimed(one, limit=1), await claimed(other)
        assert (len(first), sorted(first + second)) == (1, ["a", "b"])
        assert await claimed(pool) == []


async def test_a_trigger_that_has_been_moved_meanwhile_is_seen_where_it_is_now(pool):
    """A row that was changed by somebody else between our snapshot and our lock must not be read as it was."""
    await deployed(pool, schedule(cron="* * * * * *"))
    await let_pass(pool, timedelta(seconds=30))
    trigger_id = (await triggers(pool))["clock"]["id"]
    async with pool.acquire() as one, guarded(one):
        _, (held,) = await schedules.claim(one, (), 1, 0)
        later = held.planned_at + timedelta(seconds=10)
        await schedules.move(one, [schedules.Position(trigger_id, held.since, later, later, fired=True)])
    async with pool.acquire() as other, guarded(other):
        _, (held,) = await schedules.claim(other, (), 1, 0)
        assert held.planned_at == later


async def test_what_is_missed_has_places_of_its_own_and_the_oldest_comes_first(pool):
    await deployed(pool, *(schedule(name) for name in ("a", "b", "c", "d")))
    for name, minutes in (("a", 1), ("b", 10), ("c", 20), ("d", 1)):
        await let_pass(pool, timedelta(minutes=minutes) + GRACE * (name in "bc"), name)
    assert sorted((await claimed(pool, limit_missed=1))[:2]) == ["a", "d"]
    assert (await claimed(pool, limit_missed=1))[2:] == ["c"]
    assert await claimed(pool, limit=0) == ["c", "b"]


async def test_what_is_left_out_paused_or_retired_is_not_claimed(pool):
    workflow_id = await deployed(pool, *(schedule(name) for name in ("a", "b", "c")))
    await deploy(pool, workflow_id, schedule("a"), schedule("b"))
    await let_pass(pool, timedelta(minutes=1))
    await pool.execute("UPDATE triggers SET enabled = false WHERE node_id = 'a'")
    assert await claimed(pool) == ["b"]
    assert await claimed(pool, without=[(await triggers(pool))["b"]["id"]]) == []
    assert len(await schedules.soon(pool, 1.0, [], 10)) == 1


async def test_a_firing_is_kept_once_and_the_first_run_stands_for_it(pool):
    trigger_id, now, runs = new_id(), await schedules.now(pool), [new_id() for _ in range(3)]
    moment = now.replace(microsecond=0)
    assert await schedules.keep_firings(pool, [(trigger_id, moment, runs[0])]) == {runs[0]}
    second = [(trigger_id, moment, runs[1]), (trigger_id, moment + timedelta(seconds=1), runs[2])]
    assert await schedules.keep_firings(pool, second) == {runs[2]}
    assert await schedules.keep_firings(pool, [(new_id(), moment, runs[1])]) == {runs[1]}


async def test_the_overview_counts_what_is_armed_and_what_is_due(pool):
    assert await schedules.overview(pool) == schedules.Overview(0, 0, None, 0.0)
    await new_workflow(pool)
    await deployed(pool, schedule("a"), schedule("b"))
    await let_pass(pool, timedelta(minutes=3), "a")
    found = await schedules.overview(pool)
    assert (found.active, found.due) == (2, 1)
    assert 100 < found.lag_seconds <= 180


async def test_claiming_reads_the_index_of_what_is_due(pool):
    await deployed(pool, schedule())
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off")
        plan = await conn.fetch("EXPLAIN " + schedules.CLAIM_DUE, [], 60.0, False, 10)  # noqa: FBT003  # its value
    assert any("triggers_due" in row[0] for row in plan)
