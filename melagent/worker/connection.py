"""Calls of a worker to any API instance: with a time limit each, repeated with back-off, and registered again.

Every call may be repeated: registrations, heartbeats and journal entries carry what makes a repeat harmless, and a
claim whose answer is lost is given back by later heartbeats, or its leases run out.
"""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import orjson
import structlog

from melagent import __version__
from melagent.errors import (
    Conflict,
    Forbidden,
    LeaseLost,
    MelError,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from melagent.protocol.messages import Registered, Registration
from melagent.protocol.writing import encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from uuid import UUID

    from melagent.protocol.writing import Object

CONNECT_SECONDS = 5.0
CALL_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may well succeed, perhaps on another instance."""

REFUSALS: dict[int, type[MelError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
}

T = TypeVar("T")

log = structlog.get_logger()


class HeldBack(Exception):
    """An answer that should begin at once does not: a proxy keeps it until it is whole, or the server hangs."""


class _Again(Exception):
    """The server said that it cannot answer now."""


class Connection:
    """A worker's way to the server. `dismissed` gets the error once the server has refused the worker for good."""

    def __init__(self, http: aiohttp.ClientSession, server_url: str, token: str, registration: Registration) -> None:
        self._http = http
        self._url = f"{server_url}/api/workers"
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"mel-agent-worker/{__version__}"}
        self._registration = registration
        self._registering: asyncio.Task[Registered] | None = None
        self._reachable = True
        self._registered: Registered | None = None
        self.contact_at: float | None = None
        self.dismissed: asyncio.Future[MelError] = asyncio.get_running_loop().create_future()

    @property
    def worker_id(self) -> str:
        return self._registration.id

    async def register(self) -> Registered:
        """Begin a session, however long the server is away; calls at the same time share one registration.

        Raises Unauthenticated or Forbidden for the token, Conflict for the id or a protocol the server does not speak.
        """
        if self._registering is None or self._registering.done():
            self._registering = asyncio.create_task(self._register(), name="register")
        return await asyncio.shield(self._registering)

    async def unregister(self) -> None:
        """Say good-bye, once; the server also notices by itself."""
        if self._registered is not None:
            await self._once("DELETE", self._path(""), {"session": str(self._registered.session)}, None, CALL_SECONDS)

    async def call(
        self,
        method: str,
        path: str,
        message: Callable[[UUID], Object] | None = None,
        *,
        data: bytes | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
        patience: float = CALL_SECONDS,
    ) -> bytes:
        """Call until there is an answer. Each try may take `seconds`; Unavailable when tries fail for `patience`.

        `message` is made anew for each try, with the session; without one the session is a part of the query. When the
        server does not know the worker, it registers again and the call is repeated.
        """

        async def attempt(registered: Registered) -> bytes:
            if message is not None:
                return await self._once(method, self._path(path), {}, encoded(message(registered.session)), seconds)
            query = {**(params or {}), "session": str(registered.session)}
            return await self._once(method, self._path(path), query, data, seconds)

        return await self._until_answered(attempt, patience)

    async def stream(
        self,
        path: str,
        message: Callable[[UUID], Object],
        heard: Callable[[bytes], None],
        *,
        seconds: float,
        begins_within: float | None,
    ) -> None:
        """POST, and pass on the lines of the answer as they come; waits as long as the server is away.

        An answer that breaks off after its first line has ended. Raises HeldBack when it does not begin in time.
        """

        async def attempt(registered: Registered) -> None:
            body, lines = encoded(message(registered.session)), 0
            try:
                calling = self._answer("POST", self._path(path), {}, body, seconds=seconds, begins_within=begins_within)
                async with calling as answer:
                    async for line in _lines(answer, begins_within):
                        lines += 1
                        heard(line)
            except Unavailable:
                if not lines:
                    raise

        await self._until_answered(attempt, math.inf)

    async def _until_answered(self, attempt: Callable[[Registered], Awaitable[T]], patience: float) -> T:
        clock = asyncio.get_running_loop().time
        give_up_at, pauses = clock() + patience, _pauses()
        while True:
            registered = self._registered or await self.register()
            try:
                return await attempt(registered)
            except (NotFound, Conflict, Unauthenticated) as error:
                if not self._is_forgotten(error):
                    raise
                if self._registered is registered:
                    self._registered = None
            except Unavailable:
                if clock() + (pause := next(pauses)) > give_up_at:
                    raise
                await asyncio.sleep(pause)

    def _is_forgotten(self, error: MelError) -> bool:
        """Whether registering again helps; when the server refuses this worker for good, everybody is told."""
        about_session = any(detail.field == "session" for detail in error.details)
        if isinstance(error, Unauthenticated) or (isinstance(error, Conflict) and about_session):
            self._dismiss(error)
        return isinstance(error, NotFound) and about_session

    def _dismiss(self, error: MelError) -> None:
        if not self.dismissed.done():
            self.dismissed.set_result(error)

    async def _register(self) -> Registered:
        answer = await self._first_answer(self._registration.model_dump_json().encode())
        self._registered = Registered.model_validate_json(answer)
        log.info("worker registered", worker_id=self.worker_id, instance=self._registered.instance)
        return self._registered

    async def _first_answer(self, body: bytes) -> bytes:
        pauses = _pauses()
        while True:
            try:
                return await self._once("POST", self._url, {}, body, CALL_SECONDS)
            except Unavailable:
                await asyncio.sleep(next(pauses))
            except MelError as error:
                self._dismiss(error)
                raise

    async def _once(self, method: str, url: str, query: Mapping[str, str], body: bytes | None, seconds: float) -> bytes:
        """One try. Unavailable when another may succeed, else the error that the server names."""
        async with self._answer(method, url, query, body, seconds=seconds) as answer:
            return await answer.read()

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        url: str,
        query: Mapping[str, str],
        body: bytes | None,
        *,
        seconds: float,
        begins_within: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one try, its status checked; what goes wrong while it is read is translated as well."""
        limit = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        calling = self._http.request(method, url, params=query, data=body, headers=self._headers, timeout=limit)
        beginning = asyncio.timeout(begins_within)
        try:
            async with beginning:
                response = await calling
            async with response:
                if response.status in AGAIN:
                    raise _Again(f"status {response.status}")
                self._note_reachable(asyncio.get_running_loop().time(), "")
                if response.status >= 300:
                    raise _refusal(response.status, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, _Again) as error:
            if beginning.expired():
                raise HeldBack from error
            self._note_reachable(None, f"{type(error).__name__}: {error}")
            raise Unavailable("The server cannot be reached, or cannot answer right now.") from error

    def _note_reachable(self, contact_at: float | None, reason: str) -> None:
        """Remember the contact, and log when it is lost or found again."""
        reachable = contact_at is not None
        if reachable is not self._reachable:
            self._reachable = reachable
            level = log.info if reachable else log.warning
            level("server reached again" if reachable else "server cannot be reached", url=self._url, reason=reason)
        self.contact_at = contact_at if contact_at is not None else self.contact_at

    def _path(self, path: str) -> str:
        return f"{self._url}/{self.worker_id}{path}"


def _pauses() -> Iterator[float]:
    """Seconds to wait after each failed try: twice as long each time at most, with full jitter."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(0, longest)  # noqa: S311  # jitter, not a secret
        longest = min(2 * longest, LONGEST_PAUSE_SECONDS)


async def _lines(answer: aiohttp.ClientResponse, begins_within: float | None) -> AsyncIterator[bytes]:
    """The lines of a body as they come, empty ones left out; of any length, unlike those of aiohttp.

    Raises HeldBack when the first byte does not come in time.
    """
    rest, limit = b"", asyncio.timeout(begins_within)
    try:
        async with limit:
            chunk = await answer.content.readany()
    except TimeoutError as error:
        if limit.expired():
            raise HeldBack from error
        raise
    while chunk:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            yield line
        chunk = await answer.content.readany()
    if rest:
        yield rest


def _refusal(status: int, answer: bytes) -> MelError:
    """The error that the server names, as far as its answer can be read."""
    body = _read(answer)
    code, message = body.get("error"), str(body.get("message") or f"The server answered {status}.")
    kind = LeaseLost if code == LeaseLost.code else REFUSALS.get(status, MelError)
    details = [Problem(str(detail.get("field")), str(detail.get("problem"))) for detail in body.get("details", ())]
    return kind(message, details)


def _read(answer: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:  # a proxy answers in its own way
        return {}
    return value if isinstance(value, dict) else {}
