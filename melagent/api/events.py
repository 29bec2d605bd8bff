"""A run's progress as Server-Sent Events."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from melagent.api.auth import is_still_in
from melagent.api.context import STREAM, services_of, uuid_in_path
from melagent.api.wire import UNBUFFERED, encode
from melagent.errors import BadRequest, Problem
from melagent.services import runs
from melagent.services.events import follow

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.api.context import Services
    from melagent.services.events import Event

COMMENT_SECONDS = 15.0
RECONNECT = b"retry: 1000\n\n"
STILL_HERE = b": still here\n\n"
HEADERS = {"Content-Type": "text/event-stream", **UNBUFFERED}


async def run_events(request: web.Request) -> web.StreamResponse:
    """Follow a run: events `run`, `step`, `log`, `token` and at last `end`. `Last-Event-ID` takes it up again."""
    services, run_id, after = services_of(request), uuid_in_path(request), _last_event_id(request)
    await runs.check(services.pool, run_id)
    stream = web.StreamResponse(headers=HEADERS)
    await stream.prepare(request)
    request[STREAM] = stream
    await stream.write(RECONNECT)
    await _tell(stream, request, services, run_id, after)
    return stream


async def _tell(stream: web.StreamResponse, request: web.Request, services: Services, run_id: UUID, after: int) -> None:
    """Write events until the end, until the reader leaves, or until this process drains, whose reader then comes
    back. It also ends when the key is revoked or the session ended that it was asked for with.
    """
    quiet_since = time.monotonic()
    async with aclosing(follow(services.pool, services.engine, run_id, after)) as events:
        async for event in events:
            if event is not None or time.monotonic() - quiet_since >= COMMENT_SECONDS:
                await stream.write(_frame(event) if event else STILL_HERE)
                quiet_since = time.monotonic()
            if services.draining.is_set() or request.transport is None or not await is_still_in(request):
                return


def _frame(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.position, event.kind.encode(), encode(event.data))


def _last_event_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # fits the column's 31 bits
        raise BadRequest(details=[Problem("Last-Event-ID", "This is not the id of an event of this stream.")])
    return int(text)
