"""The pool on PostgreSQL itself and behind PgBouncer in transaction mode, on a real one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from melagent.errors import Unavailable
from melagent.store.pool import PoolLimits, create_pool, guarded, trim
from tests.bouncer import bouncer
from tests.builders import eventually


@asynccontextmanager
async def opened(url, **limits):
    async with asyncio.timeout(60):
        pool = await create_pool(url, PoolLimits(**limits))
    try:
        yield pool
    finally:
        async with asyncio.timeout(60):
            await pool.close()


@asynccontextmanager
async def behind_one_connection(database_url):
    """Two connections of a pool, which share the only one that PgBouncer has."""
    async with (
        bouncer(database_url, connections=1) as pooler,
        opened(pooler.url) as pool,
        pool.acquire() as first,
        pool.acquire() as second,
    ):
        yield first, second


async def test_statements_are_prepared_on_postgresql_itself(database_url):
    with capture_logs() as lines:
        async with opened(database_url) as pool, pool.acquire() as conn:
            assert await conn.fetchval("SELECT 1 + $1::int", 1) == 2
            assert await conn.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '1 [+]'") == 1
            assert await conn.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
    assert lines == []


async def test_statements_are_not_prepared_where_that_is_asked_for(database_url):
    async with opened(database_url, prepared_statements="off") as pool, pool.acquire() as conn:
        assert await conn.fetchval("SELECT 1 + $1::int", 1) == 2
        assert await conn.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0


async def test_a_pooler_is_noticed_and_told_once(database_url):
    with capture_logs() as lines:
        async with bouncer(database_url) as pooler, opened(pooler.url) as pool:
            await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(20)))
    assert [line["event"] for line in lines] == ["pooler found, statements are not prepared"]


async def test_many_callers_share_few_connections_of_a_pooler(database_url):
    async def calls(pool, caller):
        for number in range(20):
            text = f"SELECT {(caller + number) % 7} + $1::int"  # the same names on different connections mix them up
            assert await pool.fetchval(text, number) == (caller + number) % 7 + number
            async with pool.acquire() as conn, guarded(conn):
                assert await conn.fetchval("SHOW statement_timeout") == "5s"
                assert (await conn.fetchrow(text + " AS sum", number))["sum"] == (caller + number) % 7 + number

    async with bouncer(database_url, connections=3) as pooler, opened(pooler.url) as pool:
        await asyncio.gather(*(calls(pool, caller) for caller in range(12)))
        assert await pool.fetchval("SHOW statement_timeout") == "0"


@pytest.mark.parametrize("setting", ["auto", "on", "off"])
async def test_nothing_is_set_in_a_session_that_others_share(database_url, setting):
    async with bouncer(database_url, connections=1) as pooler:
        async with opened(pooler.url, prepared_statements=setting) as pool:
            await pool.execute("SELECT 1")
        async with opened(pooler.url) as pool:
            assert await pool.fetchval("SHOW plan_cache_mode") == "auto"


async def test_a_value_that_cannot_be_sent_gives_the_servers_connection_back(database_url):
    async with behind_one_connection(database_url) as (first, second):
        for call in (first.fetch, first.fetchrow, first.fetchval, first.execute):
            with pytest.raises(asyncpg.DataError):
                await call("SELECT $1::int", "not a number")
            assert await second.fetchval("SELECT $1::int", 1, timeout=30) == 1


async def test_a_statement_that_is_cancelled_gives_the_servers_connection_back(database_url):
    async with behind_one_connection(database_url) as (first, second), opened(database_url) as direct:

        async def sleeps():
            return await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")

        sleeping = asyncio.create_task(first.fetchval("SELECT pg_sleep($1)", 600))
        await eventually(sleeps)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await second.fetchval("SELECT $1::int", 1, timeout=30) == 1
        assert await first.fetchval("SELECT $1::int", 2, timeout=30) == 2


async def test_an_error_ends_the_transaction_that_it_was_in(database_url):
    async def fails(conn):
        async with guarded(conn):
            await conn.execute("CREATE TABLE of_the_first (n int)")
            await conn.fetchval("SELECT $1::int", "not a number")

    async with behind_one_connection(database_url) as (first, second):
        with pytest.raises(asyncpg.DataError):
            await fails(first)
        assert await second.fetchval("SELECT to_regclass('of_the_first')", timeout=30) is None


async def test_a_pooler_that_is_away_makes_the_database_unavailable(database_url):
    async with bouncer(database_url) as pooler:
        await pooler.kill()
        with pytest.raises(Unavailable):
            await create_pool(pooler.url)


async def test_of_idle_connections_those_used_longest_ago_are_closed(database_url):
    async with opened(database_url) as pool:
        lent = [await pool.acquire() for _ in range(5)]
        used = [connection.get_server_pid() for connection in lent]
        for connection in lent:
            await pool.release(connection)
        assert await trim(pool, 2) == 3
        assert pool.get_idle_size() == 2
        async with pool.acquire() as first, pool.acquire() as second:
            assert [first.get_server_pid(), second.get_server_pid()] == [used[4], used[3]]
        assert await trim(pool, 2) == 0


async def test_trimming_that_fails_half_way_takes_no_place_from_the_pool(database_url, monkeypatch):
    async with opened(database_url, max_open=6) as pool:
        for connection in [await pool.acquire() for _ in range(5)]:
            await pool.release(connection)
        acquire, left = type(pool).acquire, 3

        async def failing():
            nonlocal left
            left -= 1
            if left < 0:
                raise ConnectionRefusedError
            return await acquire(pool)

        with monkeypatch.context() as patched:
            patched.setattr(type(pool), "acquire", lambda _pool: failing())
            with pytest.raises(ConnectionRefusedError):
                await trim(pool, 2)
        assert pool.get_idle_size() == 5
