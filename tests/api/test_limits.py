"""How many calls a caller may make, over all instances."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from melagent.services.access import Role, create_worker_token


@pytest.fixture
def limited(services):
    """Services that let each caller make one call, and another one in more time than a test takes."""
    return replace(services, requests_per_second=0.001, trusted_proxies=(ip_network("127.0.0.1"),))


async def codes(client, count, path="/api/workflows", **headers):
    return [(await client.get(path, headers=headers)).status for _ in range(count)]


async def test_a_caller_who_calls_too_often_is_told_when_to_come_back(serve, limited):
    async with serve(limited) as client:
        assert await codes(client, 1) == [200]
        answer = await client.get("/api/workflows")
        assert (answer.status, (await answer.json())["error"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 100


async def test_a_key_has_its_limit_over_all_addresses_and_instances(serve, limited, keys):
    headers = {"Authorization": f"Bearer {keys[Role.VIEWER]}"}
    async with serve(limited) as one, serve(limited) as other:
        assert await codes(one, 1, **headers, **{"X-Forwarded-For": "192.0.2.1"}) == [200]
        assert await codes(other, 1, **headers, **{"X-Forwarded-For": "192.0.2.2"}) == [429]
        assert await codes(other, 1) == [200], "another key at the same address"


async def test_bad_keys_and_open_calls_count_for_their_address(serve, limited):
    async with serve(limited, key=None) as client:
        at = {"X-Forwarded-For": "192.0.2.1"}
        assert await codes(client, 2, **at, Authorization="Bearer wrong") == [401, 429]
        assert await codes(client, 1, "/api/node-types", **at) == [429]
        assert await codes(client, 2, "/api/node-types", **{"X-Forwarded-For": "192.0.2.2"}) == [200, 429]
        assert (await client.post("/api/auth/login", json={"email": "a", "password": "b"}, headers=at)).status == 429


async def test_somebody_who_guesses_keys_holds_up_nobody_with_a_good_one_at_the_same_address(serve, limited, keys):
    async with serve(limited, key=None) as client:
        await codes(client, 3, Authorization="Bearer wrong")
        assert await codes(client, 1, Authorization=f"Bearer {keys[Role.EDITOR]}") == [200]


async def test_health_checks_and_workers_are_not_counted(serve, limited, pool):
    _, token = await create_worker_token(pool, "worker")
    async with serve(limited, key=None) as client:
        for path in ("/health", "/ready", "/metrics", "/api/health"):
            assert await codes(client, 3, path) == [200] * 3
        for _ in range(3):
            answer = await client.post("/api/workers", json={}, headers={"Authorization": f"Bearer {token}"})
            assert answer.status == 400


async def test_without_the_setting_nothing_is_counted(client, pool):
    assert await codes(client, 5) == [200] * 5
    assert await pool.fetchval("SELECT count(*) FROM budgets") == 0


async def test_a_busy_caller_costs_a_statement_for_many_calls(serve, services, pool):
    async with serve(replace(services, requests_per_second=1_000)) as client:
        assert await codes(client, 50) == [200] * 50
        assert await pool.fetchval("SELECT tokens FROM budgets") >= 800, "one slice of a hundred was taken, or two"
