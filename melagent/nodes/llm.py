"""Asks a language model once."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from pydantic import model_validator

from melagent.ai.chat import Image, ImageData, ImageLink, Message, Question, spent
from melagent.ai.providers import CREDENTIAL_TYPES, chat_model, keyless_chat_model
from melagent.sdk import Connection, Field, Json, Node, NodeContext, NodeError, Params, Raw, Result

if TYPE_CHECKING:
    from pydantic.config import JsonDict

    from melagent.ai.chat import Answer, ChatModel, Usage

MAX_IMAGES = 20
MAX_IMAGE_CHARACTERS = 14_000_000
"""Of base64: 10 MiB. A value of a run can have 16 MiB in all."""

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp",
}  # fmt: skip  # how files of these kinds begin
_DATA_URL = re.compile(r"data:(?P<type>image/(?:png|jpeg|gif|webp));base64,(?P<data>.*)", re.DOTALL)
_ADVANCED: JsonDict = {"x-group": "Advanced"}
_JSON: JsonDict = {"x-visible-if": "response == 'json'"}


class LlmMessage(Params):
    role: Literal["system", "user", "assistant"] = Field(default="user", description="Who says it")
    content: str = Field(min_length=1, description="What is said")


class Prices(Params):
    input: float = Field(ge=0, description="For input that does not come from the provider's cache")
    cached_input: float | None = Field(default=None, ge=0, description="For cached input; null: as for other input")
    output: float = Field(ge=0, description="For output")


class LlmParams(Params):
    connection: Annotated[UUID | None, Connection(*CREDENTIAL_TYPES)] = Field(
        default=None, description="Whose models, and the key for them"
    )
    base_url: str | None = Field(
        default=None,
        max_length=2_000,
        pattern=r"^https?://",
        description="Instead of a connection: a service that speaks OpenAI's protocol and wants no key",
    )
    model: str = Field(min_length=1, max_length=300, description="Its name, as the provider calls it")
    system: str = Field(default="", description="What the model is to know and to heed")
    prompt: str | None = Field(
        default=None, min_length=1, description="What it is asked", json_schema_extra={"x-widget": "template"}
    )
    messages: list[LlmMessage] | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="Instead of a prompt: a conversation, the oldest first",
    )
    images: list[str] = Field(
        default_factory=list,
        max_length=MAX_IMAGES,
        description="Go with the prompt: addresses, which the provider fetches, or base64 of PNG, JPEG, GIF or WebP",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="How freely it chooses its words; null leaves that to the provider"
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Of the answer; null: the provider's limit, with Anthropic 4096"
    )
    response: Literal["text", "json"] = Field(default="text", description="What the answer is to be")
    json_schema: Annotated[dict[str, Json] | None, Raw] = Field(
        default=None,
        alias="schema",
        description="A JSON Schema by which the answer must be valid",
        json_schema_extra=_JSON,
    )
    prices: Prices | None = Field(
        default=None,
        description="Of a million tokens each, in your currency; the output then has the `cost`",
        json_schema_extra=_ADVANCED,
    )
    timeout: float = Field(
        default=300, gt=0, le=3_600, description="Seconds for the whole answer", json_schema_extra=_ADVANCED
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.connection is None) is (self.base_url is None):
            raise ValueError("give either a connection or a baseUrl")
        if (self.prompt is None) is (self.messages is None):
            raise ValueError("give either a prompt or messages")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("the last one of the messages must be of the role user")
        if self.json_schema is not None:
            if self.response != "json":
                raise ValueError("a schema is for the response json")
            _check_schema(self.json_schema)
        return self


class Llm(Node[LlmParams]):
    """The output is `{text, model, finish, usage: {input_tokens, output_tokens, cached_tokens}}`. `finish` is `stop`,
    or `length` when `maxTokens` or the model's own limit cut the text off. What the provider does not count is null.
    Input tokens are all of them, also those that were read from the provider's cache. Those who watch the run see the
    text while it is made.

    With the response `json` the output also has the value, as `json`. The model is told to answer with JSON by the
    schema, and what it answers is checked. An answer that is not valid fails with the code `invalid_json`, and the
    model is asked again, as the node's `retry` says; one that was cut off fails with `output_cut_off`, and it is not.

    Other codes: `unauthenticated`, `forbidden`, `not_found` (the model, or the address), `quota_exceeded`,
    `bad_request`, `context_too_long`, `content_refused`, `too_large`, `redirected`, `address_refused`,
    `host_not_allowed`, for which there is no second try; `rate_limited` and `unavailable`, tried again when the service
    wants it at the earliest; `timeout`, `connection_failed` and `broken_stream`, tried again. A failed try may have
    cost tokens.
    """

    id = "llm"
    name = "Language model"
    description = "Asks a language model, whose answer can be watched while it is made"
    category = "AI"
    icon = "sparkles"
    effects = True
    timeout_seconds = 3_600.0

    async def run(self, params: LlmParams, ctx: NodeContext) -> Result:
        question = _question(params)
        try:
            async with asyncio.timeout(params.timeout):
                model = await _model(params, ctx)
                answer = await model.ask(question, ctx.show)
        except TimeoutError as error:
            raise NodeError(f"There was no whole answer within {params.timeout:g} s.", code="timeout") from error
        output: dict[str, Json] = {
            "text": answer.text,
            "model": answer.model,
            "finish": answer.finish,
            "usage": spent(answer.usage),
        }
        if params.prices is not None:
            output["cost"] = _cost(answer.usage, params.prices)
        if params.response == "json":
            output["json"] = _json(answer, params)
        return output


async def _model(params: LlmParams, ctx: NodeContext) -> ChatModel:
    if params.connection is None:
        return await keyless_chat_model(ctx.http, str(params.base_url))
    return await chat_model(ctx.http, await ctx.connection(params.connection))


def _question(params: LlmParams) -> Question:
    given = params.messages or [LlmMessage(role="user", content=params.prompt or "")]
    system = [params.system, *(each.content for each in given if each.role == "system")]
    if params.response == "json":
        system.append(_instruction(params))
    said = [Message(each.role, each.content) for each in given if each.role != "system"]
    said[-1] = Message("user", said[-1].text, tuple(map(_image, params.images)))
    return Question(
        model=params.model,
        messages=said,
        system="\n\n".join(filter(None, system)),
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        as_json=params.response == "json",
        schema=params.json_schema,
    )


def _image(given: str) -> Image:
    if given.startswith(("http://", "https://")):
        return ImageLink(given)
    found = _DATA_URL.fullmatch(given)
    data = "".join((found["data"] if found else given).split())
    try:
        begin = base64.b64decode(data[:64], validate=True)
        if len(data) > MAX_IMAGE_CHARACTERS:
            raise ValueError("it is too large")
        media_type = (
            found["type"] if found else next(kind for start, kind in SIGNATURES.items() if begin.startswith(start))
        )
    except (binascii.Error, StopIteration, ValueError) as error:
        message = "An image is no address, and no base64 of a PNG, JPEG, GIF or WebP of at most 10 MiB."
        raise NodeError(message, code="wrong_image", retryable=False) from error
    return ImageData(media_type, data)


def _cost(usage: Usage, prices: Prices) -> float | None:
    """Null when the provider has not said what was used: nothing is guessed."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.cached_tokens or 0
    for_cached = prices.input if prices.cached_input is None else prices.cached_input
    fresh = usage.input_tokens - cached
    return (fresh * prices.input + cached * for_cached + usage.output_tokens * prices.output) / 1_000_000


def _json(answer: Answer, params: LlmParams) -> Json:
    from melagent.ai.structured import parsed  # noqa: PLC0415  # its library is for those who need it

    try:
        return parsed(answer.text, params.json_schema)
    except NodeError as error:
        error.details = {**(error.details or {}), "usage": spent(answer.usage)}
        if answer.finish == "length":
            error.code, error.retryable = "output_cut_off", False
            error.message = f"The answer was cut off before its end: give it more than {params.max_tokens} maxTokens."
        raise


def _instruction(params: LlmParams) -> str:
    from melagent.ai.structured import instruction  # noqa: PLC0415  # as above

    return instruction(params.json_schema)


def _check_schema(schema: dict[str, Json]) -> None:
    from melagent.ai.structured import check_schema  # noqa: PLC0415  # as above

    check_schema(schema)
