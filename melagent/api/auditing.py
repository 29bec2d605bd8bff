"""What of a call goes into the audit log."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from melagent.api.context import (
    ABOUT,
    ACTOR,
    AUDIT,
    CREDENTIAL,
    KEYS,
    MADE,
    PRINCIPAL,
    REQUEST_ID,
    ROUTE,
    SESSION,
    WORKER,
)
from melagent.services.access import Role
from melagent.services.audit import ANYBODY, Act, Actor
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.route import Route

CALLBACKS = frozenset({("GET", "/api/auth/oidc/callback"), ("GET", "/oauth2/callback")})
"""What browsers come back to from a sign-in: it changes something although it is a GET."""

LEFT_OUT = frozenset(
    {
        ("POST", "/api/workflows/{id}/execute"),
        ("POST", "/api/workflows/{id}/draft/expressions/preview"),
        ("POST", "/api/auth/ws-ticket"),
    }
)
"""Starts of deployed workflows, whose runs say who started them, and what happens to be a POST but changes nothing."""

REFUSALS = frozenset({401, 403, 429})
SECRET_IN_PATH = "token"  # noqa: S105  # the name of a place in a path


def is_audited(route: Route) -> bool:
    """Whether each call of a route leaves a row. Webhooks, the demo (`*`) and the worker protocol leave none."""
    line = (route.method, route.path)
    return line in CALLBACKS or (
        route.method not in ("GET", "*") and route.role is not Role.WORKER and line not in LEFT_OUT
    )


async def note(request: web.Request, status: int) -> None:
    """Put a call that was answered with this status into the log, if it belongs there."""
    route = request.get(ROUTE)
    if route is None:
        return
    known = PRINCIPAL in request or CREDENTIAL in request
    if (status in REFUSALS and known) or (status >= 400 and route.role is Role.OPEN and is_audited(route)):
        request.app[AUDIT].refused(await _act(request, route, status))
    elif is_audited(route) and (known or route.role is Role.OPEN):
        await request.app[AUDIT].record(await _act(request, route, status))


def principal_as_actor(request: web.Request) -> Actor:
    """Who makes a call that has been let in."""
    principal, session = request[PRINCIPAL], request.get(SESSION)
    return Actor(principal.kind, principal.id, session.email if session else principal.name)


async def _act(request: web.Request, route: Route, status: int) -> Act:
    ids = {name: value for name, value in request.match_info.items() if name != SECRET_IN_PATH}
    if ABOUT in request:
        ids["id"] = str(request[ABOUT])
    if MADE in request:
        ids["made"] = str(request[MADE])
    return Act(
        actor=await _actor(request),
        action=f"{route.method} {route.path}",
        status=status,
        address=request.remote or "",
        request_id=request[REQUEST_ID],
        ids=ids,
    )


async def _actor(request: web.Request) -> Actor:
    """Who called: also somebody whose key was good once."""
    if ACTOR in request:
        return request[ACTOR]
    if PRINCIPAL in request:
        return principal_as_actor(request)
    if WORKER in request:
        return Actor("worker", request[WORKER].id, request[WORKER].name)
    owner = None
    if CREDENTIAL in request:
        with suppress(*MAY_PASS):  # the call has been refused, and is answered so whether its owner is found or not
            owner = await request.app[KEYS].owner(request[CREDENTIAL])
    if owner is None:
        return ANYBODY
    return Actor("key" if owner.kind == "api" else "worker", str(owner.id), owner.name)
