"""Hostile expressions, templates and values: each ends within a second and without much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from melagent.sandbox.expressions import ExpressionError, check, evaluate, render

BIG = "x" * 1_000_000
SCOPE = {"input": {"price": [1], "quantity": 100_000_000, "big": BIG, "rows": list(range(50_000)), "deep": None}}
deep: object = 1
for _ in range(900):
    deep = [deep]
SCOPE["input"]["deep"] = deep

EXPRESSIONS = [
    "[1] * 100000000",
    "100000000 * [1]",
    "input.price * input.quantity",
    "input.quantity * input.price",
    "[[1] * 1000] * 1000000",
    "(1, 2) * 100000000",
    "({'a': 1} | list) * 100000000",
    "{'a': 1} * 100000000",
    "input.price | list * 100000000",
    "2 * [1] | list * 100000000",
    "1 * - 1 * [1] * 100000000",
    "(input.price * input.quantity) | length",
    "5 in [1] * 100000000000",
    "[1] * 100000000 == [1] * 100000000",
    "('' ~ [1] * 100000000) | length",
    "[1, 2] | map('abs') * 100000000",
    "range(9999) | list * 100000",
    "not [1] * 100000000",
    "[1]\n*\n100000000",
    "'a' * 1000000000000",
    "('a' * 10000000) ~ ('a' * 10000000) ~ ('a' * 10000000) ~ ('a' * 10000000) ~ ('a' * 10000000) ~ ('a' * 30000000)",
    "range(100000000)",
    "range(-100000000, 100000000)",
    "range(0, 10, 0)",
    "range(99999999999999999999999)",
    "9 ** 9 ** 9",
    "9.0 ** 9 ** 9 ** 9",
    "input.rows | map('string') | join(input.big)",
    "input.big | replace('x', input.big)",
    "input.big | list | join(input.big)",
    "'%1000000000d' | format(1)",
    "'%*d' | format(1000000000, 1)",
    "'{:>1000000000}'.format(1)",
    "'x'.join([input.big, input.big])",
    "{'a': [1]} | tojson(indent=1000000000) ~ [] * 2",
    "[1] | batch(1000000000, 0) | list",
    "[1] | slice(1000000000) | list",
    "input.rows | map('attr', 'x') | map('default', input.big) | list",
    "input.rows | map('attr', 'x') | map('default', input.rows) | list",
    "[" + ", ".join(["input.rows"] * 300) + "]",
    "(" * 5_000 + "1" + ")" * 5_000,
    "-" * 100_000 + "1",
    "not " * 100_000 + "1",
    "1" + " + 1" * 100_000,
    "1" + " | string" * 100_000,
    "1" + " ** 1" * 100_000,
    "input" + ".a" * 100_000,
    "1 if 1 else " * 100_000 + "1",
    "[input.deep, 1]",
    "input.deep | tojson",
    "'' ~ input.deep | length ~ [1] * 2",
    "input.rows | fromjson * [1]",
]

TEMPLATES = [
    "{% set a = [1, 1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{% set a = [1, 1] %}" + "{% set a = a + a %}" * 60 + "{{ a | length }}",
    "{% set a = 'ab' %}" + "{% set a = a ~ a %}" * 60 + "{{ a | length }}",
    "{% for a in [[1, 1]] %}" * 15 + "{{ [a, a] }}" + "{% endfor %}" * 15 + "{{ [1] * 100000000 }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{{ input.big }}{% endfor %}",
    "{% for a in range(9999) %}" + "y" * 10_000 + "{% endfor %}",
    "{% for a in input.rows %}{% for b in input.rows %}{{ b }}{% endfor %}{% endfor %}",
    "{% if 1 %}" * 5_000 + "{% endif %}" * 5_000,
    "{% if 0 %}" + "{% elif 0 %}" * 20_000 + "{% elif [1] * 100000000 %}{% endif %}",
    "{{ 'a' * 9000000 }}" * 20,
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include 'x' %}",
    "{{" * 10_000,
    "{% set a = range(9999) | list %}" + "{% set a = a + a %}" * 4 + "{% set b = [a, a, a] %}" * 60,
]


SOON_SECONDS = 10.0
"""Of processor time, which a busy machine does not stretch. What gets past a limit takes minutes, or for ever."""


def refused_soon(call, *arguments) -> None:
    begun = time.process_time()
    with pytest.raises(ExpressionError):
        call(*arguments)
    assert time.process_time() - begun < SOON_SECONDS


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda text: text[:50])
def test_hostile_expression_is_refused_soon(expression):
    refused_soon(evaluate, expression, SCOPE)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda text: text[:50])
def test_hostile_template_is_refused_soon(template):
    refused_soon(render, template, SCOPE)


@pytest.mark.parametrize("source", [*EXPRESSIONS, *TEMPLATES], ids=lambda text: text[:50])
def test_hostile_source_is_checked_soon(source):
    begun = time.process_time()
    check(source, expression=source in EXPRESSIONS)
    assert time.process_time() - begun < SOON_SECONDS


def test_hostile_sources_take_little_memory():
    program = (
        "import json, sys\n"
        "from melagent.sandbox.expressions import ExpressionError, evaluate, render\n"
        "expressions, templates = json.load(sys.stdin)\n"
        "scope = {'input': {'price': [1], 'quantity': 100000000, 'big': 'x' * 1000000, 'rows': list(range(50000))}}\n"
        "for call, sources in ((evaluate, expressions), (render, templates)):\n"
        "    for source in sources:\n"
        "        try:\n"
        "            call(source, scope)\n"
        "        except ExpressionError:\n"
        "            pass\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss would remember the process that forked us
        "print(int(status.split('VmHWM:')[1].split()[0]) // 1024)\n"
    )
    sources = json.dumps([EXPRESSIONS, TEMPLATES])
    done = subprocess.run([sys.executable, "-c", program], input=sources, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400


def test_ordinary_work_is_within_the_limits():
    rows = [{"name": f"n{index}", "n": index} for index in range(5_000)]
    assert evaluate("input | map(attribute='n') | sum", {"input": rows}) == 12_497_500
    assert len(evaluate("input | selectattr('n', 'lt', 4000) | map(attribute='name') | list", {"input": rows})) == 4_000
    assert render("{% for row in input %}{{ row.name }};{% endfor %}", {"input": rows}).count(";") == 5_000
    assert evaluate("input ~ input", {"input": BIG}) == BIG * 2
