"""An OpenID Connect provider on loopback that speaks the real protocol, and can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

if TYPE_CHECKING:
    from aiohttp.test_utils import TestServer

CLIENT_ID = "mel agent"
CLIENT_SECRET = "s3cret: with/odd+parts"


def _text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def rsa(kid):
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


@dataclass
class Person:
    sub: str = "subject-1"
    email: str | None = "ada@example.com"
    email_verified: Any = True
    name: str | None = "Ada"

    def claims(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Provider:
    """`claims` overrides what the id token says; `signing` is the key that signs, `published` what the JWKS shows."""

    person: Person = field(default_factory=Person)
    claims: dict[str, Any] = field(default_factory=dict)
    signing: Any = field(default_factory=lambda: rsa("first"))
    algorithm: str = "RS256"
    hmac_key: bytes = b""
    published: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    told_by_userinfo: dict[str, Any] | None = None
    secret: str | None = CLIENT_SECRET
    requests: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    server: TestServer | None = None

    @property
    def issuer(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/.well-known/openid-configuration", self._describe)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/userinfo", self._userinfo)
        return app

    def rotate(self, kid: str = "second") -> None:
        self.signing = rsa(kid)
        self.published = [self.signing]

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(request.path)
        return await handler(request)

    async def _describe(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                **self.metadata,
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        """Signs the person in without asking, and sends the browser back."""
        asked = dict(request.query)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(asked["scope"].split())
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{back}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.codes.pop(form["code"], None)
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked is None or form["grant_type"] != "authorization_code":
            return web.json_response({"error": "invalid_grant"}, status=400)
        if challenge.decode() != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "an-access-token", "token_type": "Bearer", "id_token": self._id_token(asked["nonce"])}
        )

    def _is_client(self, request: web.Request, form: Any) -> bool:
        if self.secret is None:
            return form.get("client_id") == CLIENT_ID and "Authorization" not in request.headers
        if "client_secret_basic" not in self.metadata.get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        ):
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, self.secret)
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        sent = base64.b64decode(pair).decode().split(":")
        return scheme == "Basic" and [unquote_plus(part) for part in sent] == [CLIENT_ID, self.secret]

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        said = {**claims, **self.person.claims(), **self.claims}
        said = {name: value for name, value in said.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.signing.kid}
        if self.algorithm in ("none", "HS256"):  # the library refuses to make such tokens of these keys
            text = ".".join(_text(json.dumps(part).encode()) for part in (header, said))
            seal = hmac.digest(self.hmac_key, text.encode(), "sha256") if self.algorithm == "HS256" else b""
            return f"{text}.{_text(seal)}"
        return jwt.encode(header, said, self.signing, [self.algorithm])

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(KeySet(self.published or [self.signing]).as_dict())

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer an-access-token"
        return web.json_response(self.told_by_userinfo or self.person.claims())
