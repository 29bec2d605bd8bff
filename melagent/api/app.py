"""Builds the application: the routes, and what surrounds every call."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from melagent.api import auditing, origins
from melagent.api.bodies import PARSER, read_body, refuse_packed
from melagent.api.context import (
    AUDIT,
    CHECKER,
    CONNECTIONS,
    DELIVERIES,
    GATE,
    HUB,
    KEYS,
    LIMITS,
    OAUTH,
    REQUEST_ID,
    ROUTE,
    SECRETS,
    SERVICES,
    SIGN_IN,
    STANDING,
    STARTED,
    STARTED_AT,
    STREAM,
    WEBHOOK_TESTS,
    WEBHOOKS,
    WORKERS,
    Services,
)
from melagent.api.failures import broken_off, failure
from melagent.api.idempotency import once
from melagent.api.limits import admit
from melagent.api.metrics import GAUGES, Gauges, scrape, watch_loop
from melagent.api.oidc import open_oidc
from melagent.api.openapi import DOCUMENT, document
from melagent.api.patience import in_time
from melagent.api.proxies import as_sent
from melagent.api.routes import DEMO_ROUTES, REALTIME_ROUTES, ROUTES
from melagent.api.sockets import in_socket
from melagent.api.wire import MAX_BODY_BYTES, checked_body, checked_message, checked_query
from melagent.net import guarded_session
from melagent.protocol.messages import Message
from melagent.realtime.hub import Hub, Surroundings
from melagent.realtime.seats import PostgresSeats
from melagent.services.access import Keys, Role
from melagent.services.audit import AuditLog
from melagent.services.connection_checks import Checker
from melagent.services.connections import Connections
from melagent.services.deliveries import Deliveries
from melagent.services.draft_problems import DraftProblems
from melagent.services.oauth2 import OAuth
from melagent.services.rate_limits import RateLimits
from melagent.services.renames import rewriter
from melagent.services.secrets import Secrets
from melagent.services.sign_in import SignIn
from melagent.services.standing import Standing
from melagent.services.webhook_gate import Gate
from melagent.services.webhook_tests import WebhookTests
from melagent.services.webhooks import Webhooks
from melagent.services.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiohttp.typedefs import Handler

    from melagent.api.route import Route

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def build_app(services: Services) -> web.Application:
    """The API as an application. It owns none of the services: whoever made them closes them.

    Metrics that have a port of their own (see `build_metrics_app`) are not part of it.
    """
    app = _surrounded(services, (*ROUTES, *DEMO_ROUTES) if services.demo else ROUTES)
    app[WORKERS] = Workers(services.pool, services.engine, services.registry, services.instance)
    app[WEBHOOKS] = Webhooks(services.pool, services.registry, services.webhook_per_second)
    app[CONNECTIONS] = Connections(services.pool, services.vault)
    app[OAUTH] = OAuth(services.pool, services.vault, lambda: app[CHECKER].http, services.renewals)
    app[SECRETS] = Secrets(services.pool, services.vault, services.registry, app[OAUTH])
    app[GATE] = Gate(services.pool, app[SECRETS], app[LIMITS])
    app[DELIVERIES] = Deliveries(services.pool)
    app[WEBHOOK_TESTS] = WebhookTests(services.pool, services.engine.broker)
    app.cleanup_ctx.append(_note_contacts)
    app.cleanup_ctx.append(open_oidc)
    app.cleanup_ctx.append(_write_deliveries)
    app.cleanup_ctx.append(_reach_out)
    return app


def build_realtime_app(services: Services) -> web.Application:
    """Live editing alone, for a process that does nothing else."""
    return _surrounded(services, REALTIME_ROUTES)


def _surrounded(services: Services, routes: Sequence[Route]) -> web.Application:
    """An application with these routes, and what every one of them may need."""
    app = web.Application(
        middlewares=[_answer_errors, in_time],
        client_max_size=MAX_BODY_BYTES,
        handler_args={"auto_decompress": False, "keepalive_timeout": services.keepalive_seconds},
    )
    if services.metrics_access == "port":
        routes = tuple(route for route in routes if route.handler is not scrape)
    app[SERVICES] = services
    app[KEYS] = Keys(services.pool, services.bootstrap_key, services.worker_token)
    app[SIGN_IN] = SignIn(services.pool)
    app[AUDIT] = AuditLog(services.pool)
    app[LIMITS] = RateLimits(services.pool)
    app[STANDING] = Standing(services.pool, app[KEYS])
    app[HUB] = _hub(services, app[STANDING])
    app[STARTED_AT] = time.monotonic()
    app[GAUGES] = Gauges(services.pool)
    app[PARSER] = asyncio.Lock()
    app[DOCUMENT] = document(routes, services.version)
    app.on_response_prepare.append(_mark)
    app.cleanup_ctx.append(watch_loop)
    app.cleanup_ctx.append(_keep_books)
    app.cleanup_ctx.append(_keep_rooms)
    app.on_shutdown.append(_send_away)
    for route in routes:
        _add(app, route)
    return app


def build_metrics_app(app: web.Application) -> web.Application:
    """The metrics of an application, and nothing else: for a port that only those who scrape can reach."""
    metrics = web.Application(middlewares=[_answer_errors])
    metrics[SERVICES], metrics[GAUGES] = app[SERVICES], app[GAUGES]
    metrics.on_response_prepare.append(_mark)
    metrics.router.add_get("/metrics", scrape)
    return metrics


async def _note_contacts(app: web.Application) -> AsyncIterator[None]:
    app[WORKERS].loop.start()
    yield
    await app[WORKERS].loop.stop()


async def _write_deliveries(app: web.Application) -> AsyncIterator[None]:
    app[DELIVERIES].loop.start()
    yield
    await app[DELIVERIES].stop()


async def _reach_out(app: web.Application) -> AsyncIterator[None]:
    """Guarded ways to third parties, for trying connections and for their tokens."""
    allow = app[SERVICES].http_allow
    async with guarded_session(allow) as http:
        app[CHECKER] = Checker(http, allow)
        yield


async def _keep_books(app: web.Application) -> AsyncIterator[None]:
    """Which keys were used, and who was refused."""
    app[KEYS].loop.start()
    app[AUDIT].loop.start()
    yield
    await app[KEYS].loop.stop()
    await app[AUDIT].close()


def _hub(services: Services, standing: Standing) -> Hub:
    surroundings = Surroundings(
        rewrites=rewriter(services.registry),
        find_problems=lambda: DraftProblems(services.pool, services.registry).find,
    )
    seats = services.seats or PostgresSeats(services.pool)
    return Hub(services.pool, services.engine.broker, services.instance, seats, standing, surroundings)


async def _keep_rooms(app: web.Application) -> AsyncIterator[None]:
    """Serve rooms, and send their peers away as soon as this instance begins to drain."""
    await app[HUB].open()
    draining = asyncio.create_task(_drain_rooms(app), name="draining of rooms")
    yield
    draining.cancel()
    await asyncio.wait([draining])
    await app[HUB].close()


async def _drain_rooms(app: web.Application) -> None:
    services = app[SERVICES]
    await services.draining.wait()
    await app[HUB].drain(services.farewell_seconds)


async def _send_away(app: web.Application) -> None:
    """Wait until the peers have been sent away: the server would wait for their sockets."""
    await app[HUB].drain(0.0)


def _add(app: web.Application, route: Route) -> None:
    """Open GET routes also answer HEAD, which load balancers and health checks like to send."""
    handler = _guarded(route)
    app.router.add_route(route.method, route.path, handler)
    if route.method == "GET" and route.role is Role.OPEN:
        app.router.add_route("HEAD", route.path, handler)


def _guarded(route: Route) -> Handler:
    """A handler that is reached only by those who may call it, with query and body as the models of its route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = route
        if route.socket:
            return await in_socket(request, partial(let_in, request))
        return await let_in(request)

    async def let_in(request: web.Request) -> web.StreamResponse:
        await admit(request, route)
        given = []
        if route.query is not None:
            given.append(checked_query(route.query, request.query))
        if route.body is not None:
            check = checked_message if issubclass(route.body, Message) else checked_body
            given.append(await read_body(request, partial(check, route.body)))
        if route.keyed:
            return await once(request, partial(route.handler, request, *given))
        return await route.handler(request, *given)

    return handle


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the call its id, turn every error into the error body, and put the call into the audit log."""
    sent = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = sent if SANE_REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
    request[STARTED] = time.perf_counter()
    try:
        request = as_sent(request, request.app[SERVICES].trusted_proxies)
        refuse_packed(request)
        response = origins.preflight(request) or await handler(request)
    except Exception as error:  # noqa: BLE001  # the outermost door: every error leaves in the contract's form
        response = broken_off(request, error) if STREAM in request else failure(request, error)
    await auditing.note(request, response.status)
    return response


async def _mark(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer, streams included."""
    headers = response.headers
    headers["X-Request-Id"] = request[REQUEST_ID]
    headers["X-Mel-Instance"] = request.app[SERVICES].instance
    headers["X-Content-Type-Options"] = "nosniff"
    origins.let_read(request, response)
    if request.app[SERVICES].draining.is_set():
        headers["Connection"] = "close"  # so that a proxy does not send its next request on this connection
        response.force_close()
    if request.headers.get("X-Debug") == "true":
        milliseconds = (time.perf_counter() - request[STARTED]) * 1000
        headers["Server-Timing"] = f"total;dur={milliseconds:.2f}"
