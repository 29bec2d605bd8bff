import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient, TestServer

from melagent.api.app import build_app, build_metrics_app
from melagent.store import runs
from melagent.store.health import applied_migrations
from melagent.store.ids import new_id


@pytest.mark.parametrize("path", ["/health", "/api/health"])
async def test_health_says_who_answers(serve, services, path):
    async with serve(services, key=None) as client:
        body = await (await client.get(path)).json()
    assert (body["status"], body["instance"], body["version"]) == ("ok", "test-instance", "1.2.3")
    assert body["timestamp"].endswith("Z")
    assert "debug" not in body


async def test_health_tells_more_when_debugging(client):
    body = await (await client.get("/health", headers={"X-Debug": "true"})).json()
    assert body["debug"]["pid"] > 0
    assert body["debug"]["pool"]["max"] == 10
    assert body["debug"]["leases"] == 0


async def test_health_asks_nothing_of_the_database(client, pool):
    await pool.close()
    assert (await client.get("/health")).status == 200


async def test_ready_tells_the_state_of_database_schema_and_broker(client, eventually):
    async def is_healthy():
        body = await (await client.get("/ready")).json()
        return body if body["checks"]["broker"]["status"] == "healthy" else None

    body = await eventually(is_healthy)
    assert body["status"] == "ready"
    assert body["checks"]["database"]["status"] == "healthy"
    assert body["checks"]["database"]["latency_ms"] > 0
    assert {"max", "open", "idle", "in_use", "waiting"} <= body["checks"]["database"]["pool"].keys()
    assert body["checks"]["migrations"]["status"] == "healthy"
    assert body["checks"]["broker"] == {"kind": "postgres", "status": "healthy"}


async def test_an_older_schema_is_not_ready(serve, services):
    async with serve(replace(services, migrations=services.migrations | {"9999.future"})) as client:
        answer = await client.get("/ready")
        body = await answer.json()
    assert (answer.status, body["status"]) == (503, "not_ready")
    assert body["checks"]["migrations"]["pending"] == ["9999.future"]


async def test_a_newer_schema_is_ready(serve, services, pool):
    known = await applied_migrations(pool)
    assert known == services.migrations
    async with serve(replace(services, migrations=frozenset(sorted(known)[:1]))) as client:
        assert (await client.get("/ready")).status == 200


async def test_without_its_database_an_instance_is_not_ready(client, pool):
    await pool.close()
    answer = await client.get("/ready")
    body = await answer.json()
    assert (answer.status, body["checks"]["database"]["status"]) == (503, "unhealthy")


async def test_while_it_drains_an_instance_is_not_ready(client, services):
    services.draining.set()
    answer = await client.get("/ready")
    assert (answer.status, (await answer.json())["reason"]) == (503, "draining")


async def test_metrics_count_the_queue_and_the_pool(client, pool):
    await pool.execute("INSERT INTO work_items (run_id, priority) VALUES ($1, 5)", new_id())
    text = await (await client.get("/metrics")).text()
    assert "mel_queue_depth 1.0" in text
    assert 'mel_runs{status="pending"} 1.0' in text
    assert 'mel_runs{status="sleeping"} 0.0' in text
    assert 'mel_pool_connections{state="max"} 10.0' in text
    for name in ("mel_queue_oldest_age_seconds", "mel_claim_seconds", "mel_journal_seconds", "mel_loop_lag_seconds"):
        assert name in text


async def test_many_scrapes_count_the_queue_once_a_second(client, pool, monkeypatch, eventually):
    counted = []
    count_live = runs.count_live

    async def count(conn):
        counted.append(conn)
        return await count_live(conn)

    monkeypatch.setattr(runs, "count_live", count)
    answers = await asyncio.gather(*(client.get("/metrics") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert 1 <= len(counted) < 5
    await pool.execute("INSERT INTO work_items (run_id, priority) VALUES ($1, 5)", new_id())

    async def is_seen():
        return "mel_queue_depth 1.0" in await (await client.get("/metrics")).text()

    await eventually(is_seen)


async def test_metrics_may_be_kept_for_those_with_a_key(serve, services):
    async with serve(replace(services, metrics_access="token"), key=None) as client:
        assert (await client.get("/metrics")).status == 401
        answer = await client.get("/metrics", headers={"X-API-Key": services.bootstrap_key})
        assert answer.status == 200


async def test_metrics_may_have_a_port_of_their_own(serve, services):
    apart = replace(services, metrics_access="port")
    async with serve(apart) as client:
        assert (await client.get("/metrics")).status == 404
        assert "/metrics" not in (await (await client.get("/api/openapi.json")).json())["paths"]
    async with TestClient(TestServer(build_metrics_app(build_app(apart)))) as client:
        answer = await client.get("/metrics")
        assert (answer.status, "mel_queue_depth" in await answer.text()) == (200, True)
        assert (await client.get("/api/workflows")).status == 404


async def test_callers_who_wait_for_a_connection_are_counted(client, pool, eventually):
    async with AsyncExitStack() as stack:
        for _ in range(pool.get_max_size()):
            await stack.enter_async_context(pool.acquire())
        waiting = asyncio.create_task(pool.fetchval("SELECT 1"))

        async def is_counted():
            numbers = (await (await client.get("/health", headers={"X-Debug": "true"})).json())["debug"]["pool"]
            return numbers["waiting"] >= 1 and numbers["in_use"] == numbers["max"]

        await eventually(is_counted)
    assert await waiting == 1
