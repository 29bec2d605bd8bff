"""Calls from outside that start runs. This is the busiest route: no models, no work that the answer does not need.

What a webhook asks for beyond its address is in `webhook_terms`; a plain one passes it by.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from multidict import CIMultiDict, istr

from melagent.api import webhook_terms
from melagent.api.bodies import read_body
from melagent.api.call_input import call_input
from melagent.api.context import WEBHOOKS, services_of
from melagent.api.failures import error_answer
from melagent.api.idempotency import HEADER
from melagent.api.wire import answer
from melagent.domain.run import RunStatus
from melagent.errors import Internal, NotFound, TimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from melagent.domain.work import NewRun, RunEnd
    from melagent.services.hooks import Hook

WAIT_SECONDS = 30.0
KEYED = istr(HEADER)
"""Looked for in every call: a name that need not be folded first."""

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
BODILESS = (204, 304)

FRAMING = frozenset({"connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"})
"""Headers that belong to the connection."""

SANDBOX = "sandbox"
"""A page that a workflow answers must not act as the editor, which lives at the same address."""

ORIGIN_WIDE = frozenset({"clear-site-data", "content-security-policy", "service-worker-allowed", "set-cookie"})
"""Headers that would lift the sandbox, or reach the editor beside it: a cookie could sign a visitor in as somebody."""

NOT_ITS_OWN = FRAMING | ORIGIN_WIDE
"""Headers that a workflow cannot set."""


async def call_webhook(request: web.Request) -> web.Response:
    """Start the workflow behind the token: 202 at once, or its own answer in sync mode."""
    token = request.match_info["token"]
    hook = await request.app[WEBHOOKS].find(token) if TOKEN.fullmatch(token) else None
    rest = request.match_info.get("rest", "")
    if hook is None or (hook.path and hook.path != rest):
        raise NotFound("There is no such webhook.")
    try:
        if request.method not in hook.methods:
            raise web.HTTPMethodNotAllowed(request.method, hook.methods)
        if hook.terms is not None or hook.captures or KEYED in request.headers:
            return await webhook_terms.take(request, hook, partial(_answer, request, hook))
        run = hook.run(await read_body(request, partial(call_input, request, path=f"/{rest}")))
        return await (_answer_of_run(request, hook, run) if hook.sync else _answer_at_once(request, run))
    except Exception as error:
        await webhook_terms.note_refusal(request, hook, error)
        raise


async def _answer(request: web.Request, hook: Hook, run: NewRun) -> web.Response:
    """Start a run, and answer as the webhook says."""
    return await (_answer_of_run(request, hook, run) if hook.sync else _answer_at_once(request, run))


async def _answer_at_once(request: web.Request, run: NewRun) -> web.Response:
    await services_of(request).engine.start(run)
    return answer({"run_id": run.id}, 202)


async def _answer_of_run(request: web.Request, hook: Hook, run: NewRun) -> web.Response:
    engine = services_of(request).engine
    end = await engine.start_and_wait(run, WAIT_SECONDS, until_answer=hook.answered_by_node)
    if end is None:
        return error_answer(request, TimedOut("The workflow goes on; this is its run."), run_id=run.id)
    if end.answer is not None and hook.answered_by_node:
        return _answer_of_node(request, end)
    if end.status is not RunStatus.COMPLETED:
        return error_answer(request, Internal(f"The workflow did not complete: {end.status}."), run_id=run.id)
    return _response(request, end, end.output or b"null", hook.status_code, hook.headers)


def _answer_of_node(request: web.Request, end: RunEnd) -> web.Response:
    """The answer that a node gave: `{statusCode, headers, body}`. Text is sent as it is, anything else as JSON."""
    given: dict[str, Any] = orjson.loads(end.answer or b"{}")
    status, headers, body = given.get("statusCode", 200), given.get("headers") or {}, given.get("body")
    if isinstance(body, str):
        return _response(request, end, body.encode(), status, {"Content-Type": "text/plain; charset=utf-8", **headers})
    return _response(request, end, orjson.dumps(body), status, headers)


def _response(request: web.Request, end: RunEnd, body: bytes, status: int, headers: Mapping[str, str]) -> web.Response:
    """An answer with the workflow's own headers, but those that HTTP cannot carry or that are not its own to set."""
    if not 200 <= status <= 599:
        return error_answer(request, Internal(f"The workflow answered with the status {status}."), run_id=end.run_id)
    sent = CIMultiDict({"Content-Type": "application/json", "Content-Security-Policy": SANDBOX})
    for name, value in headers.items():
        if HEADER_NAME.fullmatch(name) and name.lower() not in NOT_ITS_OWN and value.isprintable():
            sent[name] = value
    return web.Response(body=None if status in BODILESS else body, status=status, headers=sent)
