"""Rate limits over all instances: budgets in the database, slices in the instances."""

import asyncio

import pytest

from melagent.services import rate_limits
from melagent.services.rate_limits import Rate, RateLimits
from melagent.store import budgets


class Clock:
    """The monotonic clock of an instance, which stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(pool, clock):
    return RateLimits(pool, clock)


async def passed(limits, rate, calls, key="k"):
    waits = [await limits.spend(key, rate) for _ in range(calls)]
    return waits.count(0.0)


async def age(pool, seconds, key="k"):
    """Let so much time go by for a bucket."""
    await pool.execute(
        "UPDATE budgets SET refilled_at = refilled_at - make_interval(secs => $2) WHERE key = $1", key, seconds
    )


async def test_a_burst_passes_and_the_next_call_is_told_when_to_come_again(limits):
    rate = Rate.of(0.5, burst=3)
    assert await passed(limits, rate, 3) == 3
    wait = await limits.spend("k", rate)
    assert 1.5 < wait <= 2.0


async def test_a_key_that_waited_may_go_on_and_gains_no_more_than_its_burst(limits, pool, clock):
    rate = Rate.of(1, burst=2)
    assert await passed(limits, rate, 5) == 2
    await age(pool, 1)
    clock.now += 1.001
    assert await passed(limits, rate, 5) == 1
    await age(pool, 1000)
    clock.now += 1000
    assert await passed(limits, rate, 5) == 2


async def test_several_instances_share_one_budget(pool):
    instances = [RateLimits(pool) for _ in range(5)]
    rate = Rate.of(0.01, burst=40)
    waits = await asyncio.gather(*(instance.spend("k", rate) for instance in instances for _ in range(20)))
    assert waits.count(0.0) == 40


async def test_keys_have_budgets_of_their_own(limits):
    rate = Rate.of(0.01)
    assert [await passed(limits, rate, 2, key) for key in ("a", "b")] == [1, 1]


class Counted:
    """Counts the statements that limits make."""

    def __init__(self, monkeypatch):
        self.statements = 0
        take = budgets.take

        async def counted(*arguments):
            self.statements += 1
            return await take(*arguments)

        monkeypatch.setattr(rate_limits.budgets, "take", counted)


async def test_a_slice_is_spent_without_asking(limits, monkeypatch):
    counted = Counted(monkeypatch)
    assert await passed(limits, Rate.of(1000), 250) == 250
    assert counted.statements == 3


async def test_a_flood_of_refused_calls_asks_once(limits, monkeypatch):
    rate = Rate.of(0.01)
    await limits.spend("k", rate)
    counted = Counted(monkeypatch)
    waits = await asyncio.gather(*(limits.spend("k", rate) for _ in range(1000)))
    assert counted.statements == 1
    assert min(waits) > 0


async def test_what_is_not_spent_within_a_second_lapses(limits, clock, monkeypatch):
    counted = Counted(monkeypatch)
    rate = Rate.of(1000)
    assert await passed(limits, rate, 1) == 1
    clock.now += 1.0
    assert await passed(limits, rate, 1) == 1
    assert counted.statements == 2


async def test_no_span_of_time_lets_more_through_than_was_promised(pool, clock):
    """Three instances that call as often as they can, while a tenth of a second goes by again and again."""
    instances, rate, total = [RateLimits(pool, clock) for _ in range(3)], Rate.of(50, burst=20), 0
    for _ in range(20):
        for instance in instances:
            total += await passed(instance, rate, 30)
        await age(pool, 0.1)
        clock.now += 0.1
    assert 20 + 50 * 1.9 <= total <= 20 + 50 * 3 + 25  # the clock of the database goes on by itself as well


@pytest.mark.parametrize(
    ("per_second", "burst", "slice_size"), [(0.1, None, 1), (1, None, 1), (100, None, 10), (1000, 5, 5), (15, None, 2)]
)
def test_a_slice_is_a_tenth_of_a_second_and_at_least_one_call(per_second, burst, slice_size):
    assert Rate.of(per_second, burst).slice == slice_size


async def test_a_clock_of_the_server_that_was_set_back_takes_nothing_away(limits, pool, clock):
    rate = Rate.of(1, burst=2)
    assert await passed(limits, rate, 1) == 1
    await age(pool, -3600)
    assert await passed(limits, rate, 1) == 1


async def test_keys_that_are_idle_are_forgotten(limits, clock, monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_KEYS", 10)
    rate = Rate.of(1000)
    for number in range(10):
        await limits.spend(f"old {number}", rate)
    clock.now += 2
    for number in range(5):
        await limits.spend(f"new {number}", rate)
    assert len(limits._leases) == 5


async def test_more_live_keys_than_are_remembered_gain_nothing(limits, monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_KEYS", 3)
    rate = Rate.of(0.001)
    keys = [f"address {number}" for number in range(20)]
    assert [await passed(limits, rate, 1, key) for key in keys] == [1] * 20
    assert [await passed(limits, rate, 1, key) for key in keys] == [0] * 20


async def test_a_bucket_is_swept_when_it_is_full_again_and_not_before(limits, pool):
    await limits.spend("full", Rate.of(1))
    assert await passed(limits, Rate.of(1 / 3600, burst=2), 2, "not yet") == 2
    await pool.execute("UPDATE budgets SET full_at = full_at - interval '1 h'")
    assert await budgets.sweep(pool, 10) == 1
    assert await pool.fetchval("SELECT string_agg(key, ' ') FROM budgets") == "not yet"
