"""Group commit: what is submitted while a write is under way goes along with the next one; nothing is left behind."""

from __future__ import annotations

import asyncio
import math

import pytest

from melagent.engine.batch import MAX_BYTES, MAX_ITEMS, Batcher
from tests.simulation.loop import VirtualLoop


class Writes:
    """A write that holds each batch until it is let go, and answers every item with its double."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, items):
        self.batches.append(list(items))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        return [2 * item for item in items]


def batcher(write, *, lanes=1, size_of=lambda _: 1, key_of=lambda _: object(), patience=0.0, enough=math.inf):
    return Batcher(write, lanes=lanes, size_of=size_of, key_of=key_of, patience=patience, enough=enough)


async def ended(*futures):
    async with asyncio.timeout(30):
        return await asyncio.gather(*futures)


async def test_what_arrives_during_a_write_gathers_in_the_next_and_is_answered_in_order():
    writes = Writes()
    batch = batcher(writes)
    first = batch.submit(0)
    await asyncio.sleep(0)
    rest = [batch.submit(item) for item in range(1, 6)]
    writes.gate.set()
    assert await ended(first, *rest) == [0, 2, 4, 6, 8, 10]
    assert writes.batches == [[0], [1, 2, 3, 4, 5]]


async def test_no_more_writes_than_lanes_are_under_way():
    writes = Writes()
    batch = batcher(writes, lanes=2, size_of=lambda _: MAX_BYTES)
    futures = [batch.submit(item) for item in range(6)]
    await asyncio.sleep(0)
    writes.gate.set()
    await ended(*futures)
    assert writes.most_at_once == 2


async def test_a_second_write_begins_only_when_an_item_has_waited_long_for_the_first():
    writes = Writes()

    async def scene() -> None:
        batch = batcher(writes, lanes=2, patience=0.02)
        futures = [batch.submit(0)]
        await asyncio.sleep(0.005)
        futures.append(batch.submit(1))
        await asyncio.sleep(0.019)
        futures.append(batch.submit(2))
        assert writes.batches == [[0]]
        await asyncio.sleep(0.002)
        assert writes.batches == [[0], [1, 2]]
        futures.append(batch.submit(3))
        await asyncio.sleep(1)
        assert writes.batches == [[0], [1, 2]], "no more than two"
        writes.gate.set()
        assert await asyncio.gather(*futures) == [0, 2, 4, 6]
        assert writes.batches == [[0], [1, 2], [3]]

    VirtualLoop().run_until_complete(scene())


async def test_a_second_write_begins_as_soon_as_enough_items_wait_and_no_third():
    writes = Writes()

    async def scene() -> None:
        batch = batcher(writes, lanes=2, patience=60, enough=3)
        futures = [batch.submit(0)]
        await asyncio.sleep(0)
        futures += [batch.submit(1), batch.submit(2)]
        await asyncio.sleep(1)
        assert writes.batches == [[0]], "two are not enough"
        futures.append(batch.submit(3))
        await asyncio.sleep(1)
        assert writes.batches == [[0], [1, 2, 3]]
        futures += [batch.submit(item) for item in range(4, 10)]
        await asyncio.sleep(1)
        assert writes.batches == [[0], [1, 2, 3]], "no more than two"
        writes.gate.set()
        assert await asyncio.gather(*futures) == [2 * item for item in range(10)]
        assert writes.batches == [[0], [1, 2, 3], [4, 5, 6, 7, 8, 9]]

    VirtualLoop().run_until_complete(scene())


async def test_a_write_is_bounded_in_items_and_in_bytes_and_a_larger_item_goes_alone():
    writes = Writes()
    writes.gate.set()
    many = batcher(writes)
    await ended(*[many.submit(item) for item in range(MAX_ITEMS + 1)])
    assert [len(batch) for batch in writes.batches] == [MAX_ITEMS, 1]

    writes.batches.clear()
    large = batcher(writes, size_of=lambda item: item)
    await ended(*[large.submit(size) for size in (MAX_BYTES // 2, MAX_BYTES // 2, 1, MAX_BYTES * 2, 3)])
    assert writes.batches == [[MAX_BYTES // 2, MAX_BYTES // 2], [1], [MAX_BYTES * 2], [3]]


async def test_items_with_the_same_key_are_written_one_after_the_other():
    writes = Writes()
    writes.gate.set()
    batch = batcher(writes, key_of=lambda item: item % 10)
    assert await ended(*[batch.submit(item) for item in (1, 2, 11, 3)]) == [2, 4, 22, 6]
    assert writes.batches == [[1, 2], [11, 3]]


async def test_an_item_submitted_in_answer_to_the_last_write_is_written():
    """The answer arrives while the lane that wrote it is ending: the new item must not count on that lane."""
    writes = Writes()
    writes.gate.set()
    batch = batcher(writes)

    async def one_after_the_other() -> list[int]:
        return [await batch.submit(item) for item in range(3)]

    assert await ended(one_after_the_other()) == [[0, 2, 4]]


async def test_an_error_reaches_every_caller_of_the_batch_and_the_next_batch_is_written():
    calls = 0

    async def fails_once(items):
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise OSError("away")
        return items

    batch = batcher(fails_once)
    first, second = batch.submit(1), batch.submit(2)
    await asyncio.wait([first, second], timeout=30)
    for future in (first, second):
        with pytest.raises(OSError, match="away"):
            future.result()
    assert await ended(batch.submit(3)) == [3]


async def test_the_write_goes_on_when_a_caller_stops_waiting():
    writes = Writes()
    batch = batcher(writes)
    gone, stays = batch.submit(1), batch.submit(2)
    await asyncio.sleep(0)
    gone.cancel()
    writes.gate.set()
    assert await ended(stays) == [4]
    assert writes.batches == [[1, 2]]


async def test_drain_returns_when_all_is_written():
    writes = Writes()
    batch = batcher(writes, lanes=2)
    futures = [batch.submit(item) for item in range(10)]
    draining = asyncio.create_task(batch.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    writes.gate.set()
    await ended(draining)
    assert all(future.done() for future in futures)


async def test_nothing_more_is_written_after_a_write_was_cancelled():
    writes = Writes()
    batch = batcher(writes)
    batch.submit(1)
    await asyncio.sleep(0)
    batch.submit(2)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.01)
    assert writes.batches == [[1]]
    assert asyncio.all_tasks() == {asyncio.current_task()}
