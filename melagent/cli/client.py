"""The API as the command line calls it: JSON in and out, errors as the project's own, and a run's events."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiohttp

from melagent.errors import Conflict, Internal, MelError, NotFound, Problem, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from melagent.cli.credentials import Credentials

TIMEOUT = aiohttp.ClientTimeout(total=90, connect=5)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=45)
"""The server writes at least every 15 s: whoever hears nothing for three times that has lost the connection."""

PAGE = 100
ATTEMPTS = 3
AGAIN_SECONDS = 0.5
RECONNECT_SECONDS = 1.0
RECONNECTS = 60
ERRORS = {error.code: error for error in MelError.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run: `kind` is run, step, log or end."""

    kind: str
    data: dict[str, Any]


class Api:
    """Calls one server. Raises the error that the server names, or Unavailable when it cannot be reached."""

    def __init__(self, session: aiohttp.ClientSession, server_url: str) -> None:
        self._session = session
        self._server_url = server_url

    async def get(self, path: str, **query: Any) -> Any:
        given = {name: str(value) for name, value in query.items() if value is not None}
        return await self._call("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return await self._call("POST", path, json=body or {})

    async def post_once(self, path: str, value: Any) -> Any:
        """Send a value to a call that starts something, and again when it stays without an answer: it acts once."""
        headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
        for attempt in range(ATTEMPTS):
            try:
                return await self._call("POST", path, data=json.dumps(value).encode(), headers=headers)
            except Unavailable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
        raise AssertionError("the last attempt has its end")

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("PUT", path, json=body)

    async def delete(self, path: str) -> None:
        await self._call("DELETE", path)

    async def page(self, path: str, field: str, limit: int, **query: Any) -> list[dict[str, Any]]:
        """The first `limit` entries of a listing, however many pages that takes."""
        found: list[dict[str, Any]] = []
        cursor = None
        while len(found) < limit:
            answer = await self.get(path, limit=min(PAGE, limit - len(found)), cursor=cursor, **query)
            found += answer[field]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        return found

    async def workflow_id(self, name_or_id: str) -> str:
        """The id of a workflow given by id or by name. Raises NotFound, or Conflict when several have the name."""
        if _is_id(name_or_id):
            return name_or_id
        workflows = await self.page("/api/workflows", "workflows", limit=100_000)
        ids = [workflow["id"] for workflow in workflows if workflow["name"] == name_or_id]
        if not ids:
            raise NotFound(f"There is no workflow named {name_or_id!r}.")
        if len(ids) > 1:
            raise Conflict(f"{len(ids)} workflows are named {name_or_id!r}; say which by its id: {', '.join(ids)}")
        return str(ids[0])

    async def events(self, run_id: str) -> AsyncIterator[Event]:
        """A run's events up to its `end`; a lost connection is taken up again where it broke."""
        last_id = None
        for _ in range(RECONNECTS):
            try:
                async for id, event in self._stream(f"/api/workflow-runs/{run_id}/events", last_id):
                    last_id = id
                    yield event
                    if event.kind == "end":
                        return
            except (aiohttp.ClientError, TimeoutError, Unavailable):
                if last_id is None:
                    raise Unavailable(f"The server at {self._server_url} broke off.") from None
            await asyncio.sleep(RECONNECT_SECONDS)
        raise Unavailable(f"The connection to {self._server_url} was lost; the run goes on: server run watch {run_id}")

    async def _stream(self, path: str, last_id: str | None) -> AsyncIterator[tuple[str, Event]]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with self._session.get(path, headers=headers, timeout=STREAM_TIMEOUT) as response:
            await _check(response)
            unread = b""
            async for chunk in response.content.iter_any():
                *frames, unread = (unread + chunk).split(b"\n\n")
                for frame in frames:
                    fields = dict(line.split(": ", 1) for line in frame.decode().split("\n") if ": " in line)
                    if "data" in fields:
                        yield fields["id"], Event(fields["event"], json.loads(fields["data"]))

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            async with self._session.request(method, path, **options) as response:
                await _check(response)
                return await response.json() if response.status != 204 else None
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise Unavailable(
                f"Could not reach a server at {self._server_url} ({str(error) or 'it took too long'}). "
                "Start one with `server server`, or name another with --server."
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"{self._server_url} did not answer as a MEL Agent server: {error}") from error


@asynccontextmanager
async def connect(credentials: Credentials) -> AsyncIterator[Api]:
    headers = {"Authorization": f"Bearer {credentials.api_key}"} if credentials.api_key else {}
    async with aiohttp.ClientSession(credentials.server_url, headers=headers, timeout=TIMEOUT) as session:
        yield Api(session, credentials.server_url)


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what an error answer names."""
    if response.status < 400:
        return
    try:
        body = await response.json()
        error = ERRORS.get(body["error"], Internal)
        details = [Problem(detail["field"], detail["problem"]) for detail in body["details"]]
        message = str(body["message"])
    except (aiohttp.ContentTypeError, ValueError, LookupError, TypeError):
        raise Unavailable(f"{response.url.origin()} answered {response.status} in a form that is not ours.") from None
    if error is Unauthenticated:
        message += " Give one with --api-key or MEL_API_KEY."
    if error is Internal:
        message += f" The server's log has it under request id {body.get('request_id')}."
    raise error(message, details)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
