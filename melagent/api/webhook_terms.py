"""Calls of webhooks that ask for more than their address: proof, a rate, one run for each delivery, a record of calls.

The order is that of what a hostile caller costs: rate, size, proof, then the body is taken apart, then the database is
asked whether the delivery came before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from melagent.api.bodies import parsed
from melagent.api.call_input import MASK, as_json, call_input, head_of, whole
from melagent.api.context import DELIVERIES, GATE, WEBHOOK_TESTS
from melagent.api.failures import meaning
from melagent.api.idempotency import sent_key
from melagent.api.wire import answer, encode
from melagent.errors import HTTP_STATUS, Internal, MelError, TooLarge
from melagent.services.deliveries import MAX_BODY_BYTES, SECRET
from melagent.services.hooks import Terms
from melagent.services.webhook_gate import Refused, key_by_header, key_of
from melagent.store.deliveries import Delivery
from melagent.store.ids import new_id
from melagent.store.run_keys import Kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from melagent.domain.signatures import Proof
    from melagent.domain.work import NewRun
    from melagent.services.hooks import Hook
    from melagent.services.webhook_gate import Key
    from melagent.store.deliveries import Outcome

PLAIN = Terms()

MAX_REASON = 500

UNREAD = frozenset({405, 413, 429})
"""Refusals that come before the body."""

CHECK = re.compile(rb"(?:^|&)ssl_check=1(?:&|$)")
"""Slack sends this to see whether the address answers, https://docs.slack.dev/interactivity/implementing-slash-commands."""


async def take(request: web.Request, hook: Hook, start: Callable[[NewRun], Awaitable[web.Response]]) -> web.Response:
    """Let a call pass if it may; `start` starts its run and answers it. A repetition gets the first answer."""
    terms, gate = hook.terms or PLAIN, request.app[GATE]
    if hook.captures:
        return await _capture(request, terms)
    await gate.count(hook, terms)
    body = await _body(request, terms)
    proof = await gate.prove(terms, request.headers, body)
    if terms.reply is not None and CHECK.search(body):
        return web.Response()
    data, key = await parsed(request, len(body), lambda: _read(request, terms, body, proof))
    admission = await gate.admit(hook, terms, key, proof)
    if admission.kept is not None:
        if terms.keeps_accepted:
            _note(request, hook, "duplicate", admission.kept.status, body=body, run_id=admission.run_id)
        return _repeated(admission.kept)
    response = await start(hook.run(data, admission.run_id))
    if terms.reply is not None:
        response = web.Response(body=terms.reply.body or None, content_type="application/json")
    if admission.claim is not None and response.status != 504:  # that run goes on, and so its first answer is to come
        response = _repeated(await gate.keep(admission, _kept(response)))
    if terms.keeps_accepted:
        _note(request, hook, "accepted", response.status, body=body, run_id=admission.run_id)
    return response


async def note_refusal(request: web.Request, hook: Hook, error: Exception) -> None:
    """Keep a call that started nothing, if the webhook wants that."""
    if hook.keeps == "none" or hook.captures:
        return
    known = meaning(error) or Internal()
    status = HTTP_STATUS[known.code]
    unread = status in UNREAD or isinstance(error, web.RequestPayloadError)
    body = None if unread else await request.read()
    _note(request, hook, "refused" if status < 500 else "failed", status, body=body, reason=_reason(known))


def _reason(error: MelError) -> str:
    if isinstance(error, Refused):
        return error.reason
    return " ".join([error.message, *(f"{detail.field}: {detail.problem}" for detail in error.details)])


async def _body(request: web.Request, terms: Terms) -> bytes:
    """The body, if it is no larger than the webhook takes."""
    if (request.content_length or 0) > terms.max_body_bytes:
        raise _too_large(terms)
    body = await request.read()
    if len(body) > terms.max_body_bytes:
        raise _too_large(terms)
    return body


def _too_large(terms: Terms) -> TooLarge:
    return TooLarge(f"A body may have at most {terms.max_body_bytes:,} bytes here.")


def _read(request: web.Request, terms: Terms, body: bytes, proof: Proof | None) -> tuple[bytes, Key | None]:
    """The input of the run, and what tells a repetition of the call."""
    data = call_input(request, body, _path(request), terms.masked, raw=terms.raw_body)
    key = key_of(terms, request.headers, body, data, proof)
    if key is None and (sent := sent_key(request)) is not None:
        key = key_by_header(sent, request.raw_path.encode("utf-8", "surrogateescape") + b"\n" + body)
    return data, key


async def _capture(request: web.Request, terms: Terms) -> web.Response:
    """Show a call to whoever made the test address: what a run would be given, or why none would be started."""
    body, refused = await _body(request, terms), None
    shown = _shown(request, terms)
    try:
        proof = await request.app[GATE].prove(terms, request.headers, body)
        await parsed(request, len(body), lambda: _read(request, terms, body, proof))
        given = await parsed(request, len(body), lambda: whole(shown, request.headers, body, raw=terms.raw_body))
    except MelError as error:
        refused = error.reason if isinstance(error, Refused) else error.message
        given = as_json(shown)
    token = request.match_info["token"]
    await request.app[WEBHOOK_TESTS].capture(token, encode({"input": given, "refused": refused}))
    return answer({"captured": True})


def _kept(response: web.Response) -> Kept:
    """An answer with its headers, so that a repetition can be answered in the same way."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {str(name): value for name, value in response.headers.items()}
    return Kept(response.status, orjson.dumps(headers) + b"\n" + body)


def _repeated(kept: Kept) -> web.Response:
    headers, _, body = kept.body.partition(b"\n")
    return web.Response(body=body or None, status=kept.status, headers=orjson.loads(headers))


def _note(
    request: web.Request,
    hook: Hook,
    outcome: Outcome,
    status: int,
    *,
    body: bytes | None,
    reason: str | None = None,
    run_id: UUID | None = None,
) -> None:
    request.app[DELIVERIES].note(
        Delivery(
            id=new_id(),
            trigger_id=hook.id,
            request=as_json(_shown(request, hook.terms or PLAIN)),
            body=body if body is not None and len(body) <= MAX_BODY_BYTES else None,
            body_size=len(body) if body is not None else request.content_length or 0,
            outcome=outcome,
            status=status,
            reason=reason.encode("utf-8", "replace").decode().replace("\x00", "")[:MAX_REASON] if reason else None,
            run_id=run_id,
        )
    )


def _shown(request: web.Request, terms: Terms) -> dict[str, Any]:
    """A call without its body, and without what could be used to call again in its stead."""
    call = head_of(request, _path(request))
    call["headers"] = {
        name: MASK if name in terms.masked or SECRET.search(name) else value for name, value in call["headers"].items()
    }
    return call


def _path(request: web.Request) -> str:
    return f"/{request.match_info.get('rest', '')}"
