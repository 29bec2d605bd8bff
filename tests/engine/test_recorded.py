"""What an instance tells when entries have become durable: callers here, other instances, and those who count."""

from __future__ import annotations

import asyncio

import pytest

from melagent.domain.run import RunStatus
from melagent.domain.work import Settle
from melagent.engine.engine import RUNS, Engine
from melagent.engine.metrics import REGISTRY
from tests.builders import COMPLETED, RELEASED, entry, leased_run, step

FAILED = Settle(RunStatus.FAILED, error={"code": "x", "message": "no"})


class Listener:
    """In place of a broker: remembers what is published."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def subscribe(self, topic, listener):
        """Nobody else publishes."""

    def on_gap(self, listener):
        """Nothing is missed."""

    def publish(self, topic, text):
        if topic == RUNS:
            self.runs.append(text)


@pytest.fixture
def others():
    return Listener()


@pytest.fixture
async def engine(pool, others):
    engine = Engine(pool, others)
    yield engine
    await engine.close()


async def written(engine, *entries):
    await asyncio.gather(*map(engine.recorder.submit, entries))
    await asyncio.sleep(0)  # callers come first


async def test_other_instances_hear_of_runs_whose_callers_do_not_wait_here(pool, engine, others):
    async with pool.acquire() as conn:
        awaited, elsewhere, going_on = [await leased_run(conn) for _ in range(3)]
    with (
        engine.waiters.expecting(awaited.run_id, until_answer=False) as end,
        engine.waiters.expecting(going_on.run_id, until_answer=False),
    ):
        await written(
            engine,
            entry(awaited, 1, settle=COMPLETED),
            entry(elsewhere, 1, settle=COMPLETED),
            entry(going_on, 1, step("a")),
        )
        assert end.result().output == COMPLETED.output
    assert sorted(others.runs) == sorted([str(elsewhere.run_id), str(going_on.run_id)])


async def test_runs_that_end_are_counted_by_their_status(pool, engine):
    def counted(status):
        return REGISTRY.get_sample_value("mel_runs_ended_total", {"status": status}) or 0

    before = {status: counted(status) for status in ("completed", "failed", "pending")}
    async with pool.acquire() as conn:
        grants = [await leased_run(conn) for _ in range(4)]
    settles = (COMPLETED, COMPLETED, FAILED, RELEASED)
    await written(engine, *(entry(grant, 1, settle=how) for grant, how in zip(grants, settles, strict=True)))
    assert {status: counted(status) - before[status] for status in before} == {
        "completed": 2,
        "failed": 1,
        "pending": 0,
    }
