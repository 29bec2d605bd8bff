"""Expressions and templates over JSON values: the only door to MiniJinja.

    evaluate("input.price * input.quantity", scope)     a value
    render("Dear {{ input.name }}", scope)              a text
    compile_config(config, raw_fields)                  all texts of a node's parameters, ready to be rendered often

A text that consists of exactly one `{{ expression }}` keeps the type of the value. A missing name is an error, except
in `default(…)` and `is defined`. Every error is an ExpressionError that names the place; what an expression may cost
is bounded (see `evaluation`), so both expressions and values may come from strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.sandbox.analysis import renaming
from melagent.sandbox.evaluation import Expression, compile_expression
from melagent.sandbox.lexer import ExpressionError, Tag, split, tokenize
from melagent.sandbox.templates import Template as Text
from melagent.sandbox.templates import compile_template

if TYPE_CHECKING:
    from melagent.sandbox.values import Json

__all__ = [
    "ExpressionError",
    "Template",
    "check",
    "compile_config",
    "evaluate",
    "fill",
    "is_template",
    "references",
    "renamed",
    "render",
    "variables",
]


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def evaluate(expression: str, scope: Mapping[str, Json]) -> Json:
    """The value of an expression; braces around it are allowed."""
    return _expression(expression).evaluate(scope)


def render(template: str, scope: Mapping[str, Json]) -> str:
    """The text of a template: null is empty, values that are not text are written as JSON."""
    return compile_template(template).render(scope)


def fill(template: str, scope: Mapping[str, Json]) -> Json:
    """What a parameter with this text becomes: a value when it is exactly one `{{ expression }}`, else a text."""
    return compile_template(template).fill(scope)


def check(source: str, *, expression: bool = False) -> str | None:
    """What is wrong with a template (or an expression): syntax, or an unknown filter, test or function."""
    try:
        return next(filter(None, (part.problem() for part in _expressions(source, expression))), None)
    except ExpressionError as error:
        return error.message


def references(source: str, *, expression: bool = False) -> frozenset[str]:
    """Ids of the nodes whose steps a template (or an expression) names. Raises ExpressionError when it is malformed."""
    return frozenset().union(*(part.names.steps for part in _expressions(source, expression)))


def renamed(source: str, node_id: str, to: str) -> str:
    """A template or expression that names the steps of a node by its new id. A malformed one stays as it is."""
    try:
        tags = [piece.tokens for piece in split(source) if isinstance(piece, Tag)] or [tokenize(source)]
    except ExpressionError:
        return source
    for start, end, new in sorted((place for tokens in tags for place in renaming(tokens, node_id, to)), reverse=True):
        source = source[:start] + new + source[end:]
    return source


def variables(source: str, *, expression: bool = False) -> frozenset[str] | None:
    """The keys of the variables that a template (or an expression) looks at; null for any. Raises ExpressionError."""
    found = [part.names.shared for part in _expressions(source, expression)]
    return None if None in found else frozenset().union(*filter(None, found))


def _expressions(source: str, expression: bool) -> tuple[Expression, ...]:
    return (_expression(source),) if expression else compile_template(source).expressions


def _expression(source: str) -> Expression:
    if source.lstrip().startswith("{{"):
        single = compile_template(source.strip()).single
        if single is not None:
            return single
    return compile_expression(source)


@dataclass(frozen=True, slots=True)
class Template:
    """The parameters of a node with their texts compiled. What holds no template is kept as it is."""

    config: Mapping[str, Json]

    def render(self, scope: Mapping[str, Json]) -> dict[str, Json]:
        """The parameters for one step. Raises ExpressionError that begins with the path of the parameter."""
        rendered: dict[str, Json] = _render(self.config, scope)
        return rendered


@dataclass(frozen=True, slots=True)
class _Field:
    """A text of the parameters, and where it stands."""

    text: Text
    path: str

    def fill(self, scope: Mapping[str, Json]) -> Json:
        try:
            return self.text.fill(scope)
        except ExpressionError as error:
            raise error.within(self.path) from None


def compile_config(config: Mapping[str, Json], raw_fields: AbstractSet[str]) -> Template | None:
    """Compile the texts of a config; None when there is nothing to render.

    `raw_fields` are left alone: paths like `body` or `conditions[].expression`, where `[]` stands for any item.
    """
    compiled = _compile(config, raw_fields, "", "")
    return None if compiled is config else Template(compiled)


def _compile(value: Json, raw_fields: AbstractSet[str], path: str, kind: str) -> Json:
    """The value with compiled texts; the value itself when it holds none. `kind` is the path without positions."""
    if kind in raw_fields:
        return value
    if isinstance(value, str):
        return _compile_text(value, path) if is_template(value) else value
    if isinstance(value, Mapping):
        items = {key: _compile(item, raw_fields, _join(path, key), _join(kind, key)) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in items) else value
    if isinstance(value, list):
        entries = [_compile(item, raw_fields, f"{path}[{index}]", f"{kind}[]") for index, item in enumerate(value)]
        return entries if any(new is not old for new, old in zip(entries, value, strict=True)) else value
    return value


def _compile_text(source: str, path: str) -> _Field:
    try:
        return _Field(compile_template(source), path)
    except ExpressionError as error:
        raise error.within(path) from None


def _render(value: Json, scope: Mapping[str, Json]) -> Json:
    if isinstance(value, _Field):
        return value.fill(scope)
    if isinstance(value, dict):
        return {key: _render(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, scope) for item in value]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
