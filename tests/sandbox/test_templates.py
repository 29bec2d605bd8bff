"""Templates, and the parameters of nodes that hold them."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from melagent.sandbox.expressions import ExpressionError, check, compile_config, render

SCOPE = {
    "input": {
        "name": "Ann",
        "n": 2,
        "none": None,
        "list": [1, {"a": None}],
        "rows": [{"k": "x"}, {"k": "y"}],
        "yes": True,
    }
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello {{ input.name }}!", "Hello Ann!"),
        ("{{ input.n }}", "2"),
        ("[{{ input.none }}]", "[]"),
        ("{{ input.list }} {{ input.yes }} {{ 1.5 }}", '[1,{"a":null}] true 1.5'),
        ("**{{ input.n * 2 }}** * 3", "**4** * 3"),
        ("{{ '}}' }} {{ {'a': {'b': 1}} }}", '}} {"a":{"b":1}}'),
        ("{% if input.n > 5 %}many{% elif input.n == 2 %}two{% else %}few{% endif %}", "two"),
        ("{% if input.none %}a{% endif %}b", "b"),
        ("{% for row in input.rows %}{{ loop.index }}/{{ loop.length }}={{ row.k }} {% endfor %}", "1/2=x 2/2=y "),
        ("{% for row in input.rows %}{{ row.k }}{% if not loop.last %}, {% endif %}{% endfor %}", "x, y"),
        ("{% for key, value in input.rows[0] | items %}{{ key }}:{{ value }}{% endfor %}", "k:x"),
        ("{% for row in [] %}a{% else %}none{% endfor %}", "none"),
        ("{% for a in [1, 2] %}{% for b in [3] %}{{ a * b }};{% endfor %}{% endfor %}", "3;6;"),
        ("{% set total = input.n * 10 %}{{ total }}", "20"),
        ("{% for a in [1] %}{% set x = a %}{{ x }}{% endfor %}{{ x is defined }}", "1false"),
        ("a {#- gone -#} b", "ab"),
        ("a {{- input.n -}} b", "a2b"),
        ("a\n{%- if true %}\nb\n{%- endif %}\n", "a\nb\n"),
        ("no template", "no template"),
        ("", ""),
        ("\x00{{ 'é' }}\n", "\x00é\n"),
    ],
)
def test_template_is_rendered(template, text):
    assert render(template, SCOPE) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("Hello {{ input.nme }}", "`input.nme` is undefined (line 1, column 10)"),
        ("a\n\n  {{ input.n +\n }}", "(line 3"),
        ("{{ input.name", "`}}` is missing (line 1, column 1)"),
        ("{{ }}", "an expression is missing"),
        ("{% if input.n %}", "`if` is not closed"),
        ("{% endif %}", "`endif` has no beginning"),
        ("{% if 1 %}{% endfor %}", "expected `endif`, found `endfor`"),
        ("{% if 1 %}{% else %}{% elif 2 %}{% endif %}", "expected `endif`, found `elif`"),
        ("{% for x input %}{% endfor %}", "expected `for name in list`"),
        ("{% for x in 5 %}{% endfor %}", "`for` needs a list"),
        ("{% for a, b in [[1]] %}{% endfor %}", "each item needs 2 parts"),
        ("{% set x %}", "expected `set name = value`"),
        ("{% macro m() %}", "no statement `macro`"),
        ("{% %}", "no statement"),
        ("{# open", "the comment `{#` is not closed"),
        ("{% if input.nope %}{% endif %}", "`input.nope` is undefined"),
    ],
)
def test_fault_of_a_template_names_its_place(template, problem):
    with pytest.raises(ExpressionError) as caught:
        render(template, SCOPE)
    assert problem in caught.value.message


def test_check_looks_into_every_tag():
    assert "filter nope" in (check("{% if a %}{{ b | nope }}{% endif %}") or "")
    assert check("{% for a in b %}{{ a.c | upper }}{% endfor %}") is None


CONFIG = {
    "url": "http://host/{{ input.n }}",
    "count": "{{ input.n }}",
    "rows": "{{ input.rows }}",
    "headers": {"X-Id": "{{ input.name }}", "plain": "a"},
    "list": ["{{ input.n }}", {"deep": "<{{ input.n }}>"}, 3],
    "code": "{{ not touched }}",
    "cases": [{"expression": "{{ raw }}", "value": "{{ input.n }}"}],
    "number": 1,
}


def test_config_is_rendered_at_every_depth_and_single_expressions_keep_their_type():
    template = compile_config(CONFIG, {"code", "cases[].expression"})
    assert template is not None
    assert template.render(SCOPE) == {
        "url": "http://host/2",
        "count": 2,
        "rows": [{"k": "x"}, {"k": "y"}],
        "headers": {"X-Id": "Ann", "plain": "a"},
        "list": [2, {"deep": "<2>"}, 3],
        "code": "{{ not touched }}",
        "cases": [{"expression": "{{ raw }}", "value": 2}],
        "number": 1,
    }


def test_config_without_templates_needs_no_rendering():
    assert compile_config({"a": "b", "c": [{"d": "} {"}], "code": "{{ raw }}"}, {"code"}) is None


def test_text_around_a_single_expression_makes_it_text():
    template = compile_config({"a": "{{ input.n }} ", "b": "{{ input.n }}{{ input.n }}"}, frozenset())
    assert template is not None
    assert template.render(SCOPE) == {"a": "2 ", "b": "22"}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"headers": {"X-Id": "{{ input.nope }}"}}, "headers.X-Id: `input.nope` is undefined"),
        ({"list": [1, {"a": "b {{ input.nope }}"}]}, "list[1].a: `input.nope` is undefined"),
    ],
)
def test_error_names_the_parameter(config, path):
    template = compile_config(config, frozenset())
    assert template is not None
    with pytest.raises(ExpressionError) as caught:
        template.render(SCOPE)
    assert caught.value.message.startswith(path)


def test_malformed_config_is_refused_when_it_is_compiled():
    with pytest.raises(ExpressionError, match=r"^body\.text: "):
        compile_config({"body": {"text": "{{ input."}}, frozenset())


def test_a_name_that_is_made_when_it_is_looked_at_stays_so_within_statements():
    class OnlyWhenAsked(dict[str, Any]):
        def keys(self) -> NoReturn:
            raise AssertionError("nobody needs all the names")

        def __getitem__(self, name: str) -> object:
            return {"n": [1, 2]}[name]

    template = "{% set a = 3 %}{% set b = a %}{% for x in n %}{{ x + b }} {% endfor %}"
    assert render(template, OnlyWhenAsked(n=None)) == "4 5 "
