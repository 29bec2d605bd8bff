"""The HTTP side of a server process: what listens, and how it stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from melagent.api.app import build_metrics_app
from melagent.cli.listening import begin_no_more, listen
from melagent.errors import Conflict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from melagent.api.context import Services
    from melagent.settings import Settings

LAST_CONNECTION_SECONDS = 0.05
"""How long connections that have begun may take to be there: a round trip to the load balancer."""

LAST_REQUEST_SECONDS = 0.2

REQUESTS_SHARE_OF_GRACE = 0.35
"""Of the grace time, how long requests may take to end. aiohttp waits once more as long for those it had to cancel."""

log = structlog.get_logger()


async def serve(
    settings: Settings,
    services: Services,
    listening: socket.socket,
    stack: AsyncExitStack,
    build: Callable[[Services], web.Application],
) -> None:
    """Answer requests with the application that `build` makes, until the stack is closed."""
    grace = settings.engine.shutdown_grace_seconds * REQUESTS_SHARE_OF_GRACE
    app = build(services)
    if services.metrics_access == "port":
        await _serve_metrics(app, settings.server.host, settings.server.metrics_port, stack)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=grace)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.SockSite(runner, listening, backlog=1024)
    await site.start()
    stack.push_async_callback(_stop_listening, site, listening)


async def _serve_metrics(app: web.Application, host: str, port: int, stack: AsyncExitStack) -> None:
    """Serve metrics on a port of their own, until after the last request has ended. Conflict when it is taken."""
    try:
        listening = listen(host, port)
    except OSError as error:
        reason = f"Cannot listen on {host}:{port} for metrics: {error.strerror}. Choose another with MEL_METRICS_PORT."
        raise Conflict(reason) from error
    runner = web.AppRunner(build_metrics_app(app), access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening).start()
    log.info("metrics listening", port=listening.getsockname()[1])


async def _stop_listening(site: web.BaseSite, listening: socket.socket) -> None:
    """Take no more connections, and give those just taken the time to send their request."""
    begin_no_more(listening)
    await asyncio.sleep(LAST_CONNECTION_SECONDS)
    await site.stop()
    await asyncio.sleep(LAST_REQUEST_SECONDS)
