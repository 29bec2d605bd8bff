"""Signing in and out, for people in a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from melagent.api.context import ACTOR, OIDC, PRINCIPAL, SESSION, SIGN_IN, services_of
from melagent.api.cookies import DEVICE, drop_cookie, get_cookie, keep_signed_in
from melagent.api.cookies import SESSION as SESSION_COOKIE
from melagent.api.origins import refuse_foreign
from melagent.api.wire import Answer, Body, answer
from melagent.errors import Conflict
from melagent.services import first_run
from melagent.services.audit import Actor
from melagent.services.rooms import access_changed
from melagent.services.sign_in import SignedIn, WrongPassword

UNCACHED = {"Cache-Control": "no-store"}

Email = Annotated[str, Field(max_length=320)]
Password = Annotated[str, Field(max_length=1_000)]


class Credentials(Body):
    email: Email
    password: Password


class Setup(Body):
    token: Annotated[str, Field(max_length=200)]
    email: Email
    name: Annotated[str, Field(max_length=200)] = ""
    password: Password


class PasswordChange(Body):
    old_password: Password
    new_password: Password


class MethodsAnswer(Answer):
    """`oidc`: there is a provider to sign in with, at `/api/auth/oidc/login`. `set_up`: there is an administrator."""

    oidc: bool
    set_up: bool


class MeAnswer(Answer):
    """Who is calling. `csrf_token` and `expires_at` are those of a session; a key has none and needs none."""

    kind: Literal["user", "key", "settings"]
    id: str
    name: str
    email: str | None
    role: str
    scopes: list[str]
    csrf_token: str | None
    expires_at: datetime | None


async def log_in(request: web.Request, body: Credentials) -> web.Response:
    """Sign in with email and password; the session comes as a cookie."""
    refuse_foreign(request)
    try:
        signed_in = await request.app[SIGN_IN].with_password(
            body.email, body.password, request.remote or "", get_cookie(request, DEVICE)
        )
    except WrongPassword as error:
        if error.account is not None:
            request[ACTOR] = Actor("user", str(error.account.id), error.account.email)
        raise
    return await _welcome(request, signed_in, 200)


async def methods(request: web.Request) -> web.Response:
    """The ways to sign in here besides email and password, and whether the set-up is done."""
    set_up = await first_run.is_done(services_of(request).pool)
    return answer({"oidc": OIDC in request.app, "set_up": set_up}, headers=UNCACHED)


async def set_up(request: web.Request, body: Setup) -> web.Response:
    """Make the first administrator with the token of the set-up link, and sign in."""
    refuse_foreign(request)
    signed_in = await request.app[SIGN_IN].set_up(body.token, body.email, body.name, body.password)
    return await _welcome(request, signed_in, 201)


async def log_out(request: web.Request) -> web.Response:
    """End the session of the cookie, everywhere within two seconds."""
    response = web.Response(status=204)
    if SESSION in request:
        await request.app[SIGN_IN].sessions.end(request[SESSION].token)
        access_changed(services_of(request).engine.broker)
        drop_cookie(request, response, SESSION_COOKIE)
    return response


async def me(request: web.Request) -> web.Response:
    """Who is calling, and with what rights."""
    return answer(_me(request), headers=UNCACHED)


async def change_password(request: web.Request, body: PasswordChange) -> web.Response:
    """Replace one's own password. All sessions of the user end; the caller gets a new one."""
    if SESSION not in request:
        raise Conflict("A key has no password; sign in to change yours.")
    signed_in = await request.app[SIGN_IN].change_password(request[SESSION], body.old_password, body.new_password)
    access_changed(services_of(request).engine.broker)
    return await _welcome(request, signed_in, 200)


async def _welcome(request: web.Request, signed_in: SignedIn, status: int) -> web.Response:
    """The answer that brings a new session."""
    request[SESSION] = signed_in.session
    request[PRINCIPAL] = signed_in.session.principal
    response = answer(_me(request), status, UNCACHED)
    await begin_session(request, response, signed_in)
    return response


async def begin_session(request: web.Request, response: web.Response, signed_in: SignedIn) -> None:
    """Give the browser its new session, and end the one that it had, whoever put that there."""
    if before := get_cookie(request, SESSION_COOKIE):
        await request.app[SIGN_IN].sessions.end(before)
    keep_signed_in(request, response, signed_in)


def _me(request: web.Request) -> dict[str, Any]:
    principal, session = request[PRINCIPAL], request.get(SESSION)
    return {
        "kind": principal.kind,
        "id": principal.id,
        "name": principal.name,
        "email": session.email if session else None,
        "role": principal.role.name.lower(),
        "scopes": principal.scopes.texts,
        "csrf_token": session.csrf_token if session else None,
        "expires_at": session.expires_at if session else None,
    }
