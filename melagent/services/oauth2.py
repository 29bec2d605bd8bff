"""OAuth 2: the authorization code flow with PKCE (RFC 6749, RFC 7636), client credentials, and the renewal of tokens.

Tokens are kept sealed beside their connection. They are renewed under the lock of its row: of several instances that
notice at once that a token ends soon, one asks for a new one and the others find it. That matters where a refresh token
works once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import aiohttp
import orjson
from yarl import URL

from melagent.domain.secrets import Secret
from melagent.errors import BadRequest, Conflict, Unavailable
from melagent.net import AddressRefused, read_at_most
from melagent.services.connections import Connections, checked, type_named
from melagent.services.credential_types import VISIBLE, OAuth2
from melagent.services.workflows import found
from melagent.store import connections, oauth_states
from melagent.store.ids import new_id
from melagent.store.oauth_states import Begun
from melagent.store.pool import transaction
from melagent.store.sealed import CONNECTION_TOKENS, OAUTH_VERIFIER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from uuid import UUID

    from melagent.services.audit import Actor
    from melagent.store.connections import StoredConnection
    from melagent.store.pool import Connection, Pool
    from melagent.vault import Vault

TYPE = "oauth2"
EARLY_SECONDS = 60.0
"""A token that ends sooner is renewed: a call with it has to arrive while it is good."""

CALL_SECONDS = 15.0
MAX_BYTES = 64 * 1024

RENEWALS_AT_ONCE = 3
"""At most, and no more than half of the pool: each holds a connection of it for up to `CALL_SECONDS`."""


class NotAuthorized(Conflict):
    """There is no token and none to be had: a person has to sign in."""

    default_message = "This connection has to be authorized: somebody has to sign in at the service."


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint has given. `expires_at` is in Unix seconds; null when it did not say."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: float | None

    @property
    def fresh(self) -> bool:
        return self.expires_at is None or self.expires_at > time.time() + EARLY_SECONDS


class Renewals:
    """Who in a process may renew tokens now: at most three, and one for each connection.

    Those who wait hold no connection of the pool, and of the smallest one (`PoolLimits`) one is left to everybody else.
    All the `OAuth` of a process share one.
    """

    def __init__(self, pool: Pool) -> None:
        self._slots = asyncio.Semaphore(max(1, min(RENEWALS_AT_ONCE, pool.get_max_size() // 2)))
        self._of: dict[UUID, asyncio.Lock] = {}

    @asynccontextmanager
    async def turn(self, connection_id: UUID) -> AsyncIterator[None]:
        async with self._of.setdefault(connection_id, asyncio.Lock()), self._slots:
            yield


class OAuth:
    """`http` is a guarded client, asked for when it is needed. Without `renewals` it is the only one of its process."""

    def __init__(
        self,
        pool: Pool,
        vault: Vault,
        http: Callable[[], aiohttp.ClientSession],
        renewals: Renewals | None = None,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._http = http
        self._connections = Connections(pool, vault)
        self._renewals = renewals or Renewals(pool)

    async def begin(self, connection_id: UUID, redirect_uri: str, actor: Actor, browser: str | None) -> str:
        """Where a person signs in, who then comes to `redirect_uri`. BadRequest for connections without that.

        `browser` is a secret of the browser that has to come back; null lets any browser.
        """
        stored = await self._connections.get(connection_id)
        client = self._client(stored)
        if client.grant != "authorization_code" or client.authorization_url is None:
            raise BadRequest("Nobody has to sign in for this connection: its grant is client_credentials.")
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        begun_id = new_id()
        begun = Begun(
            id=begun_id,
            state=_digest(state),
            connection_id=stored.id,
            verifier=self._vault.seal(verifier.encode(), OAUTH_VERIFIER.context(begun_id)),
            client=_agreed(client),
            browser=None if browser is None else _digest(browser),
            redirect_uri=redirect_uri,
            actor_kind=actor.kind,
            actor_id=actor.id,
            started_by=actor.name,
        )
        async with transaction(self._pool) as conn:
            await oauth_states.forget_stale(conn)
            await oauth_states.insert(conn, begun)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **_scope(client),
        }
        return str(URL(client.authorization_url).update_query(asked))

    async def take(self, state: str) -> Begun:
        """The sign-in that a browser came back from, once. Raises BadRequest."""
        async with transaction(self._pool) as conn:
            begun = await oauth_states.take(conn, _digest(state))
        if begun is None:
            raise BadRequest("This sign-in was not begun here, took too long, or was finished before. Begin it again.")
        return begun

    async def finish(self, begun: Begun, code: str | None, error: str | None, browser: str | None) -> StoredConnection:
        """Take in what a browser came back with.

        Raises BadRequest, also for another browser than the one that began it; Conflict when the connection is no
        longer what was agreed to, and Unavailable when the service is away.
        """
        if begun.browser is not None and not hmac.compare_digest(begun.browser, _digest(browser or "")):
            raise BadRequest("This sign-in was begun in another browser, or its cookie is gone. Begin it again.")
        if code is None:
            reason = error if error and re.fullmatch(r"[a-z_]{1,50}", error) else "no reason"
            raise BadRequest(f"The service has not given access: {reason}.")
        stored = await self._connections.get(begun.connection_id)
        client = self._agreed_client(stored, begun)
        verifier = self._vault.open(begun.verifier, OAUTH_VERIFIER.context(begun.id)).decode()
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": begun.redirect_uri}
        tokens = await self._ask(client, {**asked, "code_verifier": verifier})
        async with transaction(self._pool) as conn:
            stored = found(await connections.lock(conn, begun.connection_id), "connection")
            self._agreed_client(stored, begun)  # somebody may have changed it while the service was asked
            await self._keep(conn, stored.id, tokens)
            return found(await connections.find(conn, stored.id), "connection")

    async def opened(self, stored: StoredConnection) -> Secret:
        """The connection with an access token that is good for a minute at least, and without the client's secret.

        Raises NotAuthorized, and Unavailable when a token is needed and the service is away.
        """
        client = self._client(stored)
        tokens = self._tokens(stored)
        if tokens is None or not tokens.fresh:
            tokens = await self._renewed(stored.id)
        fields = client.model_dump(exclude_none=True, exclude={"client_secret"})
        return Secret(
            id=stored.id,
            name=stored.name,
            type=TYPE,
            fields={**fields, "access_token": tokens.access_token},
            hidden=frozenset({"access_token"}),
            headers={"Authorization": f"Bearer {tokens.access_token}"},
            query={},
            origins=client.origins,
        )

    async def _renewed(self, connection_id: UUID) -> Tokens:
        """New tokens, unless somebody else has just got some."""
        async with self._renewals.turn(connection_id):
            refused = None
            async with transaction(self._pool) as conn:
                stored = found(await connections.lock_for_call(conn, connection_id), "connection")
                tokens = self._tokens(stored)
                if tokens is not None and tokens.fresh:
                    return tokens
                client = self._client(stored)
                try:
                    renewed = await self._ask(client, _renewal(client, tokens))
                except NotAuthorized as error:  # kept: the refresh token will not work again
                    await connections.set_tokens(conn, connection_id, None)
                    refused = error
                else:
                    if renewed.refresh_token is None and tokens is not None:
                        renewed = Tokens(renewed.access_token, tokens.refresh_token, renewed.expires_at)
                    await self._keep(conn, connection_id, renewed)
                    return renewed
            raise refused

    async def _ask(self, client: OAuth2, asked: Mapping[str, str]) -> Tokens:
        """Ask the token endpoint. Redirects are not followed: the client's secret goes there and nowhere else."""
        headers, form = _proof(client)
        try:
            async with self._http().post(
                client.token_url,
                data={**asked, **_scope(client), **form},
                headers={"Accept": "application/json", **headers},
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
                allow_redirects=False,
            ) as response:
                return _read(response.status, await read_at_most(response, MAX_BYTES))
        except AddressRefused as error:
            raise Conflict(f"The token endpoint cannot be called: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("The token endpoint cannot be reached, or does not answer.") from error

    def _client(self, stored: StoredConnection) -> OAuth2:
        if stored.credential_type != TYPE:
            raise BadRequest("Only connections of the type oauth2 are authorized.")
        client = checked(type_named(TYPE), self._connections.fields_of(stored))
        return found(client if isinstance(client, OAuth2) else None, "credential type")

    def _agreed_client(self, stored: StoredConnection, begun: Begun) -> OAuth2:
        client = self._client(stored)
        if _agreed(client) != begun.client:
            raise Conflict("This connection was changed after the sign-in was begun. Look at it, and begin it again.")
        return client

    def _tokens(self, stored: StoredConnection) -> Tokens | None:
        if stored.tokens is None:
            return None
        return Tokens(**orjson.loads(self._vault.open(stored.tokens, CONNECTION_TOKENS.context(stored.id))))

    async def _keep(self, conn: Connection, connection_id: UUID, tokens: Tokens) -> None:
        blob = self._vault.seal(orjson.dumps(tokens), CONNECTION_TOKENS.context(connection_id))
        await connections.set_tokens(conn, connection_id, blob)


def _proof(client: OAuth2) -> tuple[dict[str, str], dict[str, str]]:
    """The headers and form fields by which the client proves itself (RFC 6749, 2.3.1); a public one names itself."""
    if client.client_secret is None:
        return {}, {"client_id": client.client_id}
    if client.client_auth == "post":
        return {}, {"client_id": client.client_id, "client_secret": client.client_secret}
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}, {}


def _renewal(client: OAuth2, tokens: Tokens | None) -> dict[str, str]:
    """What to ask the token endpoint for new tokens with. Raises NotAuthorized when there is nothing."""
    if client.grant == "client_credentials":
        return {"grant_type": "client_credentials"}
    if tokens is None or tokens.refresh_token is None:
        raise NotAuthorized
    return {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}


def _read(status: int, body: bytes) -> Tokens:
    """The answer of a token endpoint (RFC 6749, 5.1 and 5.2). What it says besides is passed on to nobody."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if answer.get("error") == "invalid_grant":
        raise NotAuthorized("The service takes this sign-in no longer; somebody has to sign in again.")
    if status >= 500 or status == 429:
        raise Unavailable(f"The token endpoint cannot answer right now (status {status}).")
    token = answer.get("access_token")
    if status >= 300 or not isinstance(token, str) or not re.fullmatch(VISIBLE, token):
        reason = answer.get("error")
        named = f", {reason}" if isinstance(reason, str) and re.fullmatch(r"[a-z_]{1,50}", reason) else ""
        raise Conflict(f"The token endpoint gave no token (status {status}{named}).")
    return Tokens(token, _text(answer.get("refresh_token")), _expiry(answer.get("expires_in")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _expiry(seconds: Any) -> float | None:
    try:
        return time.time() + float(seconds)
    except (TypeError, ValueError, OverflowError):
        return None


def _scope(client: OAuth2) -> dict[str, str]:
    return {"scope": " ".join(client.scopes)} if client.scopes else {}


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _agreed(client: OAuth2) -> bytes:
    """A hash of what a person agrees to: who gets the tokens, from where, for what, and where they are sent to."""
    fields = client.model_dump(mode="json", exclude={"client_secret", "test_url"})
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()
