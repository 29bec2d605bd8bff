"""A stand-in for the internet, for examples and first tries: echoes, sample data, chosen statuses, slow answers."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from melagent.api.bodies import read_body
from melagent.api.call_input import call_input
from melagent.api.context import services_of
from melagent.api.wire import answer
from melagent.errors import NotFound, Unavailable

MAX_SLOW_SECONDS = 60.0

SAMPLE = {
    "orders": [
        {"id": 1, "customer": "Ada", "total": 120.5, "country": "SE", "paid": True},
        {"id": 2, "customer": "Linus", "total": 15.0, "country": "FI", "paid": False},
        {"id": 3, "customer": "Grace", "total": 980.0, "country": "US", "paid": True},
    ],
    "currency": "EUR",
}


async def echo(request: web.Request) -> web.Response:
    """Answers what was sent: method, path, query, headers, body."""
    call = await read_body(request, partial(call_input, request, path=request.path))
    return web.Response(body=call, content_type="application/json")


async def sample(_request: web.Request) -> web.Response:
    """Answers a small list of orders."""
    return answer(SAMPLE)


async def status(request: web.Request) -> web.Response:
    """Answers with the status asked for (200 to 599)."""
    text = request.match_info["code"]
    if not (text.isascii() and text.isdigit() and 200 <= int(text[:4]) <= 599):  # final statuses
        raise NotFound("A status is a number from 200 to 599.")
    code = int(text)
    if code in (204, 304):
        return web.Response(status=code)
    return answer({"status": code}, code)


async def slow(request: web.Request) -> web.Response:
    """Answers after so many seconds (at most 60)."""
    try:
        seconds = float(request.match_info["seconds"])
    except ValueError:
        raise NotFound("Name a number of seconds.") from None
    if not 0 <= seconds <= MAX_SLOW_SECONDS:
        raise NotFound(f"At most {MAX_SLOW_SECONDS:.0f} seconds.")
    try:
        async with asyncio.timeout(seconds):
            await services_of(request).draining.wait()
    except TimeoutError:
        return answer({"slept_seconds": seconds})
    raise Unavailable("The server is stopping.")
