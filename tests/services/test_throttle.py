"""Attempts to sign in are limited over all instances, and nobody is kept out by somebody else for ever."""

import asyncio

import pytest

from melagent.errors import RateLimited
from melagent.maintenance.sweeper import Sweeper
from melagent.services import throttle
from melagent.services.throttle import ACCOUNT, ADDRESS, DEVICE, Throttle

EMAIL = "ada@example.com"


@pytest.fixture
def attempt(pool):
    """An attempt that fails, on an instance of its own; whether it was let through."""

    async def attempt(email=EMAIL, address="192.0.2.1", device=None):
        try:
            await Throttle(pool).take(email, address, device)
        except RateLimited as error:
            return not error.retry_after > 0
        return True

    return attempt


async def later(pool, seconds):
    await pool.execute("UPDATE sign_in_attempts SET free_at = free_at - make_interval(secs => $1)", seconds)


async def test_an_account_is_guessed_at_ten_times_and_then_once_a_minute(attempt, pool):
    """Whatever addresses the guesses come from."""
    assert [await attempt(address=f"192.0.2.{number}") for number in range(11)] == [True] * 10 + [False]
    await later(pool, ACCOUNT.seconds)
    assert [await attempt(address=f"198.51.100.{number}") for number in range(2)] == [True, False]


async def test_an_address_guesses_thirty_times_and_then_once_in_ten_seconds(attempt, pool):
    """Whatever accounts it guesses at."""
    tried = [await attempt(f"user{number}@example.com") for number in range(31)]
    assert tried == [True] * 30 + [False]
    await later(pool, ADDRESS.seconds)
    assert [await attempt("x@example.com"), await attempt("y@example.com")] == [True, False]


async def test_refused_attempts_do_not_count(attempt, pool):
    for number in range(40):
        await attempt(address=f"192.0.2.{number}")
    await later(pool, ACCOUNT.seconds)
    assert await attempt(address="198.51.100.1")


async def test_attempts_at_the_same_moment_are_all_counted(attempt):
    tried = await asyncio.gather(*(attempt(address=f"192.0.2.{number}") for number in range(30)))
    assert sum(tried) == 10


async def test_whoever_succeeds_gets_back_the_own_attempt_and_no_more(attempt, pool):
    for number in range(9):
        await attempt(address=f"192.0.2.{number}")
    held = Throttle(pool)
    for _ in range(3):
        await held.succeeded(await held.take(EMAIL, "198.51.100.1", None))
    assert [await attempt(address=f"203.0.113.{number}") for number in range(2)] == [True, False]


async def test_a_browser_that_has_signed_in_before_is_not_kept_out_by_others(attempt, pool):
    device = await Throttle(pool).device_token(EMAIL)
    while await attempt():
        pass
    for number in range(40):
        await attempt(address=f"192.0.2.{number}")
    assert not await attempt(), "strangers are kept out"
    assert await attempt(device=device)


async def test_a_browser_that_is_known_guesses_ten_times_as_well(attempt, pool):
    device = await Throttle(pool).device_token(EMAIL)
    assert [await attempt(device=device) for _ in range(11)] == [True] * DEVICE.attempts + [False]
    assert await attempt(device=await Throttle(pool).device_token(EMAIL)), "another browser of the owner"


async def test_a_device_is_known_for_its_own_account_only_and_cannot_be_made_up(attempt, pool):
    device = await Throttle(pool).device_token("eve@example.com")
    while await attempt():
        pass
    for forged in (device, device[:-2], "", "x", "AAAA", "ä", "A" * 5000, "\udcff"):
        assert not await attempt(device=forged), forged


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_an_address_is_what_one_customer_is_given(one, other, same):
    assert (throttle.network_of(one) == throttle.network_of(other)) is same


async def test_the_table_is_bounded_and_holds_neither_emails_nor_addresses(attempt, pool, monkeypatch):
    monkeypatch.setattr(throttle, "SLOT_BITS", 3)
    for number in range(50):
        await attempt(f"user{number}@example.com", f"192.0.2.{number}")
    rows = await pool.fetch("SELECT * FROM sign_in_attempts")
    assert len(rows) <= 8
    assert {*rows[0].keys()} == {"slot", "free_at"}


async def test_what_has_leaked_away_is_swept(attempt, pool):
    await attempt()
    await Sweeper(pool).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM sign_in_attempts") == 2
    await later(pool, ACCOUNT.seconds)
    await Sweeper(pool).one_pass()
    assert await pool.fetchval("SELECT count(*) FROM sign_in_attempts") == 0
