"""Reading bodies so that nobody holds up the whole instance with one.

A packed body is refused before it is read: a small one can unpack to a very large one. A large body is parsed in a
thread, one at a time, so that heartbeats and small calls get their turn meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from melagent.errors import BadRequest, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE_BYTES = 256 * 1024
"""Up to here parsing takes a few milliseconds."""

PARSER = web.AppKey("parser", asyncio.Lock)
"""Held while a large body is parsed."""

T = TypeVar("T")


def refuse_packed(request: web.Request) -> None:
    """Raise BadRequest for a call whose body has a content encoding."""
    if any(sent.strip().lower() not in ("", "identity") for sent in request.headers.getall("Content-Encoding", ())):
        raise BadRequest("A packed body is not taken.", [Problem("Content-Encoding", "Send the body as it is.")])


async def read_body(request: web.Request, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of the body. It may run in another thread."""
    body = await request.read()
    return await parsed(request, len(body), lambda: parse(body))


async def parsed(request: web.Request, size: int, parse: Callable[[], T]) -> T:
    """What `parse` makes of so many bytes. It may run in another thread."""
    if size <= LARGE_BYTES:
        return parse()
    async with request.app[PARSER]:
        return await asyncio.to_thread(parse)
