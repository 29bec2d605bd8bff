"""An authorization server that speaks the protocol: RFC 6749 with PKCE (RFC 7636) and refresh tokens that work once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import unquote_plus

from aiohttp import web
from aiohttp.test_utils import TestServer

CLIENT, SECRET = "our-client", "client-s3cret/+ü"


class AuthorizationServer:
    """`calls` are the forms that the token endpoint was sent. Its answers wait for `gate`, and may be told to fail."""

    def __init__(self):
        self.url = ""
        self.calls = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_with = None
        self.expires_in = 3600
        self.codes = {}
        self.refresh_tokens = set()
        self.numbers = count(1)

    async def authorize(self, request):
        """Signs the person in without asking."""
        asked = request.query
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["state"]) >= 32
        code = f"code-{next(self.numbers)}"
        self.codes[code] = (asked["redirect_uri"], asked["code_challenge"])
        raise web.HTTPFound(f"{asked['redirect_uri']}?state={asked['state']}&code={code}&iss=x&session_state=y")

    async def token(self, request):
        form = dict(await request.post())
        self.calls.append(form)
        self.called.set()
        await self.gate.wait()
        if self.fails_with is not None:
            return self.fails_with()
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        grant = form["grant_type"]
        good = {
            "authorization_code": self._good_code,
            "refresh_token": self._good_refresh,
            "client_credentials": lambda form: True,
        }[grant](form)
        if not good:
            return web.json_response({"error": "invalid_grant"}, status=400)
        number = next(self.numbers)
        answer = {"access_token": f"access-{number}", "token_type": "Bearer", "expires_in": self.expires_in}
        if grant != "client_credentials":
            self.refresh_tokens = {f"refresh-{number}"}
            answer["refresh_token"] = f"refresh-{number}"
        return web.json_response(answer)

    def _is_client(self, request, form):
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            named = [unquote_plus(part) for part in base64.b64decode(pair).decode().split(":")]
        else:
            named = [form.get("client_id"), form.get("client_secret")]
        return named == [CLIENT, SECRET]

    def _good_code(self, form):
        redirect_uri, challenge = self.codes.pop(form["code"], (None, None))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return (redirect_uri, challenge) == (form["redirect_uri"], made)

    def _good_refresh(self, form):
        known = form["refresh_token"] in self.refresh_tokens
        self.refresh_tokens.discard(form["refresh_token"])
        return known


@asynccontextmanager
async def authorization_server():
    served = AuthorizationServer()
    app = web.Application()
    app.router.add_get("/authorize", served.authorize)
    app.router.add_post("/token", served.token)
    async with TestServer(app, host="127.0.0.1") as server:
        served.url = f"http://127.0.0.1:{server.port}"
        yield served
        served.gate.set()
