"""How runs ended, and what they answered before: read so that an end never hides an answer."""

import asyncio

import pytest

from melagent.domain.run import RunStatus
from melagent.store import journal
from melagent.store.ends import ends
from tests.builders import COMPLETED, entry, free_run, leased_run, step


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as conn:
        yield conn


def answering(**changes):
    return step("reply", node_type="http_response", output=b'{"body":1}', **changes)


async def test_a_run_that_has_neither_ended_nor_answered_is_left_out(conn):
    run = await free_run(conn)
    assert await ends(conn, [run.id], ["http_response"]) == []


async def test_an_answer_before_the_end_is_told_while_the_run_goes_on(conn):
    grant = await leased_run(conn)
    await journal.write(conn, [entry(grant, 1, answering())], 15.0)
    [end] = await ends(conn, [grant.run_id], ["http_response"])
    assert (end.status, end.answer, end.output) == (RunStatus.RUNNING, b'{"body":1}', None)


async def test_an_end_carries_the_first_answer(conn):
    grant = await leased_run(conn)
    steps = [answering(), step("again", 2, node_type="http_response", output=b"2")]
    await journal.write(conn, [entry(grant, 1, *steps, settle=COMPLETED)], 15.0)
    [end] = await ends(conn, [grant.run_id], ["http_response"])
    assert (end.status, end.answer, end.output) == (RunStatus.COMPLETED, b'{"body":1}', b'"done"')


async def test_large_answers_and_outputs_are_loaded(conn):
    large = b'"' + b"x" * 50_000 + b'"'
    grant = await leased_run(conn)
    await journal.write(
        conn, [entry(grant, 1, step("reply", node_type="http_response", output=large), settle=COMPLETED)], 15.0
    )
    [end] = await ends(conn, [grant.run_id], ["http_response"])
    assert end.answer == large


async def test_a_run_that_answers_and_ends_while_we_look_never_seems_to_have_ended_without_its_answer(pool):
    async def look(run_id):
        async with pool.acquire() as conn:
            while True:
                found = await ends(conn, [run_id], ["http_response"])
                if found:
                    return found[0]

    async with pool.acquire() as conn:
        for _ in range(30):
            grant = await leased_run(conn)
            looking = [asyncio.create_task(look(grant.run_id)) for _ in range(3)]
            await asyncio.sleep(0)
            await journal.write(conn, [entry(grant, 1, answering(), settle=COMPLETED)], 15.0)
            assert {end.answer for end in await asyncio.gather(*looking)} == {b'{"body":1}'}
