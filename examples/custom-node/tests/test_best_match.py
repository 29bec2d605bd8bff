import pytest
from melagent_node_best_match import BestMatch

from melagent.sdk import NodeError, Success
from melagent.testing import run_node

TOPICS = ["Invoice", "Delivery", "Refund"]


@pytest.mark.parametrize(
    ("value", "match", "score"),
    [("invioces", "Invoice", 0.8), ("REFUND", "Refund", 1.0), ("a delivery", "Delivery", 0.889)],
)
async def test_the_most_similar_text_is_found(value, match, score):
    found = await run_node(BestMatch(), {"value": "{{ input.value }}", "choices": "input.topics"},
                           input={"value": value, "topics": TOPICS})  # fmt: skip
    assert found == Success({"value": value, "match": match, "score": score}, "match")


async def test_what_resembles_nothing_takes_the_other_branch():
    found = await run_node(BestMatch(), {"value": "weather"}, input=TOPICS)
    assert (found.handle, found.output["match"]) == ("none", None)
    assert (await run_node(BestMatch(), {"value": "weather"}, input=[])).handle == "none"


@pytest.mark.parametrize(
    ("choices", "code"), [(None, "wrong_input"), (["a", 1], "wrong_input"), (["a" * 201], "too_large")]
)
async def test_what_are_no_texts_to_compare_is_refused_for_good(choices, code):
    with pytest.raises(NodeError) as caught:
        await run_node(BestMatch(), {"value": "x"}, input=choices)
    assert (caught.value.code, caught.value.retryable) == (code, False)
