"""What the scaling guide prints, done against a running cluster: three instances and two workers behind nginx."""

from __future__ import annotations

import asyncio
from datetime import datetime

import aiohttp
import pytest

from deploy.local.topology import free_port, topology
from tests.builders import eventually
from tests.deploy.proxy_server import configuration, nginx

STICKY = """
upstream api_servers {
    ip_hash;

    server api-1:8080 max_fails=3 fail_timeout=30s;
    server api-2:8080 max_fails=3 fail_timeout=30s;
    server api-3:8080 max_fails=3 fail_timeout=30s;
}
"""
LEAST_CONN = """
upstream api_servers {
    least_conn;

    server api-1:8080;
    server api-2:8080;
    server api-3:8080;
}
"""
SERVER = """
server {
    listen 8080;
    location / {
        proxy_pass http://api_servers;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
"""
WORKFLOW = {
    "nodes": [
        {"id": "hook", "type": "webhook", "config": {"mode": "sync", "respond": "last_node"}},
        {"id": "double", "type": "set", "config": {"fields": {"doubled": "{{ input.body.n * 2 }}"}}},
    ],
    "edges": [{"source": "hook", "target": "double"}],
}


@pytest.fixture(scope="module")
def cluster():
    """One for all tests, so it begins and ends in an event loop of its own."""
    opening = topology(apis=3, workers=2, DB_MAX_OPEN_CONNS="15", DB_MAX_IDLE_CONNS="5")
    with asyncio.Runner() as runner:
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


@pytest.fixture
async def hook(cluster):
    return await cluster.deploy(WORKFLOW)


async def get(url, **headers):
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json(), response.headers


async def call(hook, n):
    async with aiohttp.ClientSession() as session, session.post(hook, json={"n": n}) as response:
        return await response.json()


async def test_health_tells_the_time_ten_times_from_all_instances(cluster):
    answers = [await get(f"{cluster.url}/health") for _ in range(10)]
    times = [datetime.fromisoformat(body["timestamp"]) for body, _ in answers]
    assert times == sorted(times)
    assert len({headers["X-Mel-Instance"] for _, headers in answers}) == 3


async def test_every_instance_is_healthy_and_shows_its_connections(cluster):
    for member in cluster.of_kind("api-"):
        url = f"http://127.0.0.1:{member.port}"
        health, _ = await get(f"{url}/health")
        ready, _ = await get(f"{url}/ready")
        assert health["status"] == "ok"
        assert ready["checks"]["database"]["status"] == "healthy"
        assert ready["checks"]["database"]["pool"]["max"] == 14  # the listener is the fifteenth


async def test_node_types_can_be_counted_without_a_key(cluster):
    types, _ = await get(f"{cluster.url}/api/node-types")
    assert len(types) > 5


async def test_the_debug_header_tells_which_instance_answered(cluster):
    body, headers = await get(f"{cluster.url}/health", **{"X-Debug": "true"})
    assert body["instance"] == headers["X-Mel-Instance"]
    assert "debug" in body


async def test_the_connections_of_all_instances_stay_within_their_limits(cluster, hook):
    await call(hook, 1)
    async with cluster.database() as conn:
        count = await conn.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    assert count <= 3 * 15 + 1


async def test_the_logs_have_the_lines_that_are_searched_for(cluster, hook):
    for member in cluster.of_kind("api-"):
        assert "Database connected" in cluster.logged(member.name)

    async def both_workers_claim():
        await call(hook, 1)
        return all("claimed work" in cluster.logged(name) for name in ("worker-1", "worker-2"))

    await eventually(both_workers_claim)


async def test_the_access_log_shows_how_calls_were_distributed(cluster):
    await get(f"{cluster.url}/health")
    text = (cluster.folder / "access.log").read_text()
    assert '"GET /health HTTP/1.1" 200' in text
    assert all(f"upstream=127.0.0.1:{member.port} " in text for member in cluster.of_kind("api-"))


async def test_a_worker_started_as_printed_registers_at_any_instance(cluster):
    server = f"http://127.0.0.1:{cluster.of_kind('api-')[-1].port}"
    await cluster.start_worker("worker-printed", "--token", cluster.token, "--server", server)
    await eventually(lambda: "worker registered" in cluster.logged("worker-printed"))
    assert await cluster.stop("worker-printed") == 0


async def test_what_an_autoscaler_asks_for_is_there(cluster):
    seen = await cluster.call("GET", "/api/cluster")
    assert seen["queue"]["depth"] >= 0
    assert len(seen["instances"]) == 3


@pytest.mark.parametrize("upstream", [STICKY, LEAST_CONN], ids=["ip_hash", "least_conn"])
async def test_the_printed_nginx_files_work_in_front_of_the_instances(cluster, hook, upstream, tmp_path):
    """They ask for an upgrade with every request, also where the client does not want one."""
    port = free_port()
    changes = [
        (f"{name}:8080", f"127.0.0.1:{member.port}")
        for name, member in ((member.name, member) for member in cluster.of_kind("api-"))
    ]
    path = configuration(upstream + SERVER, tmp_path, listen=f"127.0.0.1:{port}", changes=changes)
    async with nginx(path, port):
        types, _ = await get(f"http://127.0.0.1:{port}/api/node-types")
        assert len(types) > 5
        for n in range(10):
            answer = await call(hook.replace(f":{cluster.port}/", f":{port}/"), n)
            assert answer["doubled"] == 2 * n
