"""inject: the same payload, whatever the run was started with."""

import pytest


@pytest.mark.parametrize("payload", [{"a": [1]}, "text", None, 0])
async def test_its_payload_goes_out_and_the_input_does_not(run_node, payload):
    assert await run_node("inject", {"payload": payload}, input={"other": True}) == payload


async def test_without_a_payload_it_is_an_empty_object(run_node):
    assert await run_node("inject", {}, input=7) == {}
