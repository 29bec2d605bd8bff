"""Turns whatever a handler raised into the error body of the contract, exactly once, for every route."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from melagent.api.context import REQUEST_ID, STREAM
from melagent.api.wire import MAX_BODY_BYTES, answer
from melagent.errors import (
    HTTP_STATUS,
    BadRequest,
    Internal,
    MelError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
)
from melagent.store.errors import domain_error

if TYPE_CHECKING:
    from uuid import UUID


def failure(request: web.Request, error: Exception) -> web.Response:
    """The answer to a call that failed. What has no meaning to the caller is logged with the request id."""
    known = meaning(error)
    if known is None:
        _log().exception(
            "request failed", request_id=request[REQUEST_ID], method=request.method, path=_path(request), exc_info=error
        )
        known = Internal()
    return error_answer(request, known, headers=_headers(error, known))


def broken_off(request: web.Request, error: Exception) -> web.StreamResponse:
    """The end of a stream in which something went wrong: nothing else can be sent now, and its reader comes back."""
    if not isinstance(error, ConnectionError):  # a reader who left is no news
        _log().warning("stream broken off", request_id=request[REQUEST_ID], path=_path(request), error=repr(error))
    return request[STREAM]


def error_answer(
    request: web.Request, error: MelError, *, run_id: UUID | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """The error body. `run_id` names the run that goes on or failed behind a webhook."""
    body: dict[str, Any] = {
        "error": error.code,
        "message": error.message,
        "details": error.details,
        "request_id": request[REQUEST_ID],
    }
    if run_id is not None:
        body["run_id"] = run_id
    return answer(body, HTTP_STATUS[error.code], headers)


def _path(request: web.Request) -> str:
    """The path as the URL table has it: what a caller puts in its places may be a secret, as a webhook's token is."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "no route"


def _log() -> structlog.typing.FilteringBoundLogger:
    return structlog.get_logger("melagent.api")  # type: ignore[no-any-return]  # it is what the configuration makes


def meaning(error: Exception) -> MelError | None:
    """What an error means to the caller; null for a fault of ours."""
    if isinstance(error, MelError):
        return error
    if isinstance(error, web.HTTPException):
        return _http_meaning(error)
    if isinstance(error, web.RequestPayloadError):
        return BadRequest("The body could not be read: it is cut off, or not encoded as it says.")
    return domain_error(error)


def _http_meaning(error: web.HTTPException) -> MelError | None:
    """Aiohttp's own refusals: no such route, wrong method, body too large."""
    if isinstance(error, web.HTTPNotFound):
        return NotFound("There is nothing at this address.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(
            f"{error.method} is not allowed here; allowed: {', '.join(sorted(error.allowed_methods))}."
        )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge(f"A body may have at most {MAX_BODY_BYTES:,} bytes.")
    return BadRequest() if error.status < 500 else None  # the caller's fault or ours


def _headers(error: Exception, known: MelError) -> dict[str, str] | None:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return {"Allow": error.headers["Allow"]}
    if isinstance(known, Unauthenticated):
        return {"WWW-Authenticate": known.challenge}
    if isinstance(known, RateLimited):
        return {"Retry-After": str(max(1, math.ceil(known.retry_after)))}
    return None
