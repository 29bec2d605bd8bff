"""A coroutine that was begun early goes on as if it had been awaited."""

import asyncio

import pytest

from melagent.engine.patience import Begun


async def at_once():
    return 1


async def after(future):
    return await future + 1


async def test_what_never_waits_is_done_at_once():
    begun = Begun(at_once())
    assert (begun.done, begun.result) == (True, 1)


async def test_what_waits_goes_on_when_awaited():
    future = asyncio.get_running_loop().create_future()
    begun = Begun(after(future))
    assert not begun.done
    asyncio.get_running_loop().call_soon(future.set_result, 1)
    assert await begun.rest() == 2


async def test_several_waits_follow_each_other():
    async def twice():
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "end"

    assert await Begun(twice()).rest() == "end"


async def test_an_error_is_raised_where_it_happens():
    async def fails():
        raise ValueError("now")

    async def fails_later():
        await asyncio.sleep(0)
        raise ValueError("later")

    with pytest.raises(ValueError, match="now"):
        Begun(fails())
    with pytest.raises(ValueError, match="later"):
        await Begun(fails_later()).rest()


async def test_a_time_limit_reaches_into_it_and_it_may_clean_up():
    cleaned = []

    async def patient():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    begun = Begun(patient())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await begun.rest()
    assert cleaned == [True]


async def test_an_own_time_limit_within_it_works_across_the_first_wait():
    async def limited():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "too long"

    assert await Begun(limited()).rest() == "too long"


async def test_cancellation_may_be_refused():
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "no"

    async def runner():
        return await Begun(stubborn()).rest()

    task = asyncio.create_task(runner())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "no"
