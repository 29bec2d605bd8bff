"""Calls of a worker to any API instance: with a time limit each, repeated with back-off, and registered again.

Every call may be repeated: registrations, heartbeats and journal entries carry what makes a repeat harmless, and a
claim whose answer is lost is given back by later heartbeats, or its leases run out.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from melagent.protocol.messages import Message

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

log = structlog.get_logger()


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
        message: Callable[[UUID], Message] | None = None,
        *,
        data: bytes | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
        patience: float = CALL_SECONDS,
    ) -> bytes:
        """Call until there is an answer. Each try may take `seconds`; Unavailable when tries fail for `patience`.

        `message` is made anew for each try, with the session. When the server does not know the worker, it registers
        again and the call is repeated.
        """
        clock = asyncio.get_running_loop().time
        give_up_at, pauses = clock() + patience, _pauses()
        while True:
            registered = self._registered or await self.register()
            body = message(registered.session).model_dump_json().encode() if message else data
            query = {**(params or {}), "session": str(registered.session)}
            try:
                return await self._once(method, self._path(path), query, body, seconds)
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
        limit = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        try:
            async with self._http.request(
                method, url, params=query, data=body, headers=self._headers, timeout=limit
            ) as response:
                answer, status = await response.read(), response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._note_reachable(None, f"{type(error).__name__}: {error}")
            raise Unavailable("The server cannot be reached.") from error
        if status in AGAIN:
            self._note_reachable(None, f"status {status}")
            raise Unavailable(f"The server answered {status}.")
        self._note_reachable(asyncio.get_running_loop().time(), "")
        if status >= 300:
            raise _refusal(status, answer)
        return answer

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
