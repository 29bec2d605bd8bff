"""An OpenID Connect provider as its client sees it: discovery, keys, codes and tokens.

Every answer is limited in size and time, no redirect is followed, and only signatures with a public key are believed
(OpenID Connect Core 1.0, section 3.1.3.7).
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import aiohttp
import orjson
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ValidationError

from melagent.errors import Unavailable
from melagent.services.memory import BriefMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""With a public key each: neither `none`, nor one whose key the client shares."""

KEPT_SECONDS = 3600.0
CALL_SECONDS = 10.0
MAX_BYTES = 1024 * 1024
LEEWAY_SECONDS = 60
"""How far the clock of the provider may be from ours."""


class TokenRefused(Exception):
    """The provider's answer does not prove who somebody is. The message holds nothing of the token."""


class Metadata(BaseModel):
    """What is used of the provider's description (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Provider:
    """Remembers the description and the keys for an hour; a key that is not among them is asked for at once."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None, http: aiohttp.ClientSession) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._secret = client_secret
        self._http = http
        self._metadata = BriefMemory(self._discover, KEPT_SECONDS)
        self._keys = BriefMemory(self._load_keys, KEPT_SECONDS)

    async def metadata(self) -> Metadata:
        """Raises Unavailable when the provider cannot be asked, or describes somebody else."""
        return await self._metadata.get(self._issuer)

    async def claims(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> dict[str, Any]:
        """What the provider says of whoever brought the code. Raises TokenRefused, or Unavailable as above."""
        tokens = await self._exchange(code, verifier, redirect_uri)
        claims = await self._checked(str(tokens.get("id_token") or ""), nonce)
        if "email" in claims:
            return claims
        return {**await self._userinfo(str(tokens.get("access_token") or ""), claims["sub"]), **claims}

    async def _exchange(self, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        if self._secret is None:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"  # RFC 6749, section 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        status, answer = await self._ask("POST", metadata.token_endpoint, headers, form)
        if status != 200:
            raise TokenRefused(f"the token endpoint answered {status}")
        return answer

    async def _checked(self, id_token: str, nonce: str) -> dict[str, Any]:
        metadata = await self.metadata()
        try:
            token = jwt.decode(id_token, await self._keys.get(metadata.jwks_uri), ALGORITHMS)
        except (InvalidKeyIdError, BadSignatureError):  # the provider may have changed its keys
            token = await self._decoded_anew(id_token, metadata)
        except (JoseError, ValueError) as error:
            raise TokenRefused(f"id token: {type(error).__name__}") from None
        expected = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": metadata.issuer},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            expected.validate(token.claims)
        except JoseError as error:
            raise TokenRefused(f"id token: {error}") from None
        if token.claims.get("azp", self._client_id) != self._client_id:
            raise TokenRefused("id token: it was made for another client")
        return dict(token.claims)

    async def _decoded_anew(self, id_token: str, metadata: Metadata) -> jwt.Token:
        try:
            return jwt.decode(id_token, await self._keys.get_anew(metadata.jwks_uri), ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise TokenRefused(f"id token: {type(error).__name__}") from None

    async def _userinfo(self, access_token: str, subject: Any) -> dict[str, Any]:
        """What the provider tells besides; nothing when it is about somebody else (section 5.3.2)."""
        endpoint = (await self.metadata()).userinfo_endpoint
        if endpoint is None or not access_token.isprintable():
            return {}
        status, told = await self._ask("GET", endpoint, {"Authorization": f"Bearer {access_token}"})
        return told if status == 200 and told.get("sub") == subject else {}

    async def _discover(self, issuer: str) -> Metadata:
        status, told = await self._ask("GET", f"{issuer}/.well-known/openid-configuration")
        try:
            metadata = Metadata.model_validate(told)
        except ValidationError:
            raise Unavailable(f"The sign-in provider {issuer} does not describe itself ({status}).") from None
        if metadata.issuer.rstrip("/") != issuer:
            raise Unavailable(f"The sign-in provider {issuer} describes itself as another one.")
        addresses = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        allowed = ("https",) if issuer.startswith("https:") else ("https", "http")
        if any(urlsplit(address).scheme not in allowed for address in addresses):
            raise Unavailable(f"The sign-in provider {issuer} names an address that is not https.")
        return metadata

    async def _load_keys(self, address: str) -> KeySet:
        _, told = await self._ask("GET", address)
        try:
            return KeySet.import_key_set(told)  # type: ignore[arg-type]  # it checks what it is given
        except (JoseError, ValueError, KeyError, TypeError):
            raise Unavailable("The keys of the sign-in provider cannot be read.") from None

    async def _ask(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer; an empty object when it is none."""
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._http.request(
                    method, address, headers={"Accept": "application/json", **(headers or {})}, data=form,
                    allow_redirects=False,
                ) as response,
            ):  # fmt: skip  # one call
                body = b""
                async for part in response.content.iter_chunked(64 * 1024):
                    body += part
                    if len(body) > MAX_BYTES:
                        raise Unavailable("The sign-in provider answers with too much.")
                return response.status, _object(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable("The sign-in provider cannot be reached; try again.") from error


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
