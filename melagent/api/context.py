"""What handlers find in the application and in the request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from aiohttp import web

from melagent.api.editor import BuiltEditor
from melagent.api.route import Route
from melagent.errors import NotFound
from melagent.realtime.hub import Hub
from melagent.services.access import Keys, Principal, WorkerPrincipal
from melagent.services.audit import Actor, AuditLog
from melagent.services.connection_checks import Checker
from melagent.services.connections import Connections
from melagent.services.deliveries import Deliveries
from melagent.services.drafts import Editor, author_of
from melagent.services.oauth2 import OAuth, Renewals
from melagent.services.oidc import Oidc, OidcConfig
from melagent.services.rate_limits import RateLimits
from melagent.services.renames import rewriter
from melagent.services.secrets import Secrets
from melagent.services.sessions import Session
from melagent.services.sign_in import SignIn
from melagent.services.standing import Credential, Standing
from melagent.services.webhook_gate import Gate
from melagent.services.webhook_tests import WebhookTests
from melagent.services.webhooks import Webhooks
from melagent.services.workers import Workers
from melagent.store.run_keys import Claim
from melagent.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from melagent.api.proxies import Networks
    from melagent.engine.engine import Engine
    from melagent.realtime.seats import SeatStore
    from melagent.registry import Registry
    from melagent.store.pool import Pool


@dataclass(frozen=True, slots=True)
class Services:
    """What the API stands on; made once by the program and given to `build_app`.

    A connection on which no whole head of a call came for `keepalive_seconds` is closed.

    `migrations` are the ids that the schema must have. `public_url` is what webhook addresses begin with; null derives
    it from the request, as a proxy among `trusted_proxies` tells it. Setting `draining` turns /ready to 503 and ends
    streams with a hint to reconnect. `leases` counts the runs that this very process has leased. No webhook lets
    more than `webhook_per_second` calls pass. `http_allow` are private addresses at which connections may be tried.
    `seats` is where the people in rooms are kept, in PostgreSQL when it is null; an instance that drains sends its
    sockets away within `farewell_seconds`. One that opens no secrets is ready without their keys.
    `web_folder` holds the built editor.
    """

    pool: Pool
    engine: Engine
    registry: Registry
    instance: str
    version: str
    migrations: frozenset[str] = frozenset()
    demo: bool = False
    public_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    metrics_access: Literal["open", "token", "port"] = "open"
    trusted_proxies: Networks = ()
    bootstrap_key: str | None = None
    worker_token: str | None = None
    keepalive_seconds: float = 130.0
    heartbeat_seconds: float = 5.0
    vault: Vault = field(default_factory=lambda: Vault(()))
    renewals: Renewals | None = None
    http_allow: tuple[str, ...] = ()
    leases: Callable[[], int] = lambda: 0
    requests_per_second: float | None = None
    oidc: OidcConfig | None = None
    webhook_per_second: float | None = None
    seats: SeatStore | None = None
    farewell_seconds: float = 5.0
    opens_secrets: bool = True
    web_folder: Path | None = None
    draining: asyncio.Event = field(default_factory=asyncio.Event)


SERVICES = web.AppKey("services", Services)
AUDIT = web.AppKey("audit", AuditLog)
KEYS = web.AppKey("keys", Keys)
SIGN_IN = web.AppKey("sign_in", SignIn)
STANDING = web.AppKey("standing", Standing)
HUB = web.AppKey("hub", Hub)
LIMITS = web.AppKey("limits", RateLimits)
OIDC = web.AppKey("oidc", Oidc)
"""Only where a provider is set up."""
WEBHOOKS = web.AppKey("webhooks", Webhooks)
GATE = web.AppKey("gate", Gate)
DELIVERIES = web.AppKey("deliveries", Deliveries)
WEBHOOK_TESTS = web.AppKey("webhook_tests", WebhookTests)
WORKERS = web.AppKey("workers", Workers)
CONNECTIONS = web.AppKey("connections", Connections)
SECRETS = web.AppKey("secrets", Secrets)
CHECKER = web.AppKey("checker", Checker)
OAUTH = web.AppKey("oauth", OAuth)
BUILT_EDITOR = web.AppKey("built_editor", BuiltEditor)
STARTED_AT = web.AppKey("started_at", float)
"""On the monotonic clock."""

REQUEST_ID = web.RequestKey("request_id", str)
STARTED = web.RequestKey("started", float)
ROUTE = web.RequestKey("route", Route)
PRINCIPAL = web.RequestKey("principal", Principal)
SESSION = web.RequestKey("session", Session)
"""Set for a call that came with the cookie of a session, and for one that began a session."""
CREDENTIAL = web.RequestKey("credential", str)
"""The key that was sent, good or not."""
STANDS_FOR = web.RequestKey("stands_for", Credential)
"""Set for a call that came with the ticket of a credential."""
ACTOR = web.RequestKey("actor", Actor)
"""Whom a refused sign-in was about; for the audit log."""
MADE = web.RequestKey("made", UUID)
"""The id of what a call makes."""
ABOUT = web.RequestKey("about", UUID)
"""The id of what a call is about whose path does not say it; for the audit log."""
WORKER = web.RequestKey("worker", WorkerPrincipal)
CLAIM = web.RequestKey("claim", Claim)
"""Set for a call that came with an idempotency key."""
STREAM = web.RequestKey("stream", web.StreamResponse)
"""Set once an answer has begun that is sent bit by bit."""


def services_of(request: web.Request) -> Services:
    return request.app[SERVICES]


def editor_of(request: web.Request) -> Editor:
    """As whom a call edits drafts."""
    services = services_of(request)
    return Editor(services.pool, services.engine.broker, author_of(request[PRINCIPAL]), rewriter(services.registry))


def public_url(request: web.Request) -> str:
    """What the addresses that we give away begin with."""
    configured = services_of(request).public_url
    return configured.rstrip("/") if configured else f"{request.scheme}://{request.host}"


def webhook_url(request: web.Request, token: str) -> str:
    """The address of a webhook."""
    return f"{public_url(request)}/webhooks/{token}"


def uuid_in_path(request: web.Request, name: str = "id") -> UUID:
    """The id in a path. What is not an id names nothing, so it is NotFound."""
    text = request.match_info[name]
    try:
        found = UUID(text)
    except ValueError:
        raise NotFound(f"There is nothing with the id {text[:100]!r}.") from None
    if str(found) != text.lower():
        raise NotFound(f"There is nothing with the id {text[:100]!r}.")
    return found
