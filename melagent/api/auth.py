"""Who may call: the key or the session in the request, and the least role of the route.

A key counts before a cookie. It is sent on purpose by whoever knows it, so a call with one needs nothing else. A cookie
is sent by the browser also for pages of others. So a call that changes something and comes with a cookie needs the
token of the session in a header, which only pages that can read our answers know; and whatever comes with a cookie is
refused when the browser says that a page of another origin makes it. A socket may be opened with a ticket, for clients
that can send neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.api import scopes
from melagent.api.context import CREDENTIAL, KEYS, PRINCIPAL, SESSION, SIGN_IN, STANDING, STANDS_FOR, WORKER
from melagent.api.cookies import SESSION as SESSION_COOKIE
from melagent.api.cookies import get_cookie
from melagent.api.origins import refuse_foreign
from melagent.errors import Forbidden, Unauthenticated
from melagent.services.access import Role
from melagent.services.standing import of_key, of_session

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.route import Route
    from melagent.services.access import Principal
    from melagent.services.standing import Credential

CSRF_HEADER = "X-CSRF-Token"
READING = frozenset({"GET", "HEAD"})


async def require(request: web.Request, route: Route) -> None:
    """Refuse whoever may not call. The caller is in `request[PRINCIPAL]` afterwards, a worker in `request[WORKER]`."""
    key = _key(request)
    if key is not None:
        request[CREDENTIAL] = key
    if route.role is Role.WORKER:
        worker = await request.app[KEYS].worker(key) if key else None
        if worker is None:
            raise Unauthenticated("A valid worker token is needed.")
        request[WORKER] = worker
        return
    ticket = request.query.get("ticket") if route.socket else None
    if key is not None:
        principal = await _by_key(request, key)
    else:
        principal = await (_by_session(request) if ticket is None else _by_ticket(request, ticket))
    request[PRINCIPAL] = principal
    if principal.role < route.role:
        raise Forbidden(f"This needs the role {route.role.name.lower()}; yours is {principal.role.name.lower()}.")
    if principal.scopes.limited:
        await scopes.check(request, route, principal.scopes)


async def is_still_in(request: web.Request) -> bool:
    """Whether the key or session that a long call began with is good still."""
    if SESSION in request:
        return await request.app[SIGN_IN].sessions.find(request[SESSION].token) is not None
    return CREDENTIAL not in request or await request.app[KEYS].principal(request[CREDENTIAL]) is not None


async def require_still_a_worker(request: web.Request) -> None:
    """Refuse to go on when the token that a long call of a worker began with is good no more."""
    if await request.app[KEYS].worker(request[CREDENTIAL]) is None:
        raise Unauthenticated("This worker token has been revoked or has expired.")


def credential_of(request: web.Request) -> Credential:
    """What a caller who was let in came with, for asking later whether it is good still."""
    if STANDS_FOR in request:
        return request[STANDS_FOR]
    return of_session(request[SESSION]) if SESSION in request else of_key(request[CREDENTIAL])


async def _by_ticket(request: web.Request, ticket: str) -> Principal:
    used = await request.app[STANDING].use_ticket(ticket)
    if used is None:
        raise Unauthenticated("The ticket is unknown, used or too old; get another one.")
    request[STANDS_FOR], principal = used
    return principal


async def _by_key(request: web.Request, key: str) -> Principal:
    principal = await request.app[KEYS].principal(key)
    if principal is None:
        raise Unauthenticated
    return principal


async def _by_session(request: web.Request) -> Principal:
    token = get_cookie(request, SESSION_COOKIE)
    if not token:
        raise Unauthenticated
    session = await request.app[SIGN_IN].sessions.find(token)
    if session is None:
        raise Unauthenticated("The session has ended; sign in again.")
    request[SESSION] = session
    refuse_foreign(request)
    if request.method not in READING and not session.is_csrf_token(request.headers.get(CSRF_HEADER, "")):
        raise Forbidden(f"A call with a cookie needs the header {CSRF_HEADER}; GET /api/auth/me tells its value.")
    return session.principal


def _key(request: web.Request) -> str | None:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    return request.headers.get("X-API-Key")
