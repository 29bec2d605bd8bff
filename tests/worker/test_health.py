"""The health port of a worker: alive before the server is there, ready once it is registered, not while it drains."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from deploy.local.topology import free_port
from melagent.cli.compose_worker import remote_worker
from melagent.settings import load
from tests.builders import eventually
from tests.worker.test_http import TOKEN, engine, relay

__all__ = ["engine", "relay"]  # fixtures


@pytest.fixture
def settings(relay):
    flags = {
        "worker.server": f"http://127.0.0.1:{relay.port}",
        "worker.health_port": free_port(),
        "worker.token": TOKEN,
    }
    return load(flags, environ={})


async def ask(settings, path):
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{settings.worker.health_port}{path}") as answer,
        ):
            return answer.status, await answer.text()
    except aiohttp.ClientError:
        return None, ""


async def test_a_worker_is_alive_while_it_waits_for_the_server_and_ready_once_it_is_registered(settings, relay):
    async def is_alive():
        return (await ask(settings, "/health"))[0] == 200

    async def come_back_later():
        await eventually(is_alive)
        assert (await ask(settings, "/ready"))[0] == 503
        relay.away = False

    relay.away = True
    coming_back = asyncio.create_task(come_back_later())
    async with remote_worker(settings, TOKEN):
        await coming_back
        status, body = await ask(settings, "/ready")
        assert (status, '"registered":true' in body) == (200, True)
        assert "mel_" in (await ask(settings, "/metrics"))[1]
    assert (await ask(settings, "/health"))[0] is None
