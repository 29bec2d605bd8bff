"""Whoever waits for a run hears of its end: at once where it was written, elsewhere by a hint, and else by the poll."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from melagent.domain.run import RunStatus
from melagent.domain.work import RunEnd, Settle
from melagent.engine import waiters as waiters_module
from melagent.engine.waiters import Waiters
from melagent.store import journal
from tests.builders import COMPLETED, entry, leased_run, step

LARGE = b'"' + b"x" * 20_000 + b'"'


@pytest.fixture
def waiters(pool):
    return Waiters(pool, frozenset({"answer"}))


async def settled(pool, settle, *steps):
    """A run that another process has brought to its end."""
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        await journal.write(conn, [entry(grant, 1, *steps, settle=settle)], 15.0)
    return grant.run_id


@pytest.mark.parametrize(
    "settle",
    [
        COMPLETED,
        Settle(RunStatus.COMPLETED, output=LARGE),
        Settle(RunStatus.FAILED, output=b"1", error={"code": "x", "message": "\x00"}),
    ],
    ids=["completed", "large output", "failed"],
)
async def test_the_poll_finds_the_end_that_another_process_wrote(pool, waiters, settle):
    run_id = await settled(pool, settle)
    with waiters.expecting(run_id, until_answer=False) as end:
        await waiters.poll()
        assert end.result() == RunEnd(run_id, settle.status, settle.output, settle.error)


async def test_the_poll_finds_an_answer_before_the_end_only_for_those_who_want_it(pool, waiters):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
        steps = [step("a", 1), step("b", 2, node_type="answer", output=LARGE), step("c", 3, node_type="answer")]
        await journal.write(conn, [entry(grant, 1, *steps)], 15.0)
    run_id = grant.run_id
    with (
        waiters.expecting(run_id, until_answer=True) as answer,
        waiters.expecting(run_id, until_answer=False) as end,
    ):
        await waiters.poll()
        assert answer.result() == RunEnd(run_id, RunStatus.RUNNING, None, None, LARGE)
        assert not end.done()


async def test_an_end_that_follows_an_answer_carries_it(pool, waiters):
    run_id = await settled(pool, COMPLETED, step(node_type="answer", output=b'"answer"'))
    with waiters.expecting(run_id, until_answer=True) as end:
        await waiters.poll()
        assert end.result() == RunEnd(run_id, RunStatus.COMPLETED, b'"done"', None, b'"answer"')


async def test_runs_that_live_or_are_not_there_are_waited_for(pool, waiters):
    async with pool.acquire() as conn:
        grant = await leased_run(conn)
    with (
        waiters.expecting(grant.run_id, until_answer=True) as live,
        waiters.expecting(uuid4(), until_answer=True) as unknown,
    ):
        await waiters.poll()
        assert not live.done()
        assert not unknown.done()


async def test_everybody_who_waits_is_told_once_and_nobody_is_remembered(waiters):
    run_id = uuid4()
    end = RunEnd(run_id, RunStatus.COMPLETED, b"1", None)
    with (
        waiters.expecting(run_id, until_answer=False) as one,
        waiters.expecting(run_id, until_answer=True) as two,
    ):
        waiters.ended(end)
        waiters.ended(RunEnd(run_id, RunStatus.FAILED, None, {"code": "late"}))
        assert (one.result(), two.result()) == (end, end)
    waiters.ended(end)
    assert waiters._callers == {}


async def test_a_hint_makes_the_poll_due_at_once(pool, monkeypatch):
    """The hint is heard also while the loop sleeps, which by itself would be for ten minutes."""
    monkeypatch.setattr(waiters_module, "POLL_SECONDS", 600.0)
    waiters = Waiters(pool, frozenset({"answer"}))
    run_id = await settled(pool, COMPLETED)
    waiters.loop.start()
    try:
        async with asyncio.timeout(30):
            with waiters.changes(run_id) as first_pass:
                await first_pass.wait()
            with waiters.expecting(run_id, until_answer=False) as end:
                while not end.done():
                    waiters.hinted([uuid4(), run_id])
                    await asyncio.wait([end], timeout=0.02)
    finally:
        await waiters.loop.stop()


async def test_a_hint_leads_to_a_look_at_the_run_it_names_and_the_second_to_one_at_all(pool, waiters):
    await waiters.one_pass()
    named, other = await settled(pool, COMPLETED), await settled(pool, COMPLETED)
    with (
        waiters.expecting(named, until_answer=False) as first,
        waiters.expecting(other, until_answer=False) as second,
    ):
        waiters.hinted([named])
        due = await waiters.one_pass()
        assert (first.done(), second.done()) == (True, False)
        assert 0 < due <= waiters_module.POLL_SECONDS
        waiters._polled_at -= waiters_module.POLL_SECONDS
        await waiters.one_pass()
        assert second.done()


async def test_a_stream_is_woken_by_its_own_run_and_by_every_poll(waiters):
    run_id = uuid4()
    with waiters.changes(run_id) as event:
        waiters.changed([uuid4()])
        assert not event.is_set()
        waiters.hinted([run_id])
        assert event.is_set()
        event.clear()
        await waiters.poll()
        assert event.is_set()
    assert waiters._streams == {}
