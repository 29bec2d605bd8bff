"""Builds the parts of `server worker`, starts them in order and stops them in reverse."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
import structlog
from aiohttp import web

from melagent import __version__
from melagent.cli.garbage import calm_garbage_collection
from melagent.domain.requirement import capabilities
from melagent.engine.context import World
from melagent.errors import MelError
from melagent.net import guarded_session
from melagent.protocol.messages import Registration
from melagent.registry import Registry
from melagent.worker.connection import Connection
from melagent.worker.health import health_app
from melagent.worker.http import HttpSource
from melagent.worker.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from melagent.settings import Settings

DRAIN_SHARE_OF_GRACE = 0.8
"""Of the grace time, what running nodes have; the rest is for saying so to the server."""

log = structlog.get_logger()


@asynccontextmanager
async def remote_worker(settings: Settings, token: str) -> AsyncIterator[Connection]:
    """A worker that runs until the context ends, and then drains. Waits for a server that is away.

    Raises the server's refusal at the start; a later one is the result of `dismissed`.
    """
    registry = Registry.installed()
    registration = _registration(settings, registry)
    async with AsyncExitStack() as stack:
        calls = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        connection = Connection(calls, settings.worker.server, token, registration)
        started: list[Worker] = []
        if settings.worker.health_port is not None:
            app = health_app(connection, lambda: started[0] if started else None)
            await _serve(app, settings.worker.health_port, stack)
        registered = await connection.register()
        source = HttpSource(connection, registered.lease_seconds)
        nodes = await stack.enter_async_context(guarded_session(settings.security.http_allow))
        options = WorkerOptions(
            worker_id=registration.id,
            concurrency=registration.concurrency,
            lease_seconds=registered.lease_seconds,
            heartbeat_seconds=registered.heartbeat_seconds,
            grace_seconds=settings.engine.shutdown_grace_seconds * DRAIN_SHARE_OF_GRACE,
            offered=capabilities(registration.labels, registration.node_types),
        )
        world = World(clock=partial(datetime.now, UTC), http=lambda: nodes, live=source.tell)
        worker = Worker(source, registry, world, options)
        started.append(worker)
        worker.start()
        calm_garbage_collection()
        try:
            yield connection
        finally:
            await _drain(worker, source, connection)


async def _drain(worker: Worker, source: HttpSource, connection: Connection) -> None:
    log.info("draining", worker_id=worker.worker_id)
    if connection.dismissed.done():
        worker.abandon()
    await worker.drain()
    await source.drain()
    if connection.dismissed.done():
        return
    try:
        await connection.unregister()
    except MelError as error:
        log.warning("not unregistered", worker_id=worker.worker_id, error=error.message)
    log.info("drained", worker_id=worker.worker_id)


def _registration(settings: Settings, registry: Registry) -> Registration:
    return Registration(
        session=uuid4(),
        id=settings.worker.id or f"worker-{uuid4().hex[:8]}",
        name=gethostname()[:200],
        concurrency=settings.worker.concurrency,
        labels=settings.worker.labels,
        version=__version__,
        node_types=registry.added,
    )


async def _serve(app: web.Application, port: int, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, port=port).start()
