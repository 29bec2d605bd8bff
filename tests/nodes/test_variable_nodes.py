"""The variable nodes: what they ask for and what they make of it. Changing and reading itself is the engine's."""

import pytest
from pydantic import ValidationError

from melagent.domain.variables import KEY_PATTERN
from melagent.registry import Registry
from melagent.sdk import NodeError, SetVariable

REGISTRY = Registry.builtin()


async def test_the_value_is_that_of_the_parameter_null_included_or_the_input(run_node):
    given = [{"value": "{{ input.a }}"}, {"value": None}, {}]
    asked = [await run_node("variable_set", {"key": "k", **config}, input={"a": 7}) for config in given]
    assert asked == [SetVariable("k", value, "run") for value in (7, None, {"a": 7})]


async def test_every_operation_is_passed_on_with_what_it_needs(run_node):
    config = {
        "key": "k",
        "scope": "global",
        "operation": "compare_and_set",
        "value": 1,
        "expected": {"n": "{{ vars.n }}"},
    }
    asked = await run_node("variable_set", config, vars={"n": 5})
    assert asked == SetVariable("k", 1, "global", "compare_and_set", expected={"n": 5})
    for amount in (-2, 0.5, 2**63):
        config = {"key": "k", "scope": "workflow", "operation": "increment", "amount": "{{ input }}"}
        asked = await run_node("variable_set", config, input=amount)
        assert (asked.amount, type(asked.amount)) == (amount, type(amount))


@pytest.mark.parametrize(
    "config",
    [{"key": ""}, {"key": "no key"}, {"key": "k\x00"}, {"key": "k", "amount": "inf"}, {"key": "k", "amount": "much"},
     {"key": "k", "scope": "all"}, {"key": "k", "operation": "multiply"}, {}],
)  # fmt: skip  # one config after the other
async def test_parameters_that_cannot_be_meant_are_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("variable_set", config)


async def test_a_variable_goes_out_or_its_default_or_a_failure(run_node):
    given = {"k": None, "n": [1]}
    assert await run_node("variable_get", {"key": "n"}, vars=given) == [1]
    assert await run_node("variable_get", {"key": "k", "defaultValue": 3, "failIfMissing": True}, vars=given) is None
    assert await run_node("variable_get", {"key": "no", "defaultValue": "{{ vars.n }}"}, vars=given) == [1]
    assert await run_node("variable_get", {"key": "no"}, vars=given) is None
    with pytest.raises(NodeError, match="no variable 'no'") as failure:
        await run_node("variable_get", {"key": "no", "failIfMissing": True}, vars=given)
    assert (failure.value.code, failure.value.retryable) == ("no_variable", False)


async def test_variables_are_listed_by_the_beginning_of_their_names(run_node):
    given = {"b.2": 2, "a": 0, "b.1": 1}
    assert await run_node("variable_list", {}, vars=given) == given
    assert await run_node("variable_list", {"prefix": "b."}, vars=given) == {"b.1": 1, "b.2": 2}


@pytest.mark.parametrize("type_id", ["variable_set", "variable_get"])
def test_a_key_may_be_what_the_database_takes(type_id):
    assert REGISTRY.get(type_id).schema["properties"]["key"]["pattern"] == KEY_PATTERN
