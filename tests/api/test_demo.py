from dataclasses import replace

import openai
import pytest


async def test_echo_answers_what_was_sent(client):
    answer = await client.put("/demo/echo?a=1&a=2&b=", json={"x": 1}, headers={"X-Custom": "yes"})
    body = await answer.json()
    assert (body["method"], body["path"], body["body"]) == ("PUT", "/demo/echo", {"x": 1})
    assert body["query"] == {"a": ["1", "2"], "b": ""}
    assert body["headers"]["x-custom"] == "yes"


async def test_sample_data_is_an_object_with_orders(client):
    assert len((await (await client.get("/demo/json")).json())["orders"]) == 3


@pytest.mark.parametrize("code", [200, 204, 304, 404, 503, 599])
async def test_a_status_is_answered_as_asked(client, code):
    assert (await client.get(f"/demo/status/{code}")).status == code


@pytest.mark.parametrize(
    "path", ["status/100", "status/600", "status/x", "status/²²²", "slow/61", "slow/-1", "slow/nan"]
)
async def test_what_cannot_be_answered_is_not_found(client, path):
    assert (await client.get(f"/demo/{path}")).status == 404


async def test_a_slow_answer_comes(client):
    assert await (await client.get("/demo/slow/0.01")).json() == {"slept_seconds": 0.01}


async def test_an_instance_for_others_has_no_demo(serve, services):
    async with serve(replace(services, demo=False)) as client:
        assert (await client.get("/demo/json")).status == 404


async def test_model_repeats_what_it_is_told_last(client):
    async with openai.AsyncOpenAI(api_key="none", base_url=str(client.make_url("/demo/v1"))) as model:
        parts = [{"type": "text", "text": "Say hello to "}, {"type": "text", "text": "Ada"}]
        said = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": parts}]
        options = {"include_usage": True}
        stream = await model.chat.completions.create(model="any", messages=said, stream=True, stream_options=options)
        chunks = [chunk async for chunk in stream]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Say hello to Ada"
    assert len(chunks) > 3
    assert (chunks[-2].choices[0].finish_reason, chunks[-1].usage.total_tokens) == ("stop", 10)


@pytest.mark.parametrize(
    "change", [{"messages": []}, {"messages": [{"role": "user"}]}, {"stream": False}, {"model": 1}]
)
async def test_model_names_what_it_does_not_understand(client, change):
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True} | change
    answer = await client.post("/demo/v1/chat/completions", json=asked)
    assert answer.status == 400
    assert next(iter(change)) in (await answer.json())["details"][0]["field"]
