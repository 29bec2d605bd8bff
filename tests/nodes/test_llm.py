"""The llm node: its parameters, what it asks, and what it gives out."""

import asyncio
import base64
import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from melagent.registry import Registry
from melagent.sdk import NodeError
from tests.ai.providers import ID, KEY
from tests.ai.providers import provider as opened

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0123456789").decode()
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
LLM = Registry.builtin().get("llm")


@pytest.fixture(params=["openai", "anthropic"])
async def provider(request):
    async with opened(request.param) as made:
        yield made


@pytest.fixture
def context(context, provider, loopback_http):
    """A context in which the connection to the provider can be opened."""
    return context(http=loopback_http, connections={ID: provider.secret()}, input={"who": "Ada"})


@pytest.fixture
def ask(run_node, context):
    async def ask(**config):
        given = {"prompt": "Greet {{ input.who }}"} if "messages" not in config else {}
        async with asyncio.timeout(60):
            return await run_node("llm", {"connection": str(ID), "model": "m", **given, **config}, context)

    return ask


async def test_model_is_asked_and_its_answer_shown_meanwhile(provider, ask, context):
    provider.chunks = provider.says("Hello, ", "Ada")
    output = await ask()
    assert output == {
        "text": "Hello, Ada", "model": output["model"], "finish": "stop",
        "usage": {"input_tokens": 19, "output_tokens": 10, "cached_tokens": 8},
    }  # fmt: skip  # one object
    assert context.shown == ["Hello, ", "Ada"]
    assert provider.asked[0]["messages"] == [{"role": "user", "content": "Greet Ada"}]


async def test_conversation_may_come_from_the_input_and_its_system_messages_join_the_system(provider, ask, context):
    provider.chunks = provider.says("x")
    context.input = [{"role": "system", "content": "Be kind"}, {"content": "Hi"},
                     {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Bye"}]  # fmt: skip
    await ask(messages="{{ input }}", system="Be brief")
    (asked,) = provider.asked
    system = asked["system"] if provider.kind == "anthropic" else asked["messages"].pop(0)["content"]
    assert system == "Be brief\n\nBe kind"
    assert [(said["role"], said["content"]) for said in asked["messages"]] == [
        ("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye"),
    ]  # fmt: skip  # a conversation


async def test_cost_follows_from_the_prices_that_are_given(provider, ask):
    provider.chunks = provider.says("x")
    assert (await ask(prices={"input": 10, "cachedInput": 1, "output": 100}))["cost"] == pytest.approx(1118e-6)
    assert (await ask(prices={"input": 10, "output": 100}))["cost"] == pytest.approx(1190e-6)
    provider.chunks = provider.says("x", usage={})
    assert (await ask(prices={"input": 10, "output": 100}))["cost"] is None


async def test_json_comes_out_as_a_value(provider, ask):
    provider.chunks = provider.says('{"n"', ": 7}")
    output = await ask(response="json", schema=SCHEMA)
    assert (output["json"], output["text"]) == ({"n": 7}, '{"n": 7}')
    assert "Answer with JSON only" in json.dumps(provider.asked[0])
    assert "required" in json.dumps(provider.asked[0])


async def test_json_that_is_not_valid_may_be_asked_for_again_and_tells_what_it_has_cost(provider, ask):
    provider.chunks = provider.says('{"n": "seven"}')
    with pytest.raises(NodeError) as raised:
        await ask(response="json", schema=SCHEMA)
    assert (raised.value.code, raised.value.retryable) == ("invalid_json", True)
    assert raised.value.details["usage"]["output_tokens"] == 10


async def test_json_that_was_cut_off_is_not_asked_for_again(provider, ask):
    provider.chunks = provider.says('{"n": ', finish="max_tokens" if provider.kind == "anthropic" else "length")
    with pytest.raises(NodeError) as raised:
        await ask(response="json", maxTokens=5)
    assert (raised.value.code, raised.value.retryable) == ("output_cut_off", False)


@pytest.mark.parametrize("image", [PNG, f"data:image/png;base64,{PNG}", f"{PNG[:10]}\n{PNG[10:]}"])
async def test_image_may_be_base64(provider, ask, image):
    provider.chunks = provider.says("x")
    await ask(images=[image, "https://a.example/{{ input.who }}.png"])
    sent = json.dumps(provider.asked[0]["messages"])
    assert PNG in sent
    assert "image/png" in sent
    assert "https://a.example/Ada.png" in sent


@pytest.mark.parametrize("image", ["", "cat.png", "aGVsbG8=", "file:///etc/passwd", "data:text/html;base64,aGk=", "é"])
async def test_what_is_no_image_is_not_sent(provider, ask, image):
    with pytest.raises(NodeError) as raised:
        await ask(images=[image])
    assert (raised.value.code, raised.value.retryable) == ("wrong_image", False)
    assert provider.asked == []


async def test_slow_service_is_left_when_the_time_is_over(provider, ask, context):
    provider.silent_after(*provider.says("Hello")[:4])
    with pytest.raises(NodeError) as raised:
        await ask(timeout=0.2)
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)
    async with asyncio.timeout(30):
        await provider.left.wait()


async def test_node_without_a_connection_asks_a_service_that_wants_no_key(run_node, context, provider):
    if provider.kind == "anthropic":
        return
    provider.chunks = provider.says("Hi")
    output = await run_node("llm", {"baseUrl": provider.base_url, "model": "m", "prompt": "Hi"}, context)
    assert output["text"] == "Hi"
    assert KEY not in json.dumps(provider.headers)


GOOD = {"connection": str(ID), "model": "m", "prompt": "p"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseUrl": "http://a.example"}, "either a connection or a baseUrl"),
        ({"connection": None}, "either a connection or a baseUrl"),
        ({"prompt": None}, "either a prompt or messages"),
        ({"messages": [{"content": "x"}]}, "either a prompt or messages"),
        ({"prompt": None, "messages": []}, "messages"),
        ({"prompt": None, "messages": [{"role": "assistant", "content": "x"}]}, "must be of the role user"),
        ({"schema": {}}, "a schema is for the response json"),
        ({"response": "json", "schema": {"type": "nonsense"}}, "nonsense"),
        ({"response": "json", "schema": {"$ref": "http://127.0.0.1/x"}}, "cannot refer to another one"),
        ({"temperature": 3}, "temperature"),
        ({"maxTokens": 0}, "maxTokens"),
        ({"connection": None, "baseUrl": "file:///x"}, "baseUrl"),
        ({"model": ""}, "model"),
        ({"apiKey": "sk-1"}, "apiKey"),
    ],
)
def test_parameters_that_cannot_be_are_refused(change, said):
    LLM.params.model_validate(GOOD)
    with pytest.raises(ValidationError) as raised:
        LLM.params.model_validate(GOOD | change)
    assert said in str(raised.value)
    assert LLM.problems(GOOD | change)


def test_its_answer_is_recorded_before_anything_that_follows():
    assert LLM.effects


def test_braces_in_a_schema_are_no_template():
    config = {**GOOD, "response": "json", "schema": {"description": "{{ nothing }}"}}
    assert LLM.problems(config) == []


def test_no_sdk_is_imported_before_a_node_asks():
    program = "import sys; from melagent.registry import Registry; import melagent.cli.compose; Registry.builtin(); "
    program += "print(*{'openai', 'anthropic', 'httpx2', 'jsonschema_rs'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
