"""Signing in with an OpenID Connect provider: authorization code with PKCE.

What ties an answer of the provider to the browser that asked is one random secret in a cookie: the state, the nonce and
the PKCE verifier all follow from it. So nothing is stored meanwhile, and any instance can finish what another began.

Whoever comes is known by issuer and subject. The first time, a verified email leads to the account with that email, or
makes one. An account that belongs to one subject is never given to another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import structlog

from melagent.errors import Conflict, Forbidden, MelError, Unauthenticated
from melagent.services.access import Role
from melagent.services.users import add, address_of
from melagent.store import users

if TYPE_CHECKING:
    import aiohttp

    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Account

SCOPE = "openid email profile"
BEGIN_SECONDS = 600.0
"""How long somebody may take at the provider."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """What the settings say. A client without a secret is a public one; PKCE protects both."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    default_role: Literal["viewer", "editor", "admin", "none"] = "viewer"
    http_allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way; `secret` is what the browser keeps meanwhile."""

    secret: str

    @classmethod
    def begin(cls) -> Attempt:
        return cls(_text(secrets.token_bytes(32)))

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: str) -> str:
        return _text(hmac.digest(self.secret.encode("utf-8", "replace"), purpose.encode(), "sha256"))


class Oidc:
    """Sends people to the provider, and takes them in when they come back."""

    def __init__(self, pool: Pool, config: OidcConfig, http: aiohttp.ClientSession) -> None:
        self._pool = pool
        self._config = config
        from melagent.services.provider import Provider  # noqa: PLC0415  # its library is for those who need it

        self._provider = Provider(config.issuer, config.client_id, config.client_secret, http)

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where the browser goes to. Raises Unavailable when the provider cannot be asked."""
        metadata = await self._provider.metadata()
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(asked)}"

    async def account(self, attempt: Attempt, state: str, code: str, redirect_uri: str) -> Account:
        """Who has come back. Raises Unauthenticated for what was not begun in this browser, or is not proven; Forbidden
        for somebody who may not come in; Unavailable when the provider cannot be asked.
        """
        from melagent.services.provider import TokenRefused  # noqa: PLC0415  # as above

        if not hmac.compare_digest(state.encode("utf-8", "replace"), attempt.state.encode()):
            raise Unauthenticated("This sign-in was not begun in this browser, or too long ago; begin again.")
        try:
            claims = await self._provider.claims(code, attempt.verifier, attempt.nonce, redirect_uri)
        except TokenRefused as error:
            log.warning("sign-in with OpenID Connect refused", reason=str(error))
            raise Unauthenticated("The provider's answer does not prove who you are; begin again.") from None
        async with self._pool.acquire() as conn:
            account = await self._found_or_made(conn, claims)
        if account.disabled_at is not None:
            raise Forbidden("This account is disabled.")
        return account

    async def _found_or_made(self, conn: Connection, claims: dict[str, Any]) -> Account:
        identity = (str(claims["iss"]), str(claims["sub"]))
        known = await users.account_of_subject(conn, *identity)
        if known is not None:
            return known
        email = _verified_email(claims)
        if not await users.bind_subject(conn, email, *identity):
            await self._make(conn, email, claims, identity)
        bound = await users.account_of_subject(conn, *identity)
        if bound is None:
            raise Forbidden(f"The account {email} belongs to another identity of the provider.")
        return bound

    async def _make(self, conn: Connection, email: str, claims: dict[str, Any], identity: tuple[str, str]) -> None:
        """Make an account, unless there is one with this email by now."""
        if self._config.default_role == "none":
            raise Forbidden("There is no account with your email; ask an administrator to make one.")
        name = " ".join(str(claims.get("name") or "").split())[:200]
        try:
            await add(conn, email, name, Role[self._config.default_role.upper()], None, identity)
        except Conflict:
            return  # somebody's, or one's own that another tab has just made


def _verified_email(claims: dict[str, Any]) -> str:
    """The email that the provider vouches for. Some providers write the truth as a text."""
    verified = claims.get("email_verified")
    if verified is not True and verified != "true":
        raise Forbidden("The provider does not say that your email address is verified.")
    try:
        return address_of(str(claims.get("email") or ""))
    except MelError:
        raise Forbidden("The provider does not tell an email address that can be used.") from None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
