"""What the program shows to those around it: proxies, scrapers, whoever asks for its health."""

from __future__ import annotations

import json
import socket

import aiohttp

from tests.acceptance.program import Program, allow, calls, counter, line_of, program
from tests.builders import eventually

HOOK = {"id": "hook", "type": "webhook", "config": {"mode": "async"}}


async def test_metrics_leases_and_public_addresses_are_where_the_settings_put_them():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {
        "MEL_METRICS_ACCESS": "port", "MEL_METRICS_PORT": str(port), "MEL_TRUSTED_PROXIES": "127.0.0.1",
    }  # fmt: skip
    async with (
        counter() as outside,
        program(MEL_HTTP_ALLOW=allow(outside), **settings) as server,
        aiohttp.ClientSession(headers={"X-Debug": "true", "X-Forwarded-Proto": "https"}) as http,
    ):

        async def leases():
            async with http.get(f"{server.url}/health") as answer:
                return (await answer.json())["debug"]["leases"]

        async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert "mel_runs_started_total" in await answer.text()
        async with http.get(f"{server.url}/metrics") as answer:
            assert answer.status == 404
        url = await server.deploy(line_of(HOOK, *calls(outside, "call")))
        key = {"X-API-Key": json.loads((server.folder / "data/cli.json").read_text())["api_key"]}
        async with http.get(f"{server.url}/api/triggers", headers=key) as answer:
            (trigger,) = (await answer.json())["triggers"]
        assert trigger["webhook_url"] == url.replace("http://", "https://")
        assert await leases() == 0
        outside.open.clear()
        async with http.post(url) as answer:
            assert answer.status == 202

        async def is_counted():
            return await leases() == 1

        await eventually(is_counted)
        outside.open.set()


async def test_a_port_for_metrics_that_is_taken_is_named(tmp_path, database_url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"DATABASE_URL": database_url, "MEL_METRICS_ACCESS": "port", "MEL_METRICS_PORT": port}
        code, _, errors = await Program(tmp_path, settings).cli("server", "--port", "0")
    assert (code, f"127.0.0.1:{port}" in errors, "MEL_METRICS_PORT" in errors) == (1, True, True)
