import asyncio

import pytest

from melagent.loop import Loop

NEVER = 3600.0


@pytest.fixture
def passes():
    """A pass that says when it began, and may be told to fail or to take its time."""

    class Passes:
        def __init__(self):
            self.count = 0
            self.began = asyncio.Condition()
            self.may_end = asyncio.Event()
            self.may_end.set()
            self.due = None
            self.error = None

        async def __call__(self):
            async with self.began:
                self.count += 1
                self.began.notify_all()
            await self.may_end.wait()
            if self.error is not None:
                raise self.error
            return self.due

        async def reach(self, count):
            async with asyncio.timeout(30), self.began:
                await self.began.wait_for(lambda: self.count >= count)

    return Passes()


async def test_first_pass_comes_at_once_and_the_next_when_woken(passes):
    loop = Loop("test", passes, interval_seconds=NEVER)
    loop.start()
    await passes.reach(1)
    loop.wake()
    await passes.reach(2)
    await loop.stop()


async def test_pass_says_when_it_is_next_due(passes):
    passes.due = 0.001
    loop = Loop("test", passes, interval_seconds=NEVER)
    loop.start()
    await passes.reach(5)
    await loop.stop()


async def test_wake_up_during_a_pass_leads_to_one_more(passes):
    passes.may_end.clear()
    loop = Loop("test", passes, interval_seconds=NEVER)
    loop.start()
    await passes.reach(1)
    loop.wake()
    passes.may_end.set()
    await passes.reach(2)
    await loop.stop()


async def test_stop_awaits_the_pass_in_hand_and_no_other_begins(passes):
    passes.may_end.clear()
    loop = Loop("test", passes, interval_seconds=0.001)
    loop.start()
    await passes.reach(1)
    stopping = asyncio.create_task(loop.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    passes.may_end.set()
    async with asyncio.timeout(30):
        await stopping
    assert passes.count == 1


async def test_error_does_not_end_the_loop(passes):
    passes.error = RuntimeError("boom")
    loop = Loop("test", passes, interval_seconds=0.001)
    loop.start()
    await passes.reach(3)
    await loop.stop()


async def test_failing_pass_is_not_driven_by_wake_ups(passes):
    passes.error = RuntimeError("boom")
    loop = Loop("test", passes, interval_seconds=NEVER)
    loop.start()
    await passes.reach(1)
    for _ in range(20):
        loop.wake()
        await asyncio.sleep(0)
    assert passes.count == 1
    async with asyncio.timeout(30):
        await loop.stop()


async def test_a_loop_outlives_an_outage_of_any_length(passes, monkeypatch):
    monkeypatch.setattr("melagent.loop.LONGEST_BACK_OFF_SECONDS", 0.0)
    monkeypatch.setattr("melagent.loop.logger.exception", lambda *_, **__: None)
    passes.error = RuntimeError("away")
    loop = Loop("test", passes, interval_seconds=1e-9)
    loop.start()
    await passes.reach(1100)
    passes.error = None
    await passes.reach(1110)
    await loop.stop()
