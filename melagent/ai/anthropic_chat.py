"""Chat models of Anthropic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2

from melagent.ai.chat import Answer, ImageLink, Transcript, Usage, count, refused
from melagent.ai.failures import EXPECTED, failure, unfinished
from melagent.ai.transport import GuardedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from melagent.ai.chat import Image, Message, Question
    from melagent.sdk import Json, Secret

DEFAULT_MAX_TOKENS = 4_096
"""The service wants to be told a limit; every model of theirs allows this one."""

FINISHES = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "model_context_window_exceeded": "length",
}  # fmt: skip  # their words and ours


class AnthropicChat:
    """A `ChatModel` over the messages API."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, secret: Secret | None) -> None:
        self._transport = GuardedTransport(http, secret)
        self._base_url = base_url

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        hearing = _Hearing(heard)
        try:
            async with httpx2.AsyncClient(transport=self._transport, trust_env=False) as http:
                client = anthropic.AsyncAnthropic(
                    api_key="put on by the transport",
                    base_url=self._base_url,
                    http_client=http,
                    max_retries=0,
                    open_telemetry=False,
                    timeout=None,
                )
                async with await client.messages.create(**_request(question)) as stream:
                    async for event in stream:
                        hearing.take(event)
        except (anthropic.AnthropicError, *EXPECTED) as error:
            raise failure(error) from error
        return hearing.answer(question)


def _request(question: Question) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": question.model,
        "messages": [*map(_message, question.messages)],
        "max_tokens": question.max_tokens or DEFAULT_MAX_TOKENS,
        "stream": True,
    }
    if question.system:
        request["system"] = question.system
    if question.temperature is not None:
        request["extra_body"] = {"temperature": question.temperature}  # the SDK no longer has a word for it
    return request


class _Hearing:
    """What the events of one answer have brought."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._text = Transcript(heard)
        self._finish = ""
        self._ended = False
        self._model = ""
        self._tokens: dict[str, int] = {}

    def take(self, event: Any) -> None:
        match event.type:
            case "message_start":
                self._model = event.message.model or ""
                self._count(event.message.usage)
            case "content_block_delta" if event.delta.type == "text_delta":
                self._text.add(event.delta.text)
            case "message_delta":
                self._finish = event.delta.stop_reason or self._finish
                self._count(event.usage)
            case "message_stop":
                self._ended = True

    def _count(self, usage: Any) -> None:
        """Later numbers are of the whole answer, and take the place of earlier ones."""
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            if (number := count(getattr(usage, name, None))) is not None:
                self._tokens[name] = number

    @property
    def _usage(self) -> Usage:
        """They count what was read from the cache, or written to it, apart from the other input."""
        fresh, read = self._tokens.get("input_tokens"), self._tokens.get("cache_read_input_tokens")
        cached = (read or 0) + self._tokens.get("cache_creation_input_tokens", 0)
        return Usage(None if fresh is None else fresh + cached, self._tokens.get("output_tokens"), read)

    def answer(self, question: Question) -> Answer:
        if self._finish == "refusal":
            raise refused(self._text.text, self._usage)
        if not (self._ended and self._finish):
            raise unfinished()
        finish = FINISHES.get(self._finish, str(self._finish))
        return Answer(self._text.text, str(self._model or question.model), finish, self._usage)


def _message(message: Message) -> dict[str, Json]:
    images = [{"type": "image", "source": _source(image)} for image in message.images]
    if not images:
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [*images, {"type": "text", "text": message.text}]}


def _source(image: Image) -> dict[str, Json]:
    if isinstance(image, ImageLink):
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data}
