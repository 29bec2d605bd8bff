"""A stand-in for a language model, for examples and first tries: it repeats what it is told, in OpenAI's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from melagent.api.wire import UNBUFFERED, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECES = 50
HEADERS = {"Content-Type": "text/event-stream", **UNBUFFERED}


class Said(BaseModel):
    """A message; of a list of parts only the texts count."""

    role: str = Field(max_length=100)
    content: str | list[dict[str, Any]]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part["text"] for part in self.content if isinstance(part.get("text"), str))


class ChatQuestion(BaseModel):
    """What clients of chat completions send. Other fields are passed over."""

    model: str = Field(max_length=300)
    messages: list[Said] = Field(min_length=1, max_length=10_000)
    stream: Literal[True]


async def chat(request: web.Request, body: ChatQuestion) -> web.StreamResponse:
    """Repeats the last message as the stream of a chat completion; counts words as tokens."""
    stream = web.StreamResponse(headers=HEADERS)
    await stream.prepare(request)
    for chunk in _chunks(body):
        await stream.write(b"data: %s\n\n" % encode(chunk))
    await stream.write(b"data: [DONE]\n\n")
    return stream


def _chunks(question: ChatQuestion) -> Iterator[dict[str, Any]]:
    common = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": question.model}
    text = question.messages[-1].text
    for piece in _pieces(text):
        yield {**common, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
    yield {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    asked, answered = sum(len(said.text.split()) for said in question.messages), len(text.split())
    usage = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    yield {**common, "choices": [], "usage": usage}


def _pieces(text: str) -> Iterator[str]:
    size = max(4, -(-len(text) // PIECES))
    return (text[start : start + size] for start in range(0, len(text), size))
