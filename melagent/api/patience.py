"""How long a caller may take to send a body. For the head of a call see `keepalive_seconds` in `context`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from melagent.errors import TooSlow

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

BODY_SECONDS = 120.0
"""For a whole body, after its head: ten mebibytes come through a line of 0.7 Mbit/s in that time."""


@web.middleware
async def in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raise TooSlow for a call whose body has not arrived in time, whoever reads it; its connection ends then."""
    if request.content.is_eof():
        return await handler(request)
    arriving, limit = True, asyncio.timeout(BODY_SECONDS)

    def arrived() -> None:
        if arriving and not limit.expired():
            limit.reschedule(None)

    try:
        async with limit:
            request.content.on_eof(arrived)
            return await handler(request)
    except TimeoutError:
        if not limit.expired():
            raise
        raise TooSlow(f"A body has to arrive within {BODY_SECONDS:g} s.") from None
    finally:
        arriving = False
