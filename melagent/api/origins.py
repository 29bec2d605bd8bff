"""Which pages in a browser may call: our own, and those of `server.allowed_origins`.

A call that carries a session's cookie, and a call that begins a session, is refused when the browser says that a page
of somebody else made it. Pages of allowed origins get the headers that let them read the answers (CORS).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import hdrs, web

from melagent.api.context import public_url, services_of
from melagent.errors import Forbidden

ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key, X-CSRF-Token, X-Debug, X-Request-Id"
)
EXPOSED_HEADERS = "Retry-After, Server-Timing, X-Mel-Instance, X-Request-Id"
PREFLIGHT_SECONDS = "600"


def refuse_foreign(request: web.Request) -> None:
    """Raise Forbidden for a call that a page of another origin makes."""
    if not is_own(request):
        raise Forbidden("A page of another origin may not make this call; see server.allowed_origins.")


def is_own(request: web.Request) -> bool:
    """Whether the page that makes a call is ours or allowed; true when nothing is said about a page.

    `Sec-Fetch-Site` is the browser's own word and needs no knowledge of how we are reached, so a proxy that changes
    `Host` does not matter. Browsers that do not send it send `Origin` with whatever is not a plain GET.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin in services_of(request).allowed_origins:
        return True
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or origin == _origin_of(public_url(request))


def preflight(request: web.Request) -> web.Response | None:
    """The answer to a browser that asks whether an allowed page may make a call."""
    asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    if not asks or not request.path.startswith("/api/") or not _is_allowed(request):
        return None
    return web.Response(
        status=204,
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, PUT, DELETE",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOWED_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_SECONDS,
        },
    )


def let_read(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of allowed origins read an answer."""
    if not services_of(request).allowed_origins:
        return
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    if _is_allowed(request):
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS


def _is_allowed(request: web.Request) -> bool:
    return request.headers.get(hdrs.ORIGIN) in services_of(request).allowed_origins


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
