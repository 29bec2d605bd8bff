"""The cookies of signing in, here and at third parties: the session's, and those by which a browser is known again.

Over https they are `Secure` and carry the prefix `__Host-`: no other host of the same domain can set them. A cookie
without the prefix means nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.api.context import public_url
from melagent.services.sessions import LIFETIME_SECONDS

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.services.sign_in import SignedIn

SESSION = "mel_session"
DEVICE = "mel_device"
OIDC = "mel_oidc"
OAUTH = "mel_oauth"

DEVICE_SECONDS = 365 * 24 * 3600


def get_cookie(request: web.Request, name: str) -> str | None:
    return request.cookies.get(_full(request, name))


def set_cookie(request: web.Request, response: web.StreamResponse, name: str, value: str, seconds: float) -> None:
    """Not readable by scripts, and sent from other sites only when somebody follows a link to us."""
    response.set_cookie(
        _full(request, name),
        value,
        max_age=int(seconds),
        path="/",
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
    )


def drop_cookie(request: web.Request, response: web.StreamResponse, name: str) -> None:
    response.del_cookie(_full(request, name), path="/", httponly=True, samesite="Lax", secure=is_secure(request))


def keep_signed_in(request: web.Request, response: web.StreamResponse, signed_in: SignedIn) -> None:
    """Give the browser its new session; what it held before counts no longer."""
    set_cookie(request, response, SESSION, signed_in.session.token, LIFETIME_SECONDS)
    set_cookie(request, response, DEVICE, signed_in.device_token, DEVICE_SECONDS)


def is_secure(request: web.Request) -> bool:
    """Whether browsers reach us by https: by our public URL, or as a trusted proxy tells."""
    return public_url(request).startswith("https://")


def _full(request: web.Request, name: str) -> str:
    return f"__Host-{name}" if is_secure(request) else name
