"""What a command makes of a variable, whatever the variable is."""

import pytest

from melagent.domain.variables import (
    NO_VARIABLE,
    Refusal,
    VariableCommand,
    VariableOperation,
    VariableResult,
    execute,
    same,
    well_named,
)


def command(operation, **fields):
    return VariableCommand("global", "k", VariableOperation(operation), **fields)


def after(given, present=None):
    """The value, or the refusal, that comes of a command on a value of revision 5, or on nothing."""
    before = NO_VARIABLE if present is None else VariableResult(present, 5)
    result = execute(given, before)
    if result.refusal:
        assert (result.value, result.revision) == (before.value, before.revision)
        return result.refusal
    assert result.revision == (0 if result.value is None else before.revision + 1)
    return result.value


def test_set_replaces_whatever_is_there():
    assert after(command("set", value=b'{"a":1}')) == b'{"a":1}'
    assert after(command("set", value=b"null"), b"1") == b"null"


def test_what_is_not_json_or_too_large_is_refused():
    assert after(command("set", value=b"{"), b"1") is Refusal.BAD_VALUE
    assert after(command("compare_and_set", expected=b"{", value=b"1")) is Refusal.BAD_VALUE
    largest = b'"' + b"x" * (256 * 1024 - 2) + b'"'
    assert after(command("set", value=largest)) == largest
    assert after(command("set", value=largest + b" "), b"1") is Refusal.TOO_LARGE


def test_increment_counts_from_zero_and_keeps_whole_numbers_whole():
    assert after(command("increment")) == b"1"
    assert after(command("increment", amount=-3), b"1") == b"-2"
    assert after(command("increment", amount=0.5), b"1") == b"1.5"


@pytest.mark.parametrize("present", [b'"1"', b"true", b"null", b"[1]", b"{}"])
def test_only_a_number_is_incremented(present):
    assert after(command("increment"), present) is Refusal.NOT_A_NUMBER


@pytest.mark.parametrize(
    ("present", "amount"),
    [(b"18446744073709551615", 1), (b"-9223372036854775808", -1), (b"1e308", 1e308), (b"0", float("nan")),
     (b"0.5", 10**400), (b"1", float("inf"))],
)  # fmt: skip  # pairs, not one value a line
def test_a_number_that_json_cannot_hold_is_refused(present, amount):
    assert after(command("increment", amount=amount), present) is Refusal.OUT_OF_RANGE


def test_compare_and_set_takes_an_absent_variable_for_null():
    assert after(command("compare_and_set", expected=b"null", value=b"1")) == b"1"
    assert after(command("compare_and_set", expected=b"null", value=b"1"), b"null") == b"1"
    assert after(command("compare_and_set", expected=b"0", value=b"1")) is Refusal.NOT_EQUAL
    assert after(command("compare_and_set", expected=b"null", value=b"1"), b"0") is Refusal.NOT_EQUAL


def test_compare_and_set_compares_values_not_texts():
    given = command("compare_and_set", expected=b'{"a": 1, "b": [1.0]}', value=b"2")
    assert after(given, b'{"b":[1],"a":1}') == b"2"


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (0, None), ("", None), ([], {}), ([1], [1, 2]), ({"a": 1}, {"a": True}),
     ({"a": 1}, {"b": 1}), ({"a": 1}, {}), ([[1]], [[2]]), ("1", 1)],
)  # fmt: skip  # pairs, not one value a line
def test_different_json_values_are_not_the_same(one, other):
    assert not same(one, other)
    assert not same(other, one)
    assert same(one, one)


def test_values_nested_deeper_than_the_stack_are_compared():
    deep, other = [], [1]
    for _ in range(5000):
        deep, other = [deep], [other]
    assert same(deep, deep)
    assert not same(deep, other)


def test_delete_is_no_mistake_where_there_is_nothing():
    assert after(command("delete")) is None
    assert after(command("delete"), b"1") is None


@pytest.mark.parametrize("key", ["", "x" * 201, "a/b", ".", "..", "-a", "a b", "a\n", "ä", "a\x00"])
def test_keys_that_an_address_cannot_hold_are_bad_names(key):
    assert not well_named(VariableCommand("global", key, VariableOperation.SET))


@pytest.mark.parametrize("scope", ["", "Global", "global\n", "run", "0190B3A4-0000-7000-8000-000000000000"])
def test_a_scope_is_global_or_the_id_of_a_workflow(scope):
    assert not well_named(VariableCommand(scope, "k", VariableOperation.SET))
    assert well_named(VariableCommand("0190b3a4-0000-7000-8000-000000000000", "k@1:2", VariableOperation.SET))


def test_every_refusal_has_a_reason():
    assert all(refusal.reason for refusal in Refusal)
