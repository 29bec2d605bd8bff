"""random: values by chance that another attempt repeats."""

import random
from uuid import UUID

import pytest
from pydantic import ValidationError

from melagent.sdk import NodeError


def seeded(context, seed=1, **given):
    return context(random=random.Random(seed), **given)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"type": "integer", "max": 10**12},
        {"type": "number"},
        {"type": "string"},
        {"type": "choice", "items": "input"},
        {"type": "shuffle"},
    ],
)
async def test_another_attempt_gives_the_same_and_another_step_something_else(run_node, context, config):
    given = list(range(1000))
    first, again, other = [
        await run_node("random", config, seeded(context, seed, input=given)) for seed in ("a", "a", "b")
    ]
    assert first == again != other


async def test_a_uuid_is_one_of_version_4(run_node):
    made = await run_node("random", {"type": "uuid"})
    assert (str(UUID(made)), UUID(made).version) == (made, 4)


async def test_integers_reach_both_ends(run_node, context):
    ctx = seeded(context)
    made = {await run_node("random", {"type": "integer", "min": -1, "max": 1}, ctx) for _ in range(100)}
    assert made == {-1, 0, 1}
    assert all(type(number) is int for number in made)


async def test_numbers_lie_within_their_limits(run_node, context):
    ctx = seeded(context)
    made = [await run_node("random", {"type": "number", "min": 0.5, "max": 0.75}, ctx) for _ in range(100)]
    assert all(0.5 <= number <= 0.75 for number in made)
    assert len(set(made)) > 90


async def test_a_text_has_the_length_and_the_alphabet_asked_for(run_node):
    made = await run_node("random", {"type": "string", "length": 500, "alphabet": "xyz"})
    assert (len(made), set(made)) == (500, set("xyz"))


async def test_shuffle_keeps_all_items_and_leaves_its_input_alone(run_node):
    given = {"list": list(range(50))}
    made = await run_node("random", {"type": "shuffle", "items": "input.list"}, input=given)
    assert sorted(made) == list(range(50)) == given["list"]
    assert made != given["list"]
    assert await run_node("random", {"type": "shuffle"}, input=[]) == []


@pytest.mark.parametrize(
    ("kind", "given", "problem"),
    [("choice", {"a": 1}, "not a list"), ("shuffle", "ab", "not a list"), ("choice", [], "no item")],
)
async def test_what_is_no_list_of_items_is_refused(run_node, kind, given, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("random", {"type": kind}, input=given)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


@pytest.mark.parametrize(
    "config",
    [
        {"type": "number", "min": 2, "max": 1},
        {"type": "integer", "min": 0.5},
        {"type": "number", "max": "inf"},
        {"type": "number", "min": "nan"},
        {"type": "string", "length": 10_001},
        {"type": "string", "alphabet": ""},
    ],
)
async def test_limits_that_make_no_sense_are_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("random", config)
