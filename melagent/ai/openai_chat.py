"""Chat models of OpenAI, and of the many services that speak the same protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import openai

from melagent.ai.chat import Answer, ImageLink, Transcript, Usage, count, refused
from melagent.ai.failures import EXPECTED, failure, unfinished
from melagent.ai.transport import GuardedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from melagent.ai.chat import Image, Message, Question
    from melagent.sdk import Json, Secret


class OpenAiChat:
    """A `ChatModel` over chat completions."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, secret: Secret | None) -> None:
        self._transport = GuardedTransport(http, secret)
        self._base_url = base_url
        # OpenAI's newer models know the one name only, services of others often the older one only.
        self._limit_name = "max_completion_tokens" if secret and secret.type == "openai" else "max_tokens"

    async def ask(self, question: Question, heard: Callable[[str], None]) -> Answer:
        hearing = _Hearing(heard)
        try:
            async with httpx2.AsyncClient(transport=self._transport, trust_env=False) as http:
                client = openai.AsyncOpenAI(
                    api_key="put on by the transport",
                    base_url=self._base_url,
                    http_client=http,
                    max_retries=0,
                    timeout=None,
                )
                async with await client.chat.completions.create(**self._request(question)) as stream:
                    async for chunk in stream:
                        hearing.take(chunk)
        except (openai.OpenAIError, *EXPECTED) as error:
            raise failure(error) from error
        return hearing.answer(question)

    def _request(self, question: Question) -> dict[str, Any]:
        system = [{"role": "system", "content": question.system}] if question.system else []
        request: dict[str, Any] = {
            "model": question.model,
            "messages": [*system, *map(_message, question.messages)],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if question.temperature is not None:
            request["temperature"] = question.temperature
        if question.max_tokens is not None:
            request[self._limit_name] = question.max_tokens
        if question.as_json:
            request["response_format"] = _format(question)
        return request


class _Hearing:
    """What the chunks of one answer have brought."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._text = Transcript(heard)
        self._refusal = Transcript(lambda _piece: None)
        self._finish = ""
        self._model = ""
        self._usage = Usage()

    def take(self, chunk: Any) -> None:
        self._model = chunk.model or self._model
        if (usage := chunk.usage) is not None:  # not every service tells all of it
            cached = _number(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
            self._usage = Usage(_number(usage, "prompt_tokens"), _number(usage, "completion_tokens"), cached)
        for choice in (chunk.choices or ())[:1]:
            self._finish = choice.finish_reason or self._finish
            if choice.delta is not None:
                self._text.add(choice.delta.content)
                self._refusal.add(choice.delta.refusal)

    def answer(self, question: Question) -> Answer:
        if self._refusal.text or self._finish == "content_filter":
            raise refused(self._refusal.text, self._usage)
        if not self._finish:
            raise unfinished()
        return Answer(self._text.text, str(self._model or question.model), str(self._finish), self._usage)


def _number(told: Any, name: str) -> int | None:
    return count(getattr(told, name, None))


def _message(message: Message) -> dict[str, Json]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    images = [{"type": "image_url", "image_url": {"url": _address(image)}} for image in message.images]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *images]}


def _address(image: Image) -> str:
    return image.url if isinstance(image, ImageLink) else f"data:{image.media_type};base64,{image.data}"


def _format(question: Question) -> dict[str, Json]:
    """Not `strict`: that allows a part of JSON Schema only."""
    if question.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": question.schema}}
