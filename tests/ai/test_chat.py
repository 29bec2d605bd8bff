"""Each provider's protocol, as a node's model speaks it: what is sent, what is heard, what goes wrong."""

import asyncio
import json

import pytest

from melagent.ai import chat, transport
from melagent.ai.chat import Answer, ImageData, ImageLink, Message, Question, Usage
from melagent.ai.providers import chat_model, keyless_chat_model
from melagent.net import guarded_session
from melagent.sdk import NodeError
from tests.ai.providers import KEY

PROMPT = (Message("user", "Say hello"),)


@pytest.fixture
async def ask(provider, loopback_http):
    """Ask the provider over its connection; with `heard`, hear the pieces."""

    async def ask(heard=None, **question):
        model = await chat_model(loopback_http, provider.secret())
        given = {"model": "m-1", "messages": PROMPT, **question}
        async with asyncio.timeout(60):
            return await model.ask(Question(**given), (heard if heard is not None else []).append)

    return ask


@pytest.fixture
def failed(ask):
    """What asking fails with."""

    async def failed(**question):
        with pytest.raises(NodeError) as raised:
            await ask(**question)
        assert KEY not in f"{raised.value} {raised.value.details}"
        return raised.value

    return failed


async def test_answer_comes_in_pieces_and_then_as_a_whole_with_its_usage(provider, ask):
    provider.chunks, heard = provider.says("Hel", "lo, ", "wörld 🙂"), []
    answer = await ask(heard)
    assert heard == ["Hel", "lo, ", "wörld 🙂"]
    assert answer == Answer("Hello, wörld 🙂", answer.model, "stop", Usage(19, 10, 8))
    assert answer.model in ("gpt-4o-mini", "claude-opus-4-1-20250805")


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
async def test_answer_is_the_same_in_whatever_chunks_it_comes(provider, ask, size):
    stream = b"".join(provider.says("a", "ö🙂", "\n\nb", "\r\n"))
    provider.chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert (await ask()).text == "aö🙂\n\nb\r\n"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
async def test_answer_is_the_same_with_other_line_ends(provider, ask, line_end):
    stream = b"".join(provider.says("a", "b")).replace(b"\n", line_end)
    provider.chunks = [stream[start : start + 3] for start in range(0, len(stream), 3)]
    assert (await ask()).text == "ab"


async def test_question_is_sent_as_the_protocol_wants_it(provider, ask):
    provider.chunks = provider.says("x")
    conversation = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go on")]
    await ask(messages=conversation, system="Be brief", temperature=0.5, max_tokens=77)
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Go on"}]  # fmt: skip  # one conversation
    system = {"role": "system", "content": "Be brief"}
    options = {"include_usage": True}
    common = {"model": "m-1", "stream": True, "temperature": 0.5}
    assert provider.asked == [
        {
            "openai": {**common, "messages": [system, *said], "max_completion_tokens": 77, "stream_options": options},
            "openai_compatible": {**common, "messages": [system, *said], "max_tokens": 77, "stream_options": options},
            "anthropic": {**common, "messages": said, "system": "Be brief", "max_tokens": 77},
        }[provider.kind]
    ]


async def test_what_is_not_given_is_not_sent(provider, ask):
    provider.chunks = provider.says("x")
    await ask()
    limit = {"max_tokens": 4096} if provider.kind == "anthropic" else {"stream_options": {"include_usage": True}}
    said = [{"role": "user", "content": "Say hello"}]
    assert provider.asked == [{"model": "m-1", "messages": said, "stream": True, **limit}]


async def test_images_go_with_the_message(provider, ask):
    provider.chunks = provider.says("x")
    images = (ImageLink("https://a.example/cat.png"), ImageData("image/png", "aGk="))
    await ask(messages=[Message("user", "What is it?", images)])
    (message,) = provider.asked[0]["messages"]
    if provider.kind == "anthropic":
        link = {"type": "image", "source": {"type": "url", "url": "https://a.example/cat.png"}}
        data = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
        assert message["content"] == [link, data, {"type": "text", "text": "What is it?"}]
    else:
        link = {"type": "image_url", "image_url": {"url": "https://a.example/cat.png"}}
        data = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        assert message["content"] == [{"type": "text", "text": "What is it?"}, link, data]


@pytest.mark.parametrize("provider", ["openai", "openai_compatible"], indirect=True)
async def test_json_is_asked_for_by_its_schema(provider, ask):
    provider.chunks, schema = provider.says("{}"), {"type": "object"}
    await ask(as_json=True)
    await ask(as_json=True, schema=schema)
    assert [asked["response_format"] for asked in provider.asked] == [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    ]


async def test_key_is_sent_as_the_connection_says_and_nothing_of_the_environment_is(provider, ask, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "of-the-environment")
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://of-the-environment.example")
    for name in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.setenv(name, "X-Custom: of-the-environment")
    provider.chunks = provider.says("x")
    await ask()
    (headers,) = provider.headers
    assert "of-the-environment" not in json.dumps(headers)
    assert not [name for name in headers if name.startswith("x-stainless")]
    if provider.kind == "anthropic":
        assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "authorization" not in headers
    else:
        assert headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("provider", ["openai_compatible"], indirect=True)
async def test_service_without_a_key_is_sent_none(provider, loopback_http):
    provider.chunks = provider.says("x")
    model = await keyless_chat_model(loopback_http, provider.base_url)
    await model.ask(Question("m", PROMPT), lambda _piece: None)
    assert "authorization" not in provider.headers[0]


@pytest.mark.parametrize("provider", ["openai"], indirect=True)
async def test_organization_of_a_connection_is_sent(provider, loopback_http):
    provider.chunks = provider.says("x")
    model = await chat_model(loopback_http, provider.secret(organization="org-1"))
    await model.ask(Question("m", PROMPT), lambda _piece: None)
    assert provider.headers[0]["openai-organization"] == "org-1"


@pytest.mark.parametrize("finish", ["length", "max_tokens"])
async def test_answer_that_was_cut_off_says_so(provider, ask, finish):
    provider.chunks = provider.says("one two", finish="max_tokens" if provider.kind == "anthropic" else "length")
    assert (await ask()).finish == "length"


async def test_usage_that_is_not_told_is_null(provider, ask):
    provider.chunks = provider.says("x", usage={})
    assert (await ask()).usage == Usage(None, None, None)


STATUSES = [
    (400, "bad_request", False), (401, "unauthenticated", False), (403, "forbidden", False), (404, "not_found", False),
    (413, "context_too_long", False), (418, "bad_request", False), (429, "rate_limited", True),
    (500, "unavailable", True), (503, "unavailable", True), (529, "unavailable", True), (308, "redirected", False),
]  # fmt: skip  # one line of thought


@pytest.mark.parametrize(("status", "code", "retryable"), STATUSES)
async def test_status_says_what_went_wrong_and_nobody_but_the_workflow_tries_again(
    provider, failed, status, code, retryable
):
    provider.error(status, {"type": "x", "message": f"It is {KEY[:3]} wrong"}, {"Location": "/elsewhere"})
    error = await failed()
    assert (error.code, error.retryable, error.details["status"]) == (code, retryable, status)
    assert "It is sk- wrong" in error.message or status == 308
    assert len(provider.asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>down</html>", b"[]", b'{"error": "text"}', b'{"error": {"message": 1}}'])
async def test_body_of_an_error_may_be_anything(provider, failed, body):
    async def reply(_request):
        from aiohttp import web

        return web.Response(body=body, status=502)

    provider.reply = reply
    error = await failed()
    assert (error.code, error.retryable) == ("unavailable", True)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, {"code": "context_length_exceeded", "type": "invalid_request_error"}, "context_too_long"),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}, "context_too_long"),
        (400, {"message": "This model's maximum context length is 8 tokens"}, "context_too_long"),
        (400, {"code": "content_policy_violation"}, "content_refused"),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "quota_exceeded"),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, "not_found"),
    ],
)
async def test_words_of_a_service_say_more_than_its_status(provider, failed, status, error, code):
    provider.error(status, error)
    found = await failed()
    assert (found.code, found.retryable) == (code, False)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5, 1.5),
        ({"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, 86_400, 86_400),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0, 0),
        ({"Retry-After": "soon"}, 0, 0),
        ({"Retry-After": "nan"}, 0, 0),
        ({"Retry-After": "-5"}, 0, 0),
        ({}, 0, 0),
    ],
)
async def test_service_says_when_to_come_again(provider, failed, headers, least, most):
    provider.error(429, {"message": "slow down"}, headers)
    assert least <= (await failed()).retry_after <= most


async def test_refusal_is_no_answer(provider, failed):
    finish = "refusal" if provider.kind == "anthropic" else "content_filter"
    provider.chunks = provider.says("I", finish=finish)
    error = await failed()
    assert (error.code, error.retryable) == ("content_refused", False)
    assert error.details["usage"]["output_tokens"] == 10


@pytest.mark.parametrize("provider", ["openai"], indirect=True)
async def test_refusal_in_words_is_told(provider, failed):
    refusal = {"choices": [{"index": 0, "delta": {"refusal": "I can't help with that."}, "finish_reason": "stop"}]}
    provider.chunks = [b"data: %s\n\n" % json.dumps(refusal).encode(), b"data: [DONE]\n\n"]
    error = await failed()
    assert (error.code, error.message) == ("content_refused", "The model refused to answer: I can't help with that.")


async def test_error_within_a_stream_is_what_it_says(provider, failed):
    error = {"type": "overloaded_error", "message": "Overloaded"}
    if provider.kind == "anthropic":
        event = b"event: error\ndata: %s\n\n" % json.dumps({"type": "error", "error": error}).encode()
    else:
        event = b"data: %s\n\n" % json.dumps({"error": error}).encode()
    provider.chunks = [*provider.says("a", "b")[:3], event]
    found = await failed()
    assert (found.code, found.retryable) == ("unavailable", True)
    assert "Overloaded" in found.message


async def test_stream_that_ends_too_early_is_broken(provider, failed):
    whole = provider.says("a", "b")
    needed = len(whole) if provider.kind == "anthropic" else len(whole) - 2  # there usage and `[DONE]` come last
    for length in range(needed):
        provider.chunks = whole[:length]
        error = await failed()
        assert (error.code, error.retryable) == ("broken_stream", True), length


async def test_connection_that_is_cut_is_a_broken_stream(provider, failed):
    for chunks in ([], provider.says("a", "b")[:3], [provider.says("a")[0][:20]]):
        provider.cut_after(*chunks)
        error = await failed()
        assert (error.code, error.retryable) == ("broken_stream", True)


DELTA = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": %s}\n\n'


@pytest.mark.parametrize(
    "garbage",
    [
        b"not an event stream",
        b"data: {\n\n",
        b"data: null\n\n",
        b"data: 7\n\n",
        b"data: []\n\n",
        b"data: \xff\xfe\n\n",
        b'data: {"choices": 7}\n\n',
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": [{"delta": 5}]}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": ["x"]}}]}\n\n',
        b'event: message_start\ndata: {"type": "message_start", "message": null}\n\n',
        DELTA % b'{"type": "text_delta", "text": 5}',
        DELTA % b"7",
        b'event: message_delta\ndata: {"type": "message_delta"}\n\n',
        b"event: message_stop\ndata: 3\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"event: message_stop\ndata: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=range(18),
)
async def test_garbage_is_no_answer(provider, failed, garbage):
    provider.chunks = [garbage]
    error = await failed()
    assert (error.code, error.retryable) == ("broken_stream", True)


async def test_halves_of_a_character_are_put_together_and_lone_ones_replaced(provider, ask):
    provider.chunks = provider.says("a\ud83d", "\ude42b", "\ud83d")
    assert (await ask()).text == "a🙂b\ufffd"


async def test_endless_answer_is_ended(provider, failed, monkeypatch):
    monkeypatch.setattr(chat, "MAX_CHARACTERS", 100_000)
    first, *_, again, _stop, _usage, _done = openai_or_anthropic(provider)

    async def reply(request):
        return await provider.stream(request, endless(first, again * 50))

    provider.reply = reply
    error = await failed()
    assert (error.code, error.retryable) == ("too_large", False)
    async with asyncio.timeout(30):
        await provider.left.wait()


def openai_or_anthropic(provider):
    """The events of an answer, with as many after the last piece for both."""
    events = provider.says("x" * 100)
    return events if provider.kind != "anthropic" else [*events[:2], *events[3:]]


def endless(first, again):
    yield first
    while True:
        yield again


@pytest.mark.parametrize(
    "chunk", [b": still here\n\n" * 1_000, b"x" * 60_000, b"x\n" * 20_000, b"data: {}\n\n" * 1_000], ids=range(4)
)
async def test_endless_noise_is_ended(provider, failed, chunk, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BYTES", 4_000_000)
    monkeypatch.setattr(transport, "MAX_EVENTS", 5_000)

    async def reply(request):
        return await provider.stream(request, endless(b"", chunk))

    provider.reply = reply
    error = await failed()
    assert (error.code, error.retryable) == ("too_large", False)
    async with asyncio.timeout(30):
        await provider.left.wait()


async def test_endless_error_is_ended(provider, failed, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BYTES", 1_000_000)

    async def reply(request):
        from aiohttp import web

        response = web.StreamResponse(status=400)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    provider.reply = reply
    assert (await failed()).code == "too_large"


async def test_whoever_stops_asking_closes_the_connection(provider, ask):
    provider.silent_after(*provider.says("Hello")[:4])
    heard = asyncio.Queue()
    heard.append = heard.put_nowait
    asking = asyncio.create_task(ask(heard))
    async with asyncio.timeout(30):
        assert await heard.get() == "Hello"
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await provider.left.wait()


async def test_service_at_an_address_that_is_not_public_is_not_called(provider):
    async with guarded_session([]) as http:
        model = await chat_model(http, provider.secret())
        with pytest.raises(NodeError) as raised:
            await model.ask(Question("m", PROMPT), lambda _piece: None)
    assert (raised.value.code, raised.value.retryable) == ("address_refused", False)
    assert provider.asked == []


async def test_service_that_is_away_is_worth_another_try(provider, loopback_http):
    model = await chat_model(loopback_http, provider.secret(base_url="http://127.0.0.1:1"))
    with pytest.raises(NodeError) as raised:
        await model.ask(Question("m", PROMPT), lambda _piece: None)
    assert (raised.value.code, raised.value.retryable) == ("connection_failed", True)


async def test_redirect_takes_the_key_nowhere(provider, failed):
    seen = len(provider.asked)
    provider.error(307, None, {"Location": f"{provider.url}/v1/elsewhere"})
    assert (await failed()).code == "redirected"
    assert len(provider.asked) == seen + 1


async def test_key_is_not_sent_where_the_connection_does_not_allow_it(provider, loopback_http):
    secret = provider.secret()
    object.__setattr__(secret, "origins", ())
    model = await chat_model(loopback_http, secret)
    with pytest.raises(NodeError) as raised:
        await model.ask(Question("m", PROMPT), lambda _piece: None)
    assert (raised.value.code, raised.value.retryable) == ("host_not_allowed", False)
    assert provider.asked == []
