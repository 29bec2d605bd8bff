from dataclasses import replace

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
