"""What a route declares: from it come the handler's guard, the reading of the request, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from uuid import UUID

    from pydantic import BaseModel

    from melagent.services.access import Role

Handler = Callable[..., Awaitable[web.StreamResponse]]
"""Takes the request, then the query if the route declares one, then the body if it declares one."""


@dataclass(frozen=True, slots=True)
class Unkept:
    """A secret in the answer of a keyed route: it is not kept with the answer, but found again for a repetition.

    `again` takes the request and the id of what was made; null when the secret can no longer be shown.
    """

    field: str
    again: Callable[[web.Request, UUID], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the URL table. `role` has no default, so that a route without one cannot exist.

    `answer` describes the body of a good answer: a model, a list of one model, or a media type for anything else. Its
    status is `status`, or one of `also`. The first line of the handler's docstring is its summary in OpenAPI.

    A `keyed` route takes an Idempotency-Key: every POST that starts or creates is one, unless its answer shows a secret
    once; `unkept` is one that can be shown again. What it makes gets the id `fresh_id(request)`, and making it again
    with that id must make nothing.

    A `socket` route answers an upgrade to WebSocket, lets in whoever has a ticket, and tells refusals with close codes,
    as a page in a browser learns nothing else.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    keyed: bool = False
    unkept: Unkept | None = None
    socket: bool = False
