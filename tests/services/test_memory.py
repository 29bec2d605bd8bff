import asyncio

import pytest

from melagent.services.memory import BriefMemory


class Source:
    """Counts what it is asked."""

    def __init__(self):
        self.asked = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = None

    async def load(self, key):
        self.asked.append(key)
        self.called.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        return f"{key}-{len(self.asked)}"


@pytest.fixture
def source():
    return Source()


async def test_an_answer_is_used_again_while_it_is_fresh(source):
    memory = BriefMemory(source.load, seconds=60)
    assert [await memory.get("a"), await memory.get("a")] == ["a-1", "a-1"]


async def test_an_answer_is_asked_for_again_when_its_time_is_over(source):
    memory = BriefMemory(source.load, seconds=0)
    assert [await memory.get("a"), await memory.get("a")] == ["a-1", "a-2"]


async def test_an_answer_that_is_confirmed_is_used_for_as_long_again(source, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("melagent.services.memory.time.monotonic", lambda: now)
    memory = BriefMemory(source.load, seconds=45)
    assert await memory.get("a") == "a-1"
    now += 40
    memory.confirm("a")
    memory.confirm("unknown")
    now += 40
    assert await memory.get("a") == "a-1"
    now += 6
    assert await memory.get("a") == "a-2"


async def test_those_who_ask_at_once_share_one_question(source):
    memory = BriefMemory(source.load, seconds=60)
    source.gate.clear()
    asking = [asyncio.create_task(memory.get("a")) for _ in range(5)]
    await source.called.wait()
    source.gate.set()
    assert await asyncio.gather(*asking) == ["a-1"] * 5


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(source):
    memory = BriefMemory(source.load, seconds=60)
    source.gate.clear()
    impatient, patient = asyncio.create_task(memory.get("a")), asyncio.create_task(memory.get("a"))
    await source.called.wait()
    impatient.cancel()
    source.gate.set()
    assert await patient == "a-1"


async def test_an_error_is_not_remembered(source):
    memory = BriefMemory(source.load, seconds=60)
    source.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await memory.get("a")
    source.error = None
    assert await memory.get("a") == "a-2"


async def test_what_is_forgotten_is_asked_for_again(source):
    memory = BriefMemory(source.load, seconds=60)
    await memory.get("a")
    memory.forget()
    assert await memory.get("a") == "a-2"


async def test_an_answer_asked_for_anew_is_neither_remembered_nor_shared(source):
    memory = BriefMemory(source.load, seconds=60)
    source.gate.clear()
    old = asyncio.create_task(memory.get("a"))
    await source.called.wait()
    source.gate.set()
    assert await memory.get_anew("a") == "a-2"
    assert await memory.get("a") == "a-2"
    await old


async def test_it_never_holds_more_than_its_limit(source):
    memory = BriefMemory(source.load, seconds=60, limit=3)
    for number in range(10):
        await memory.get(number)
        assert len(memory._answers) <= 3
