"""What `server worker --health-port` serves: whether the worker is alive, whether it works, and its metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from prometheus_client import generate_latest

from melagent import __version__
from melagent.engine.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.worker.connection import Connection
    from melagent.worker.worker import Worker

SILENCE_SECONDS = 45.0
"""A claim waits for 20 s, and may be answered 10 s after that."""


def health_app(connection: Connection, worker: Callable[[], Worker | None]) -> web.Application:
    """GET /health, /ready and /metrics. Not ready: before the registration, without word from the server, or draining.

    `worker` answers null until the worker is registered.
    """

    def state() -> dict[str, Any]:
        now, contact_at, registered = asyncio.get_running_loop().time(), connection.contact_at, worker()
        return {
            "worker_id": connection.worker_id,
            "version": __version__,
            "registered": registered is not None,
            "busy": registered.busy if registered else 0,
            "draining": registered is not None and not registered.accepting,
            "silent_seconds": None if contact_at is None else round(now - contact_at, 3),
        }

    async def health(_request: web.Request) -> web.Response:
        return _json({"status": "ok", **state()})

    async def ready(_request: web.Request) -> web.Response:
        now = state()
        silent = now["silent_seconds"] is None or now["silent_seconds"] > SILENCE_SECONDS
        is_ready = now["registered"] and not silent and not now["draining"]
        return _json({"status": "ready" if is_ready else "not_ready", **now}, 200 if is_ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    return app


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
