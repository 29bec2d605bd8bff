"""Signing in with an OpenID Connect provider: the way there, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from aiohttp import web
from pydantic import Field

from melagent.api.context import OIDC, PRINCIPAL, SERVICES, SESSION, SIGN_IN, public_url
from melagent.api.cookies import OIDC as OIDC_COOKIE
from melagent.api.cookies import drop_cookie, get_cookie, set_cookie
from melagent.api.sign_in import UNCACHED, begin_session
from melagent.api.wire import Answer, Body
from melagent.errors import NotFound, Unauthenticated
from melagent.net import guarded_session
from melagent.services.oidc import BEGIN_SECONDS, Attempt, Oidc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALLBACK = "/api/auth/oidc/callback"
PATH_HERE = re.compile(r"/(?![/\\])[!-~]{0,1000}")
"""An address on this very server; `//` and `/\\` lead elsewhere."""


class LoginQuery(Body):
    """`return_to` is where the browser goes afterwards, a path on this server."""

    return_to: str = Field(default="/", max_length=1_000)


class CallbackQuery(Answer):
    """What a provider adds to the address; fields that are not known mean nothing."""

    code: str = Field(default="", max_length=4_000)
    state: str = Field(default="", max_length=200)
    error: str = Field(default="", max_length=200)


async def open_oidc(app: web.Application) -> AsyncIterator[None]:
    """The client of the provider. The setting that names the provider allows its address, be it a private one."""
    services = app[SERVICES]
    config = services.oidc
    if config is None:
        yield
        return
    async with guarded_session((*config.http_allow, _host_and_port(config.issuer))) as http:
        app[OIDC] = Oidc(services.pool, config, http)
        yield


async def log_in(request: web.Request, query: LoginQuery) -> web.Response:
    """Go to the OpenID Connect provider to sign in, and come back."""
    attempt = Attempt.begin()
    address = await _oidc(request).address(attempt, f"{public_url(request)}{CALLBACK}")
    return_to = query.return_to if PATH_HERE.fullmatch(query.return_to) else "/"
    response = _redirect(address)
    set_cookie(request, response, OIDC_COOKIE, f"{attempt.secret}.{quote(return_to, safe='')}", BEGIN_SECONDS)
    return response


async def come_back(request: web.Request, query: CallbackQuery) -> web.Response:
    """Where the provider sends the browser: signs in whoever has shown there who they are."""
    oidc = _oidc(request)
    secret, _, return_to = (get_cookie(request, OIDC_COOKIE) or "").partition(".")
    if query.error:
        raise Unauthenticated(f"The provider did not sign you in: {re.sub('[^a-z_]', '', query.error)}.")
    if not secret:
        raise Unauthenticated("This sign-in was not begun in this browser, or too long ago; begin again.")
    account = await oidc.account(Attempt(secret), query.state, query.code, f"{public_url(request)}{CALLBACK}")
    signed_in = await request.app[SIGN_IN].as_account(account)
    request[SESSION], request[PRINCIPAL] = signed_in.session, signed_in.session.principal
    return_to = unquote(return_to)
    response = _redirect(return_to if PATH_HERE.fullmatch(return_to) else "/")
    await begin_session(request, response, signed_in)
    drop_cookie(request, response, OIDC_COOKIE)
    return response


def _oidc(request: web.Request) -> Oidc:
    if OIDC not in request.app:
        raise NotFound("Sign-in with OpenID Connect is not set up here; see MEL_OIDC_ISSUER.")
    return request.app[OIDC]


def _redirect(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address, **UNCACHED})


def _host_and_port(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
