"""Servers on loopback that speak OpenAI's chat completions and Anthropic's messages, by their public documentation.

https://platform.openai.com/docs/api-reference/chat-streaming and https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestServer

from melagent.domain.secrets import Secret
from melagent.services.connections import checked
from melagent.services.credential_types import TYPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

ID = UUID(int=7)
KEY = "sk-canary-7f3a9c"
START = {"input_tokens": 6, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 8, "output_tokens": 1}


@dataclass
class Provider:
    """What was asked of it, and what it answers: `chunks` as they are, then the end; or whatever `reply` does."""

    kind: str
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    chunks: Sequence[bytes] = ()
    reply: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Opened by the test when `said_then_silent` may go on."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller has closed its connection before the end."""

    @property
    def base_url(self) -> str:
        return self.url if self.kind == "anthropic" else f"{self.url}/v1"

    def secret(self, **fields: Any) -> Secret:
        """The connection to it, as a run gets it."""
        kind = TYPES[self.kind]
        credential = checked(kind, {"base_url": self.base_url, "api_key": KEY, **fields})
        return Secret(
            ID, "mine", kind.id, credential.model_dump(), kind.hidden, credential.headers, credential.query,
            credential.origins,
        )  # fmt: skip  # in the order of the fields

    def says(self, *pieces: str, finish: str | None = None, usage: dict[str, Any] | None = None) -> list[bytes]:
        """The events of an answer, one chunk each."""
        return [*(anthropic if self.kind == "anthropic" else openai)(pieces, finish, usage)]

    def error(self, status: int, error: dict[str, Any] | None, headers: dict[str, str] | None = None) -> None:
        """Answer an error, as the service writes its body."""
        body = {"type": "error", "error": error} if self.kind == "anthropic" else {"error": error}

        async def reply(_request: web.Request) -> web.Response:
            return web.json_response(body if error else None, status=status, headers=headers)

        self.reply = reply

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.asked.append(await request.json())
        if self.reply is not None:
            return await self.reply(request)
        return await self.stream(request, self.chunks)

    async def stream(self, request: web.Request, chunks: Iterable[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            for chunk in chunks:
                await response.write(chunk)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    def silent_after(self, *chunks: bytes) -> None:
        """Say so much, then nothing until the gate opens; the rest of `chunks` follows."""

        async def reply(request: web.Request) -> web.StreamResponse:
            response = await self.stream(request, chunks)
            try:
                await self.gate.wait()
                for chunk in self.chunks:
                    await response.write(chunk)
            except (ConnectionError, asyncio.CancelledError):
                self.left.set()
                raise
            return response

        self.reply = reply

    def cut_after(self, *chunks: bytes) -> None:
        """Say so much, then break the connection."""

        async def reply(request: web.Request) -> web.StreamResponse:
            response = await self.stream(request, chunks)
            assert request.transport is not None
            request.transport.close()
            return response

        self.reply = reply


@asynccontextmanager
async def provider(kind: str) -> AsyncIterator[Provider]:
    made = Provider(kind)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/messages" if kind == "anthropic" else "/v1/chat/completions", made.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    made.url = f"http://127.0.0.1:{server.port}"
    try:
        yield made
    finally:
        made.gate.set()
        await server.close()


def openai(pieces: Iterable[str], finish: str | None, usage: dict[str, Any] | None) -> Iterable[bytes]:
    def chunk(delta: dict[str, Any] | None, reason: str | None = None, **fields: Any) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
        body = {
            "id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-mini",
            "system_fingerprint": "fp_44709d6fcb", "choices": choices, "usage": None, **fields,
        }  # fmt: skip  # as on the page
        return b"data: %s\n\n" % json.dumps(body).encode()

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces:
        yield chunk({"content": piece})
    yield chunk({}, finish or "stop")
    if usage is None:
        usage = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
                 "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0}}  # fmt: skip  # one object
    yield chunk(None, usage=usage)
    yield b"data: [DONE]\n\n"


def anthropic(pieces: Iterable[str], finish: str | None, usage: dict[str, Any] | None) -> Iterable[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())

    message = {
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyy", "type": "message", "role": "assistant", "content": [],
        "model": "claude-opus-4-1-20250805", "stop_reason": None, "stop_sequence": None,
        "usage": usage if usage is not None else START,
    }  # fmt: skip  # as on the page
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in pieces:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    delta = {"stop_reason": finish or "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 10} if usage is None else usage)
    yield event("message_stop")
