"""A connection that is kept between uses, and given back in time."""

import asyncio

import pytest

from melagent.store import kept as kept_module
from melagent.store.kept import Kept
from melagent.store.pool import CONNECTION_LOST, PoolLimits, create_pool
from tests.builders import eventually


@pytest.fixture
async def small(database_url):
    """A pool with two connections, which nobody else uses."""
    pool = await create_pool(database_url, PoolLimits(max_open=3))
    yield pool
    async with asyncio.timeout(20):
        await pool.close()


@pytest.fixture
async def kept(small):
    kept = Kept(small)
    yield kept
    await kept.close()


async def session(kept):
    async with kept as conn:
        return await conn.fetchval("SELECT pg_backend_pid()")


async def test_it_is_lent_once_for_many_uses(small, kept):
    assert len({await session(kept) for _ in range(5)}) == 1
    assert small.get_idle_size() == small.get_size() - 1


async def test_it_is_given_back_when_nobody_uses_it_any_more(small, kept, monkeypatch):
    monkeypatch.setattr(kept_module, "KEPT_SECONDS", 0.02)
    first = await session(kept)
    await eventually(lambda: small.get_idle_size() == small.get_size())
    assert await session(kept) == first  # the pool lends what came back last


async def test_it_is_given_back_after_the_use_in_which_its_time_is_up(small, kept, monkeypatch):
    monkeypatch.setattr(kept_module, "KEPT_SECONDS", 0.02)
    async with kept as conn:
        await asyncio.sleep(0.1)
        assert await conn.fetchval("SELECT 1") == 1
        assert small.get_idle_size() == small.get_size() - 1
    assert small.get_idle_size() == small.get_size()


async def test_one_that_broke_is_not_used_again(small, kept):
    first = await session(kept)
    with pytest.raises(CONNECTION_LOST):
        async with kept as conn:
            await conn.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await session(kept) != first


async def test_one_that_broke_while_nobody_used_it_is_not_lent(small, kept):
    async with kept as conn:
        first = await conn.fetchval("SELECT pg_backend_pid()")
    await small.execute("SELECT pg_terminate_backend($1)", first)
    await eventually(lambda: kept_module._is_lost(conn))
    assert await session(kept) != first


async def test_a_use_that_is_broken_off_leaves_nothing_behind(small, kept):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), kept as conn:
            await conn.fetchval("SELECT pg_sleep(30)")
    await eventually(lambda: small.get_idle_size() == small.get_size())
    async with kept as conn:
        assert await conn.fetchval("SELECT 1") == 1
