"""Connections, and what there is to connect to. A secret is in no answer."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from melagent.api.auditing import principal_as_actor
from melagent.api.context import (
    ABOUT,
    ACTOR,
    CHECKER,
    CONNECTIONS,
    OAUTH,
    PRINCIPAL,
    SECRETS,
    SESSION,
    public_url,
    uuid_in_path,
)
from melagent.api.cookies import OAUTH as OAUTH_COOKIE
from melagent.api.cookies import get_cookie, set_cookie
from melagent.api.idempotency import fresh_id
from melagent.api.wire import Answer, Body, Name, answer, first_page
from melagent.api.workflows import PageQuery
from melagent.services import oauth2
from melagent.services.audit import Actor
from melagent.services.connections import checked, masked, type_named
from melagent.services.credential_types import INTEGRATIONS, TYPES
from melagent.store.oauth_states import STALE_SECONDS

if TYPE_CHECKING:
    from melagent.services.credential_types import CredentialType
    from melagent.store.connections import StoredConnection

Fields = dict[str, Any]

BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")

CONNECTED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Connected</title>
<p>The connection <b>NAME</b> is authorized. You can close this window.</p></html>
"""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class ConnectionsQuery(PageQuery):
    credential_type: str | None = Field(default=None, max_length=100)


class NewConnection(Body):
    name: Name
    credential_type: str = Field(max_length=100, description="One of `/api/credential-types`")
    config: Fields = Field(description="Its fields, as the schema of the type has them")


class ConnectionChange(Body):
    """What is left out stays as it is, and so does a masked secret; a field that is null falls to its default."""

    name: Name | None = None
    config: Fields | None = None


class DeleteConnectionQuery(Body):
    force: bool = Field(default=False, description="Delete it although deployed versions use it")


class TrialBody(Body):
    config: Fields


class ConnectionAnswer(Answer):
    """In `config` each secret that is set is `•••`. `authorized`: OAuth 2 has given tokens; null for other types."""

    id: UUID
    name: str
    credential_type: str
    integration: str
    config: Fields
    authorized: bool | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class ConnectionsAnswer(Answer):
    connections: list[ConnectionAnswer]
    total: int
    next_cursor: UUID | None


class UseAnswer(Answer):
    """A node of the version that is deployed, or a trigger made by hand; the other one of the two is null."""

    workflow_id: UUID
    workflow_name: str
    node_id: str | None
    trigger_id: UUID | None


class UsesAnswer(Answer):
    uses: list[UseAnswer]


class CredentialAnswer(Answer):
    """A connection to choose from."""

    id: UUID
    name: str
    credential_type: str
    integration: str


class CredentialsAnswer(Answer):
    credentials: list[CredentialAnswer]
    total: int
    next_cursor: UUID | None


class CredentialTypeAnswer(Answer):
    """`schema` is a JSON Schema; fields with `x-secret` are secret."""

    id: str
    name: str
    integration: str
    secret_fields: list[str]
    schema_: Fields = Field(alias="schema")


class IntegrationAnswer(Answer):
    id: str
    name: str
    credential_types: list[str]


class AuthorizationAnswer(Answer):
    """`redirect_uri` is what has to be registered at the service."""

    authorization_url: str
    redirect_uri: str


class CallbackQuery(BaseModel):
    """What a service adds besides is left aside."""

    state: str = Field(min_length=1, max_length=500)
    code: str | None = Field(default=None, min_length=1, max_length=8_000)
    error: str | None = Field(default=None, max_length=500)


class TrialAnswer(Answer):
    """`message` says what was found; never what the other side has answered."""

    success: bool
    message: str


async def list_connections(request: web.Request, query: ConnectionsQuery) -> web.Response:
    """Connections, newest first."""
    page, total, next_cursor = await _page(request, query)
    return answer({"connections": list(map(_shown, page)), "total": total, "next_cursor": next_cursor})


async def list_credentials(request: web.Request, query: ConnectionsQuery) -> web.Response:
    """Connections to choose from, newest first, of one credential type or of all."""
    page, total, next_cursor = await _page(request, query)
    return answer({"credentials": list(map(_named, page)), "total": total, "next_cursor": next_cursor})


async def create_connection(request: web.Request, body: NewConnection) -> web.Response:
    """Store a connection, its secrets encrypted."""
    made = await request.app[CONNECTIONS].create(
        fresh_id(request), body.name, body.credential_type, body.config, request[PRINCIPAL].name
    )
    return answer(_shown(made), 201)


async def get_connection(request: web.Request) -> web.Response:
    """A connection, its secrets masked."""
    return answer(_shown(await request.app[CONNECTIONS].get(uuid_in_path(request))))


async def update_connection(request: web.Request, body: ConnectionChange) -> web.Response:
    """Change a connection. A secret that is not given anew cannot be pointed at another host."""
    changed = await request.app[CONNECTIONS].update(uuid_in_path(request), body.name, body.config)
    return answer(_shown(changed))


async def list_uses(request: web.Request) -> web.Response:
    """Where a connection is used: by deployed versions, and by triggers made by hand; the first hundred places."""
    return answer({"uses": await request.app[CONNECTIONS].uses(uuid_in_path(request))})


async def delete_connection(request: web.Request, query: DeleteConnectionQuery) -> web.Response:
    """Delete a connection. While deployed versions use it that is a conflict, which says where."""
    await request.app[CONNECTIONS].delete(uuid_in_path(request), force=query.force)
    return web.Response(status=204)


async def test_connection(request: web.Request) -> web.Response:
    """Try a connection at the third party."""
    connections, checker = request.app[CONNECTIONS], request.app[CHECKER]
    stored = await connections.get(uuid_in_path(request))
    if stored.credential_type == oauth2.TYPE:
        return answer(await checker.check_token(await request.app[SECRETS].open(stored.id)))
    kind = type_named(stored.credential_type)
    return answer(await checker.check(checked(kind, connections.fields_of(stored))))


async def authorize_connection(request: web.Request) -> web.Response:
    """Begin a sign-in at the service of an OAuth 2 connection: open `authorization_url` in a browser.

    Begun with a session, it has to be finished in the same browser.
    """
    redirect_uri = f"{public_url(request)}/oauth2/callback"
    browser = _browser(request) if SESSION in request else None
    url = await request.app[OAUTH].begin(uuid_in_path(request), redirect_uri, principal_as_actor(request), browser)
    begun = answer({"authorization_url": url, "redirect_uri": redirect_uri}, headers={"Cache-Control": "no-store"})
    if browser is not None:
        set_cookie(request, begun, OAUTH_COOKIE, browser, STALE_SECONDS)
    return begun


async def oauth2_callback(request: web.Request, query: CallbackQuery) -> web.Response:
    """Where a browser comes back to from a sign-in. Works once, for a sign-in that was begun here."""
    begun = await request.app[OAUTH].take(query.state)
    request[ACTOR] = Actor(begun.actor_kind, begun.actor_id, begun.started_by)
    request[ABOUT] = begun.connection_id
    connection = await request.app[OAUTH].finish(begun, query.code, query.error, get_cookie(request, OAUTH_COOKIE))
    page = CONNECTED.replace("NAME", escape(connection.name))
    return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)


async def list_credential_types(_request: web.Request) -> web.Response:
    """All credential types with their schemas."""
    return answer([_type(kind) for kind in TYPES.values()])


async def get_credential_schema(request: web.Request) -> web.Response:
    """The JSON Schema of the fields of a credential type."""
    return answer(type_named(request.match_info["type"]).schema)


async def test_credentials(request: web.Request, body: TrialBody) -> web.Response:
    """Try credentials at the third party without storing them."""
    kind = type_named(request.match_info["type"])
    return answer(await request.app[CHECKER].check(checked(kind, body.config)))


async def list_integrations(_request: web.Request) -> web.Response:
    """The third parties that there are credential types for."""
    of = {name: [kind.id for kind in TYPES.values() if kind.integration == name] for name in INTEGRATIONS}
    return answer([{"id": key, "name": name, "credential_types": of[key]} for key, name in INTEGRATIONS.items()])


def _browser(request: web.Request) -> str:
    """What a browser is known by: its cookie, if it has one, so that several sign-ins can be under way in it."""
    known = get_cookie(request, OAUTH_COOKIE)
    return known if known and BROWSER.fullmatch(known) else secrets.token_urlsafe(32)


async def _page(request: web.Request, query: ConnectionsQuery) -> tuple[list[StoredConnection], int, UUID | None]:
    connections = request.app[CONNECTIONS]
    found, total = await connections.page(query.credential_type, query.cursor, query.limit + 1)
    page, next_cursor = first_page(found, query.limit)
    return page, total, next_cursor


def _named(stored: StoredConnection) -> dict[str, Any]:
    kind = TYPES.get(stored.credential_type)
    return {
        "id": stored.id,
        "name": stored.name,
        "credential_type": stored.credential_type,
        "integration": kind.integration if kind else "",
    }


def _shown(stored: StoredConnection) -> dict[str, Any]:
    return {
        **_named(stored),
        "config": masked(stored),
        "authorized": stored.tokens is not None if stored.credential_type == "oauth2" else None,
        "created_by": stored.created_by,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def _type(kind: CredentialType) -> dict[str, Any]:
    return {
        "id": kind.id,
        "name": kind.name,
        "integration": kind.integration,
        "secret_fields": sorted(kind.hidden),
        "schema": kind.schema,
    }
