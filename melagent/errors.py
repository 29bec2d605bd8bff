"""Every error a user can meet, and the one table that maps an error code to HTTP and exit codes.

An error carries a stable `code`, a sentence for people, and details that name the fields at fault. Handlers, commands
and loops raise these; the outermost door (middleware, CLI, worker) turns them into its own form exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class Code(StrEnum):
    """Error codes of the public contract: the text is what clients match on."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    LEASE_LOST = "lease_lost"
    DRAFT_BEHIND = "draft_behind"
    TOO_SLOW = "too_slow"
    GONE = "gone"
    TOO_LARGE = "too_large"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"


class ExitCode:
    """Exit codes of the command line."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    NOT_ALLOWED = 5


HTTP_STATUS: dict[Code, int] = {
    Code.BAD_REQUEST: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.CONFLICT: 409,
    Code.LEASE_LOST: 409,
    Code.DRAFT_BEHIND: 409,
    Code.TOO_SLOW: 408,
    Code.GONE: 410,
    Code.TOO_LARGE: 413,
    Code.UNPROCESSABLE: 422,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.TIMEOUT: 504,
}

EXIT_CODE: dict[Code, int] = {
    Code.BAD_REQUEST: ExitCode.USAGE,
    Code.UNAUTHENTICATED: ExitCode.NOT_ALLOWED,
    Code.FORBIDDEN: ExitCode.NOT_ALLOWED,
    Code.NOT_FOUND: ExitCode.NOT_FOUND,
    Code.GONE: ExitCode.NOT_FOUND,
    Code.UNAVAILABLE: ExitCode.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with what was sent: `field` is a dotted path (`nodes.fetch.config.url`), `problem` a sentence."""

    field: str
    problem: str


class MelError(Exception):
    """Base of all errors with a meaning to users. `message` is for people and never holds SQL, driver text or
    secrets.
    """

    code: ClassVar[Code] = Code.INTERNAL
    default_message: ClassVar[str] = "Something went wrong on our side."

    def __init__(self, message: str = "", details: Iterable[Problem] = ()) -> None:
        self.message = message or self.default_message
        self.details = tuple(details)
        super().__init__(self.message)


class BadRequest(MelError):
    code = Code.BAD_REQUEST
    default_message = "The request is not of the expected form."


class Unauthenticated(MelError):
    """`challenge` is what WWW-Authenticate says."""

    code = Code.UNAUTHENTICATED
    default_message = "Sign in, or send a valid API key."
    challenge: ClassVar[str] = "Bearer"


class Forbidden(MelError):
    code = Code.FORBIDDEN
    default_message = "Your role does not allow this."


class NotFound(MelError):
    code = Code.NOT_FOUND
    default_message = "There is no such thing."


class MethodNotAllowed(MelError):
    code = Code.METHOD_NOT_ALLOWED
    default_message = "This method is not allowed here."


class Conflict(MelError):
    code = Code.CONFLICT
    default_message = "This clashes with the present state."


class DraftBehind(MelError):
    code = Code.DRAFT_BEHIND
    default_message = "The draft is not yet where this call wants it."


class LeaseLost(MelError):
    code = Code.LEASE_LOST
    default_message = "The lease on this run has passed to another worker."


class TooSlow(MelError):
    code = Code.TOO_SLOW
    default_message = "The call did not arrive in time."


class Gone(MelError):
    code = Code.GONE
    default_message = "This was there, and can be used no more."


class TooLarge(MelError):
    code = Code.TOO_LARGE
    default_message = "This is larger than allowed."


class Unprocessable(MelError):
    code = Code.UNPROCESSABLE
    default_message = "The content has problems."


class RateLimited(MelError):
    """`retry_after` is the number of seconds after which another try makes sense."""

    code = Code.RATE_LIMITED
    default_message = "Too many calls; try again later."

    def __init__(self, retry_after: float, message: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Internal(MelError):
    code = Code.INTERNAL


class Unavailable(MelError):
    code = Code.UNAVAILABLE
    default_message = "The service cannot answer right now; try again."


class TimedOut(MelError):
    code = Code.TIMEOUT
    default_message = "This took longer than allowed."
