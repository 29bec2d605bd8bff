"""Expressions: their values, their errors, and what a deploy check learns from them."""

from __future__ import annotations

import copy
import threading

import pytest

from melagent.sandbox.expressions import ExpressionError, check, evaluate, references, renamed, variables

SCOPE = {
    "input": {
        "price": 2.5,
        "quantity": 4,
        "name": "Zoë",
        "tags": ["b", "a", "b"],
        "nothing": None,
        "lines": [{"sku": "x", "n": 1}, {"sku": "y", "n": 2}],
        "text": "\x00é",
    },
    "steps": {"fetch-1": {"output": {"items": [1, 2]}}},
    "run": {"id": "r1"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("input.price * input.quantity", 10),
        ("input.quantity * 2 + 1", 9),
        ("2 * input.lines | length", 4),
        ("(input.quantity + 1) * -2 * 3", -30),
        ("2 ** 3 * 2", 16),
        ("'ab' * 3", "ababab"),
        ("input.price > 2 and input.name == 'Zoë'", True),
        ("'big' if input.quantity > 3 else 'small'", "big"),
        ("input.tags", ["b", "a", "b"]),
        ("input.tags | unique | sort", ["a", "b"]),
        ("input.tags + ['c']", ["b", "a", "b", "c"]),
        ("input.tags == ['b', 'a', 'b']", True),
        ("input.tags[0] ~ input.tags[-1]", "bb"),
        ("input.tags[1:]", ["a", "b"]),
        ("'a' in input.tags", True),
        ("'name' in input", True),
        ("input.lines | map(attribute='n') | sum", 3),
        ("input.lines | selectattr('n', 'gt', 1) | list", [{"sku": "y", "n": 2}]),
        ("input.lines | groupby('sku') | map('first') | list", ["x", "y"]),
        ("{'line': input.lines[0], 'n': 1}", {"line": {"sku": "x", "n": 1}, "n": 1}),
        ("input.lines[0] | items | list", [["sku", "x"], ["n", 1]]),
        ("input.lines[0] == {'n': 1, 'sku': 'x'}", True),
        ("input is mapping and input.tags is sequence", True),
        ("input.nothing", None),
        ("[input.nothing]", [None]),
        ("input.text", "\x00é"),
        ("input.name | upper", "ZOË"),
        ("input.lines | tojson", '[{"sku":"x","n":1},{"sku":"y","n":2}]'),
        ("input.name | tojson", '"Zoë"'),
        ("('{\"a\": [1]}' | fromjson).a[0]", 1),
        ("'<b>' | safe", "<b>"),
        ("range(3)", [0, 1, 2]),
        ("dict(a=1)", {"a": 1}),
        ("(1, 'x')", [1, "x"]),
        ("steps['fetch-1'].output.items", [1, 2]),
        ("{{ input.quantity }}", 4),
        ("  {{ input.quantity }}\n", 4),
        ("{'a': 1}.a", 1),
    ],
)
def test_expression_has_its_value(expression, value):
    result = evaluate(expression, SCOPE)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("input.nope", "`input.nope` is undefined"),
        ("nope", "`nope` is undefined"),
        ("input.nope.deeper", "`input.nope` is undefined"),
        ("input.items", "`input.items` is undefined"),
        ("input.tags[7]", "`input.tags[7]` is undefined"),
        ("not input.nope", "`input.nope` is undefined"),
        ("input.nope == 1", "`input.nope` is undefined"),
        ("input.nope ~ 'x'", "`input.nope` is undefined"),
        ("[1, input.nope]", "[1] is undefined"),
        ("{'a': {'b': input.nope}}", '["a"]["b"] is undefined'),
        ("input.lines | map(attribute='nope') | list", "[0] is undefined"),
        ("1 if false", "is undefined"),
        ("input.quantity * input.nope", "missing value"),
    ],
)
def test_missing_name_is_an_error_that_names_it(expression, named):
    with pytest.raises(ExpressionError) as caught:
        evaluate(expression, SCOPE)
    assert named in caught.value.message
    assert "line 1" in caught.value.message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("input.nope | default('x')", "x"),
        ("input.nope is defined", False),
        ("input.items is defined", False),
        ("input.items | default([])", []),
        ("input.nothing is defined", True),
        ("nope is undefined", True),
    ],
)
def test_missing_name_may_be_asked_for(expression, value):
    assert evaluate(expression, SCOPE) == value


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("{1: 2}", "keys of an object must be text"),
        ("2 ** 100", "64 bits"),
        ("10.0 ** 400", "not a finite number"),
        ("1e999", "not a finite number"),
        ("1 / 0", "unable to calculate"),
        ("'x' | fromjson", "no valid JSON"),
        ("'a' - 1", "unsupported types"),
        ("range(stop=1)", "do not fit"),
        ("range()", "one to three whole numbers"),
        ("1 | tojson(1, 2)", "do not fit"),
    ],
)
def test_result_that_is_no_json_value_is_refused(expression, problem):
    with pytest.raises(ExpressionError, match=problem):
        evaluate(expression, SCOPE)


@pytest.mark.parametrize(
    "expression",
    [
        "input.tags.append(1)",
        "input.tags.clear()",
        "input.update(a=1)",
        "input['tags'].sort()",
        "(input.tags).extend(input.tags)",
        "input.tags['append'](1)",
        "input.tags | map(attribute='append') | list",
        "(input | attr('clear'))()",
    ],
)
def test_no_expression_can_change_the_scope(expression):
    scope = copy.deepcopy(SCOPE)
    with pytest.raises(ExpressionError):
        evaluate(expression, scope)
    assert scope == SCOPE


@pytest.mark.parametrize(
    "expression",
    [
        "input.__class__",
        "input['__class__']",
        "input.tags.__len__",
        "input | attr('__class__')",
        "input._data",
        "run.id.real",
    ],
)
def test_no_python_object_shows_through(expression):
    with pytest.raises(ExpressionError, match="undefined"):
        evaluate(expression, SCOPE)


@pytest.mark.parametrize(
    "name", ["debug()", "lipsum()", "namespace()", "cycler(1)", "self", "loop", "now()", "joiner()"]
)
def test_nothing_but_the_scope_and_two_functions_is_known(name):
    with pytest.raises(ExpressionError):
        evaluate(name, SCOPE)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("input.a +", "column 9"),
        ("a b", "column 3"),
        ("foo(1)", "no function `foo`"),
        ("a | nope", "filter nope is unknown"),
        ("a['b'](1)", "a value cannot be called"),
        ("(a.b)(1)", "a value cannot be called"),
        ("a is nope", "test nope is unknown"),
        ("a is not nope", "test nope is unknown"),
        ("a.upper()", "no method `upper`"),
        ("", "an expression is missing"),
        ("(a", "`)` is missing"),
        ("a)", "unexpected `)`"),
        ("a * ", "`*` needs a value on both sides"),
        ("* a", "`*` needs a value on both sides"),
        ("'a", "unexpected"),
        ("a ? b", "unexpected '?'"),
        ("a\n  | nope", "filter nope is unknown"),
        ("{{ a }} {{ b }}", "unexpected"),
    ],
)
def test_check_finds_what_is_wrong_with_an_expression(source, problem):
    assert problem in (check(source, expression=True) or "")


@pytest.mark.parametrize(
    "source",
    [
        "a.b * 2 ** c[0] * (d | length)",
        "a | default(1) | int > 3",
        "a is defined and not b",
        "x if y else z",
        "range(3)",
        "{{ a }}",
    ],
)
def test_check_accepts_what_can_be_evaluated(source):
    assert check(source, expression=True) is None


def test_check_evaluates_nothing():
    assert check("1 / 0", expression=True) is None
    assert check("'x' | fromjson", expression=True) is None


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("input.vars + steps.vars.output", set()),
        ("vars.a + vars['b.c'] + vars.a.deep", {"a", "b.c"}),
        ('[vars["x-y"], vars . z]', {"x-y", "z"}),
        ("vars[input.key]", None),
        ("vars['a' ~ input.key]", None),
        ("vars['a\\x62']", None),
        ("vars|length", None),
        ("vars.a if 'b' in vars else 0", None),
    ],
)
def test_the_variables_that_an_expression_looks_at_are_known_without_evaluating_it(source, keys):
    assert variables(source, expression=True) == keys
    assert variables(f"a {{{{ {source} }}}} vars.other") == keys
    assert variables(f"{{% if {source} %}}{{{{ vars.more }}}}{{% endif %}}") == (
        None if keys is None else keys | {"more"}
    )


def test_references_name_the_steps_and_inputs_that_are_read():
    source = "steps.a.output + inputs.b.x + steps['c-d'].output + steps [ \"e\" ].output + input.steps.f + x.inputs.g"
    assert references(source, expression=True) == {"a", "b", "c-d", "e"}
    assert references("steps.a {{ steps.b.output }} {% if inputs.c %}{% endif %} {# steps.d #}") == {"b", "c"}
    assert references("steps.a went wrong") == frozenset()


def test_scope_may_be_evaluated_by_many_threads_at_once():
    results = []

    def work():
        results.extend(evaluate("input.lines | map(attribute='n') | sum", SCOPE) for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert results == [3] * 800


@pytest.mark.parametrize(
    "expression", ["input.lines", "[input.lines]", "input", "input.lines | list", "input.lines[:]"]
)
def test_result_may_be_changed_without_changing_the_scope(expression):
    scope = copy.deepcopy(SCOPE)
    result = evaluate(expression, scope)
    while isinstance(result, list) and result:
        result.append("more")
        result = result[0]
    result.clear()
    assert scope == SCOPE


def test_value_of_the_scope_is_passed_on_whatever_its_size():
    rows = list(range(1_000_000))
    assert evaluate("input", {"input": rows}) == rows


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ("{{ steps.a.output.x }} and {{ inputs.a }}", "{{ steps.b.output.x }} and {{ inputs.b }}"),
        ("{{ steps['a'].x + inputs[\"a\"] }}", "{{ steps['b'].x + inputs[\"b\"] }}"),
        ("{% if steps.a %}steps.a{% endif %}", "{% if steps.b %}steps.a{% endif %}"),
        ("steps.a + steps.a.b", "steps.b + steps.b.b"),
        ("  {{ steps.a }}  ", "  {{ steps.b }}  "),
        ("{{ steps.a ", "{{ steps.a "),
        ("é{{ steps.a }}\n{{ steps.a }}", "é{{ steps.b }}\n{{ steps.b }}"),
    ],
)
def test_what_names_a_step_can_be_made_to_name_another(source, after):
    assert renamed(source, "a", "b") == after


def test_what_only_looks_like_a_step_stays_as_it_is():
    source = "{{ input.steps.a + steps.ab + steps.x.a + steps[a] }} steps.a {{ 'steps.a' }}{# steps.a #}"
    assert renamed(source, "a", "b") == source


@pytest.mark.parametrize(("to", "after"), [("b-c", 'steps["b-c"].x'), ("2", 'steps["2"].x'), ("_b2", "steps._b2.x")])
def test_a_step_whose_id_is_no_name_is_named_in_brackets(to, after):
    assert renamed("steps.a.x", "a", to) == after
    assert references(after, expression=True) == {to}
