"""The header `Idempotency-Key`, on the routes that declare it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from melagent.api.context import CLAIM, MADE, PRINCIPAL, ROUTE, services_of
from melagent.api.wire import encode
from melagent.errors import BadRequest, NotFound, Problem
from melagent.services import idempotency
from melagent.store.ids import new_id
from melagent.store.run_keys import Kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from melagent.api.route import Unkept

HEADER = "Idempotency-Key"
KEY_PATTERN = "^[!-~]{1,255}$"
MAX_PATH = 1_000
"""Characters of an address that can be part of a key's scope, which an index holds. No address of ours is as long."""


async def once(request: web.Request, call: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """The answer to a call; under a key that was used before, the first answer again.

    What the route says is `unkept` is shown as it is now. When it cannot be shown again, the call that made it still
    shows it, also when another one under the same key was answered first: nobody else could.
    """
    key = sent_key(request)
    if key is None:
        return await call()
    pool, body, unkept = services_of(request).pool, await request.read(), request[ROUTE].unkept
    claim, kept = await idempotency.claim(pool, _scope(request), key, request.query_string.encode() + b"\n" + body)
    fresh = None
    if kept is None:
        request[CLAIM] = claim
        response = await call()
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            raise TypeError("an answer that is sent bit by bit cannot be kept")
        bare, fresh = _parted(unkept, response.body)
        made = Kept(response.status, bare)
        kept = await idempotency.keep(pool, claim, made)
        if kept == made:
            return response
    shown = kept.body if unkept is None else await _shown_again(request, unkept, claim.resource, kept.body, fresh)
    return web.Response(body=shown, status=kept.status, content_type="application/json")


def fresh_id(request: web.Request) -> UUID:
    """The id for what a call makes: the same again when the call is repeated under its key."""
    request[MADE] = request[CLAIM].resource if CLAIM in request else new_id()
    return request[MADE]


def is_keyed(request: web.Request) -> bool:
    """Whether a call came with a key, so that it may come again."""
    return CLAIM in request


def sent_key(request: web.Request) -> str | None:
    """The key that came with a call. Raises BadRequest for what is none."""
    sent = request.headers.getall(HEADER, [])
    if not sent:
        return None
    if len(sent) > 1 or not re.fullmatch(KEY_PATTERN, sent[0]):
        raise BadRequest(details=[Problem(HEADER, "A key has 1 to 255 visible ASCII characters, and is sent once.")])
    return sent[0]


def _parted(unkept: Unkept | None, body: bytes) -> tuple[bytes, str | None]:
    """An answer without the secret that is not kept, and that secret, if there is one."""
    if unkept is None:
        return body, None
    shown = orjson.loads(body)
    secret = shown.pop(unkept.field, None)
    return encode(shown), secret


async def _shown_again(request: web.Request, unkept: Unkept, made: UUID, body: bytes, fresh: str | None) -> bytes:
    secret = await unkept.again(request, made) or fresh
    return body if secret is None else encode(orjson.loads(body) | {unkept.field: secret})


def _scope(request: web.Request) -> str:
    path = request.rel_url.raw_path
    if len(path) > MAX_PATH:
        raise NotFound("There is nothing at this address.")
    return f"{request[PRINCIPAL].id} {request.method} {path}"
