"""What goes wrong with a provider, as the NodeError that says what to do about it.

The two SDKs are made from one mould: their errors have the same attributes in two families of classes, so they are read
by attribute here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2

from melagent.ai.transport import TooMuch
from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Meaning: TypeAlias = tuple[str, bool]
"""A code, and whether another try may help."""

SHOWN_CHARACTERS = 500

WORDS: dict[str, Meaning] = {
    "context_length_exceeded": ("context_too_long", False),
    "request_too_large": ("context_too_long", False),
    "content_filter": ("content_refused", False),
    "content_policy_violation": ("content_refused", False),
    "insufficient_quota": ("quota_exceeded", False),
    "billing_error": ("quota_exceeded", False),
    "rate_limit_exceeded": ("rate_limited", True),
    "rate_limit_error": ("rate_limited", True),
    "overloaded_error": ("unavailable", True),
    "api_error": ("unavailable", True),
    "server_error": ("unavailable", True),
    "timeout_error": ("unavailable", True),
}
"""Codes and types of errors in the documentation of OpenAI and Anthropic. They say more than the status."""

STATUSES: dict[int, Meaning] = {
    400: ("bad_request", False),
    401: ("unauthenticated", False),
    402: ("quota_exceeded", False),
    403: ("forbidden", False),
    404: ("not_found", False),
    408: ("unavailable", True),
    409: ("unavailable", True),
    413: ("context_too_long", False),
    425: ("unavailable", True),
    429: ("rate_limited", True),
}

TOO_LONG = ("prompt is too long", "context length", "context window")
"""Anthropic, vLLM and others say in a sentence only that the context is too long."""

EXPECTED = (httpx2.HTTPError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What an SDK lets through when a server's answer is not what it should be: it does not check what it reads."""


def failure(error: Exception) -> NodeError:
    """What an error of an SDK, or of the way to it, means."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, NodeError):
            return cause
    if isinstance(status := getattr(error, "status_code", None), int):
        return _answered(error, status)
    if (inner := _inner(error)) is not None:
        return _said(inner, ("broken_stream", True), "The service broke off the answer")
    return _unanswered(causes)


def unfinished() -> NodeError:
    """The stream ended, but the answer did not."""
    return NodeError("The stream ended before the answer did.", code="broken_stream")


def _unanswered(causes: Sequence[BaseException]) -> NodeError:
    """No answer came, or what came is none."""
    said = str(causes[-1])[:SHOWN_CHARACTERS] or type(causes[-1]).__name__

    def any_is(kind: type[Exception]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if any_is(TooMuch):
        return NodeError(said, code="too_large", retryable=False)
    if any(getattr(cause, "retryable", True) is False for cause in causes):  # the guard says that of an address
        return NodeError(f"The service cannot be called: {said}", code="address_refused", retryable=False)
    if any_is(httpx2.TimeoutException):
        return NodeError(f"The service cannot be reached: {said}", code="timeout")
    if any_is(httpx2.ConnectError):
        return NodeError(f"The service cannot be reached: {said}", code="connection_failed")
    return NodeError(f"The answer broke off, or is none: {said}", code="broken_stream")


def _answered(error: Exception, status: int) -> NodeError:
    if 300 <= status < 400:
        message = f"The service answered {status}, a redirect, which is not followed: give the address it leads to."
        return NodeError(message, code="redirected", retryable=False, details={"status": status})
    if status < 300:  # an error within a stream that began well
        meaning, title = ("broken_stream", True), "The service broke off the answer"
    else:
        meaning, title = STATUSES.get(status, _other(status)), f"The service answered {status}"
    found = _said(_inner(error) or {}, meaning, title)
    found.details = {"status": status}
    if found.retryable:
        found.retry_after = _retry_after(getattr(error, "response", None))
        found.details |= {"retry_after_seconds": found.retry_after} if found.retry_after else {}
    return found


def _other(status: int) -> Meaning:
    return ("unavailable", True) if status >= 500 else ("bad_request", False)


def _said(inner: dict[str, Any], meaning: Meaning, title: str) -> NodeError:
    """By the words of the service where they are known ones, else by what the status says."""
    message = inner.get("message")
    message = message if isinstance(message, str) else ""
    known = [WORDS[word] for name in ("code", "type") if isinstance(word := inner.get(name), str) and word in WORDS]
    if known:
        meaning = known[0]
    elif meaning[0] == "bad_request" and any(words in message.lower() for words in TOO_LONG):
        meaning = ("context_too_long", False)
    code, retryable = meaning
    text = f"{title}: {message[:SHOWN_CHARACTERS]}" if message else f"{title}."
    return NodeError(text, code=code, retryable=retryable)


def _inner(error: Exception) -> dict[str, Any] | None:
    """`{code, type, message}` of the body, which one of the SDKs has unpacked and the other has not."""
    body = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    return body if isinstance(body, dict) else None


def _retry_after(response: httpx2.Response | None) -> float:
    """Seconds until the service wants to be asked again; 0 when it does not say."""
    if response is None:
        return 0.0
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            if (seconds := float(response.headers.get(name, "")) / unit) > 0:
                return min(seconds, 86_400.0)
        except ValueError:
            continue
    try:
        at = parsedate_to_datetime(response.headers.get("retry-after", ""))
        return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), 86_400.0)
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
