"""One expression, compiled: checked and guarded once, evaluated by MiniJinja as often as it is needed.

What an evaluation may cost is bounded: MiniJinja charges fuel for instructions, for items that filters touch and for
text that is made. What it does not bound is closed here:

- A product of a list is a lazy list that nothing charges until it is turned into Python, so a caller who sends a list
  where a price was expected could stop the process. Both operands of each `*` pass a filter that refuses containers.
- `range` and `tojson` are replaced by bounded ones, and values have no methods (see `values`).
- Lists nested into themselves again and again need variables. Expressions have none of their own; those of a template
  are bound to measured values (see `templates`).

MiniJinja hands out undefined as None. A null result is therefore asked `is defined`, so that a missing name
is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from textwrap import shorten
from typing import TYPE_CHECKING

import orjson
from minijinja import Environment, TemplateError

from melagent.sandbox.analysis import FACTOR, Names, guarded, names_of
from melagent.sandbox.lexer import ExpressionError, Token, error_at, tokenize
from melagent.sandbox.values import Json, json_text, null_places, plain, text, view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FUEL = 1_000_000
"""Enough for some 100,000 list items or 60 MB of text; spending it all takes less than 0.2 s."""
MAX_RANGE = 10_000
_CHECKED_NULLS = 20
"""A result with more nulls than this is taken as it is: each check evaluates the expression once more."""

_MADE_HERE = (list, dict, tuple)
_NUMBERS_AND_TEXT = (str, int, float)
_NOT_EVALUATED = "none if true else "
_FUNCTIONS = frozenset({"dict", "range"})
_UNKNOWN = frozenset({"UnknownFilter", "UnknownTest"})


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression without braces. `source` is the text it stands in and `start` its place there, for errors."""

    code: str
    names: Names
    source: str
    start: int

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """The value as plain JSON. Raises ExpressionError, also for a missing name or field."""
        views = {name: view(scope[name]) for name in self.names.variables if name in scope}
        try:
            result = _environment().eval_expr(self.code, **views)
            if result is None or isinstance(result, _MADE_HERE):
                self._refuse_undefined(result, views)
            return plain(result)
        except TemplateError as error:
            raise self._located(error) from None
        except (TypeError, RecursionError):  # of our own filters and views, as they are called from MiniJinja
            message = "the arguments of a function or filter do not fit, or values are nested too deeply"
            raise error_at(message, self.source, self.start) from None
        except ExpressionError as error:
            raise error_at(error.message, self.source, self.start) from None

    def problem(self) -> str | None:
        """What is wrong with the syntax or with the name of a filter, test or function. Evaluates nothing."""
        try:
            _environment().eval_expr(_NOT_EVALUATED + self.code)
        except TemplateError as error:
            return self._located(error, _NOT_EVALUATED).message
        unknown = next(self._unknown_names(), None)
        return unknown and error_at(unknown, self.source, self.start).message

    def _unknown_names(self) -> Iterator[str]:
        yield from (f"there is no function `{name}`" for name in sorted(self.names.functions - _FUNCTIONS))
        probes = [f"none|{name}" for name in sorted(self.names.filters)]
        for probe in probes + [f"none is {name}" for name in sorted(self.names.tests)]:
            try:
                _environment().eval_expr(probe)
            except TemplateError as error:
                if error.kind in _UNKNOWN:
                    yield _explain(error)
            except (ExpressionError, TypeError):
                pass  # known, and refuses null or wants arguments

    def _refuse_undefined(self, result: Json, views: dict[str, Json]) -> None:
        for place in null_places(result, _CHECKED_NULLS):
            if not _environment().eval_expr(f"({self.code}\n){place} is defined", **views):
                raise ExpressionError(f"`{shorten(self.code.replace(FACTOR, ''), 60)}`{place} is undefined")

    def _located(self, error: TemplateError, prefix: str = "") -> ExpressionError:
        begin = error.range[0] if error.range else 0  # in bytes, guards counted
        before = (prefix + self.code).encode()[:begin].decode(errors="ignore").replace(FACTOR, "")
        return error_at(_explain(error), self.source, self.start + max(0, len(before) - len(prefix)))


def compile_tokens(tokens: tuple[Token, ...], source: str, start: int) -> Expression:
    """An expression from its tokens. Raises ExpressionError when there is none, or when it calls a method."""
    if not tokens:
        raise error_at("an expression is missing", source, start)
    return Expression(guarded(tokens, source), names_of(tokens, source), source, tokens[0].start)


@lru_cache(maxsize=4096)
def compile_expression(source: str) -> Expression:
    """The expression of a text without braces."""
    return compile_tokens(tokenize(source), source, 0)


@cache
def _environment() -> Environment:
    environment = Environment(undefined_behavior="strict", fuel=FUEL, pycompat=False)
    for name in ("debug", "namespace", "cycler", "joiner"):
        environment.remove_global(name)
    environment.add_global("range", _range)
    environment.add_filter("_factor", _factor)
    environment.add_filter("tojson", _tojson)
    environment.add_filter("fromjson", _fromjson)
    return environment


def _factor(value: Json) -> Json:
    if isinstance(value, _NUMBERS_AND_TEXT):
        return value
    found = "null or a missing value" if value is None else "a list or object"
    raise ExpressionError(f"`*` needs numbers, not {found}")


def _range(*bounds: int) -> Json:
    if not 1 <= len(bounds) <= 3 or not all(isinstance(bound, int) for bound in bounds):
        raise ExpressionError("`range` takes one to three whole numbers")
    if len(bounds) == 3 and bounds[2] == 0:
        raise ExpressionError("the step of `range` must not be 0")
    numbers = range(*bounds)
    if bool(numbers[MAX_RANGE:]):
        raise ExpressionError(f"`range` gives {MAX_RANGE:,} numbers at most")
    return view(list(numbers))


def _tojson(value: Json, indent: int = 0) -> str:
    return json_text(value, indent=bool(indent))


def _fromjson(value: Json) -> Json:
    try:
        return view(orjson.loads(text(value)))
    except orjson.JSONDecodeError as error:
        raise ExpressionError(f"`fromjson` got no valid JSON: {error}") from error


def _explain(error: TemplateError) -> str:
    if error.kind == "OutOfFuel":
        return "the expression takes too much work"
    return str(error.detail or error.message.partition(" (in <expression>")[0])
