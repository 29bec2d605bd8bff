"""Approval links, which need no account: a form to look at, and its answer, once."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from melagent.api import approval_page
from melagent.api.bodies import read_body
from melagent.api.context import services_of
from melagent.api.wire import answer, parse_json
from melagent.errors import HTTP_STATUS, BadRequest, MelError, Problem, TooLarge
from melagent.services.approvals import Approvals, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from melagent.services.approvals import Question

FORM = "application/x-www-form-urlencoded"
MAX_BYTES = 1024 * 1024
MAX_FIELDS = 1_000
WHOLE = re.compile(r"-?[0-9]{1,15}")


async def show_question(request: web.Request) -> web.StreamResponse:
    """The form behind an approval link; as JSON when that alone is accepted."""
    return await _for_people(request, partial(_show, request))


async def take_answer(request: web.Request) -> web.StreamResponse:
    """Answer an approval link, by a form or in JSON; the run goes on with it. It works once."""
    return await _for_people(request, partial(_take, request))


async def _for_people(request: web.Request, work: Callable[[], Awaitable[web.Response]]) -> web.Response:
    """The answer; to a browser also what is wrong is a page."""
    try:
        return await work()
    except MelError as error:
        if "text/html" not in request.headers.get("Accept", ""):
            raise
        return approval_page.sentence("This did not work", error.message, HTTP_STATUS[error.code])


async def _show(request: web.Request) -> web.Response:
    question = await _approvals(request).question(request.match_info["token"])
    accepted = request.headers.get("Accept", "")
    if "application/json" not in accepted or "text/html" in accepted:
        return approval_page.form(question, {})
    fields = [field.model_dump() for field in question.fields]
    return answer({"title": question.title, "fields": fields}, headers=approval_page.HEADERS)


async def _take(request: web.Request) -> web.Response:
    approvals = _approvals(request)
    question = await approvals.question(request.match_info["token"])
    if request.content_type != FORM:
        await approvals.answer(question, orjson.dumps(_of_json(question, await read_body(request, _json))))
        return answer({"accepted": True}, headers=approval_page.HEADERS)
    given = await read_body(request, _form)
    try:
        value = checked(question.fields, _typed(question, given))
    except BadRequest as error:
        return approval_page.form(question, given, error.details, HTTP_STATUS[error.code])
    await approvals.answer(question, orjson.dumps(value))
    return approval_page.sentence("Thank you", "Your answer was taken; this page may be closed.", 200)


def _approvals(request: web.Request) -> Approvals:
    services = services_of(request)
    return Approvals(services.pool, services.engine)


def _of_json(question: Question, given: Any) -> Any:
    """What was sent as JSON: where nothing particular is asked for, any value."""
    if not question.fields:
        return given
    if not isinstance(given, dict):
        raise BadRequest(details=[Problem("body", "Send an object with the fields of the form.")])
    return checked(question.fields, given)


def _json(body: bytes) -> Any:
    _check_size(body)
    return parse_json(body) if body else None


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form; of one that comes twice the last."""
    _check_size(body)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise BadRequest(details=[Problem("body", f"A form is UTF-8 and has at most {MAX_FIELDS:,} fields.")]) from None


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BYTES:
        raise TooLarge(f"An answer may have at most {MAX_BYTES:,} bytes.")


def _typed(question: Question, given: Mapping[str, str]) -> dict[str, Any]:
    """The texts of a form as values of their fields' types; what is none of them stays text."""
    kinds = {field.name: field.type for field in question.fields}
    return {name: _value(kinds.get(name), text) for name, text in given.items()}


def _value(kind: str | None, text: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind != "number":
        return text
    if WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
