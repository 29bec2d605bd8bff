"""The way of the SDKs to the network: an httpx transport over the guarded aiohttp client of a node's context.

So there is one guard (`melagent.net`): the address is checked when the connection is made, after the name was resolved.
Redirects are not followed: a provider has no reason to send a key elsewhere. The secret is put on here, on requests to
where it may be sent; the SDK never has it, so it is in none of its errors and logs. Of the SDK's own headers only the
named ones pass, because the SDKs read more from the environment than what they are given.

Servers are not trusted either: an answer has a size, and so has each event in a stream, of which one is handed over at
a time. (An SDK that puts events together itself takes a time that grows with the square of their size.)
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp
import httpx2
from yarl import URL

from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from melagent.sdk import Secret

CONNECT_SECONDS = 10.0
MAX_BYTES = 64 * 1024 * 1024
"""Of one answer. A stream has 200 bytes and more around each token."""

MAX_EVENT_BYTES = 1024 * 1024
MAX_EVENT_LINES = 100
MAX_EVENTS = 200_000
"""Of one answer: the longest have some 130,000 tokens. An SDK takes a quarter of a millisecond for each."""

EVENTS_AT_ONCE = 50
"""Read from what has come, before others of the process have their turn."""

TOO_LONG = f"An event of the answer has more than {MAX_EVENT_BYTES:,} bytes or {MAX_EVENT_LINES} lines."
PASSED_ON = ("accept", "anthropic-version", "content-type", "user-agent")
EVENT_END = re.compile(rb"\n\n|\r\r|\r\n\r\n")


class TooMuch(httpx2.ReadError):
    """The server sends more than an answer can have."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests through `http`, the guarded client of a node's context, which stays open."""

    def __init__(self, http: aiohttp.ClientSession, secret: Secret | None) -> None:
        self._http = http
        self._secret = secret

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx errors, and NodeError for an address that the secret may not be sent to."""
        url = str(request.url)
        try:
            response = await self._http.request(
                request.method,
                URL(url, encoded=True),
                headers={**_passed_on(request), **self._carried(url)},
                data=await request.aread(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"No connection within {CONNECT_SECONDS:g} s.") from error
        except aiohttp.ClientConnectorError as error:
            raise httpx2.ConnectError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError(str(error)) from error
        headers = [(name, value) for name, value in response.headers.items() if name.lower() != "content-encoding"]
        return httpx2.Response(response.status, headers=headers, stream=Body(response))

    def _carried(self, url: str) -> dict[str, str]:
        if self._secret is None:
            return {}
        if not self._secret.allows(url):
            message = f"The connection {self._secret.name!r} does not allow its secret to be sent to this host."
            raise NodeError(message, code="host_not_allowed", retryable=False)
        return dict(self._secret.headers)


class Body(httpx2.AsyncByteStream):
    """What the server answers. Closing it before the end closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        chunks = self._chunks()
        self._parts = whole_events(chunks) if response.content_type == "text/event-stream" else chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def aclose(self) -> None:
        self._response.release()  # which keeps the connection only when all was read

    async def _chunks(self) -> AsyncGenerator[bytes]:
        received = 0
        try:
            async for chunk in self._response.content.iter_any():
                received += len(chunk)
                if received > MAX_BYTES:
                    raise TooMuch(f"The answer has more than {MAX_BYTES:,} bytes.")
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError(str(error) or "The connection was lost.") from error


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The same bytes, one whole event of the stream at a time. Raises TooMuch for one that is too long."""
    held, given = bytearray(), 0
    async for chunk in chunks:
        begun = max(0, len(held) - 3)  # where an end of an event may lie across two chunks
        held += chunk
        done = 0
        for end in EVENT_END.finditer(held, begun):
            yield _checked(bytes(held[done : end.end()]))
            done, given = end.end(), given + 1
            if given > MAX_EVENTS:
                raise TooMuch(f"The answer has more than {MAX_EVENTS:,} events.")
            if given % EVENTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        del held[:done]
        if len(held) > MAX_EVENT_BYTES:
            raise TooMuch(TOO_LONG)
    if held:
        yield _checked(bytes(held))


def _checked(event: bytes) -> bytes:
    lines = max(event.count(b"\n"), event.count(b"\r"))
    if len(event) > MAX_EVENT_BYTES or lines > MAX_EVENT_LINES:
        raise TooMuch(TOO_LONG)
    return event


def _passed_on(request: httpx2.Request) -> dict[str, str]:
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    return {**headers, "accept-encoding": "identity"}
