"""Templates: text with `{{ value }}`, and the statements if, for and set.

The statements are interpreted here, and only the expressions in them are MiniJinja's. So a variable is always bound to
a plain value that was measured, a missing name in `{{ }}` is an error while null is empty text, and the work of a whole
template is bounded: each evaluation by fuel, the text by its size, the statements by processor time.
"""

from __future__ import annotations

import time
from collections import ChainMap
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from melagent.sandbox.evaluation import Expression, compile_tokens
from melagent.sandbox.lexer import ExpressionError, Tag, Token, error_at, split
from melagent.sandbox.values import MAX_CHARACTERS, Json, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_SECONDS = 0.5
"""Processor time of this thread that the statements of one rendering may take."""
MAX_NESTING = 20


@dataclass(frozen=True, slots=True)
class If:
    """The body of the first condition that is true; `else` is a branch without condition."""

    branches: tuple[tuple[Expression | None, tuple[Part, ...]], ...]


@dataclass(frozen=True, slots=True)
class For:
    """The body once per item; several names take the parts of each item."""

    names: tuple[str, ...]
    items: Expression
    body: tuple[Part, ...]
    otherwise: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Set:
    name: str
    value: Expression


Part = str | Expression | If | For | Set


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled text. `expressions` are all that occur in it."""

    parts: tuple[Part, ...]
    expressions: tuple[Expression, ...]

    @property
    def single(self) -> Expression | None:
        """The expression, when the text consists of exactly one `{{ }}`: such a text keeps the type of the value."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Expression) else None

    def render(self, scope: Mapping[str, Json]) -> str:
        """The text. Raises ExpressionError with the place of the fault."""
        return _Rendering().run(self.parts, scope)

    def fill(self, scope: Mapping[str, Json]) -> Json:
        """What a parameter with this text becomes: the value of its single expression, else the text."""
        single = self.single
        return self.render(scope) if single is None else single.evaluate(scope)


@lru_cache(maxsize=4096)
def compile_template(source: str) -> Template:
    """Compile a text. Raises ExpressionError with the place of the fault."""
    parser = _Parser(source)
    return Template(parser.parse(), tuple(parser.expressions))


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.pieces: Iterator[str | Tag] = iter(split(source))
        self.expressions: list[Expression] = []
        self.nesting = 0

    def parse(self) -> tuple[Part, ...]:
        parts, end = self._body(())
        if end is not None:
            raise error_at(f"`{end.tokens[0].text}` has no beginning", self.source, end.start)
        return parts

    def _body(self, ends: tuple[str, ...], opened_by: Tag | None = None) -> tuple[tuple[Part, ...], Tag | None]:
        """Parts up to a statement named in `ends`, or up to the end of the text."""
        parts: list[Part] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append(piece)
            elif piece.kind == "value":
                parts.append(self._expression(piece, piece.tokens))
            else:
                word = piece.tokens[0].text if piece.tokens else ""
                if word in ends or word in _CLOSING:
                    return self._closed(tuple(parts), piece, ends)
                parts.append(self._statement(word, piece))
        if opened_by is not None:
            raise error_at(f"`{opened_by.tokens[0].text}` is not closed", self.source, opened_by.start)
        return tuple(parts), None

    def _closed(self, parts: tuple[Part, ...], tag: Tag, ends: tuple[str, ...]) -> tuple[tuple[Part, ...], Tag]:
        if ends and tag.tokens[0].text not in ends:
            raise error_at(f"expected `{ends[-1]}`, found `{tag.tokens[0].text}`", self.source, tag.start)
        return parts, tag

    def _statement(self, word: str, tag: Tag) -> Part:
        parse: dict[str, Callable[[Tag], Part]] = {"if": self._if, "for": self._for, "set": self._set}
        if word not in parse:
            raise error_at(f"there is no statement `{word}`; there are if, for and set", self.source, tag.start)
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise error_at(f"statements are nested deeper than {MAX_NESTING} levels", self.source, tag.start)
        statement = parse[word](tag)
        self.nesting -= 1
        return statement

    def _if(self, tag: Tag) -> If:
        branches: list[tuple[Expression | None, tuple[Part, ...]]] = []
        branch: Tag | None = tag
        while branch is not None and (word := branch.tokens[0].text) != "endif":
            is_else = word == "else"
            condition = None if is_else else self._expression(branch, branch.tokens[1:])
            body, branch = self._body(("endif",) if is_else else ("elif", "else", "endif"), tag)
            branches.append((condition, body))
        return If(tuple(branches))

    def _for(self, tag: Tag) -> For:
        position = next((index for index, token in enumerate(tag.tokens) if token.text == "in"), 0)
        names, commas = tag.tokens[1:position:2], tag.tokens[2:position:2]
        if not names or any(name.kind != "name" for name in names) or any(comma.text != "," for comma in commas):
            raise error_at("expected `for name in list`", self.source, tag.start)
        items = self._expression(tag, tag.tokens[position + 1 :])
        body, end = self._body(("else", "endfor"), tag)
        otherwise: tuple[Part, ...] = ()
        if end is not None and end.tokens[0].text == "else":
            otherwise, _ = self._body(("endfor",), tag)
        return For(tuple(name.text for name in names), items, body, otherwise)

    def _set(self, tag: Tag) -> Set:
        if len(tag.tokens) < 4 or tag.tokens[1].kind != "name" or tag.tokens[2].text != "=":
            raise error_at("expected `set name = value`", self.source, tag.start)
        return Set(tag.tokens[1].text, self._expression(tag, tag.tokens[3:]))

    def _expression(self, tag: Tag, tokens: tuple[Token, ...]) -> Expression:
        expression = compile_tokens(tokens, self.source, tag.start)
        self.expressions.append(expression)
        return expression


_CLOSING = ("elif", "else", "endif", "endfor")


class _Rendering:
    """One rendering, with what it may still spend."""

    def __init__(self) -> None:
        self.characters = MAX_CHARACTERS
        self.deadline: float | None = None

    def run(self, parts: tuple[Part, ...], scope: Mapping[str, Json]) -> str:
        return "".join(self._texts(parts, scope))

    def _texts(self, parts: tuple[Part, ...], scope: Mapping[str, Json]) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield self._counted(part)
            elif isinstance(part, Expression):
                self._check_time()
                yield self._counted(text(part.evaluate(scope)))
            elif isinstance(part, Set):
                self._check_time()
                scope = _within(scope, {part.name: part.value.evaluate(scope)})
            elif isinstance(part, If):
                yield from self._if(part, scope)
            else:
                yield from self._for(part, scope)

    def _if(self, part: If, scope: Mapping[str, Json]) -> Iterator[str]:
        for condition, body in part.branches:
            if condition is None or condition.evaluate(scope):
                yield from self._texts(body, scope)
                return

    def _for(self, part: For, scope: Mapping[str, Json]) -> Iterator[str]:
        items = part.items.evaluate(scope)
        if not isinstance(items, list | dict | str):
            raise error_at("`for` needs a list", part.items.source, part.items.start)
        for index, item in enumerate(items):
            self._check_time()
            yield from self._texts(part.body, _within(scope, {**_bound(part, item), "loop": _loop(index, len(items))}))
        if not items:
            yield from self._texts(part.otherwise, scope)

    def _counted(self, piece: str) -> str:
        self.characters -= len(piece)
        if self.characters < 0:
            raise ExpressionError("the text is too large")
        return piece

    def _check_time(self) -> None:
        now = time.thread_time()
        if self.deadline is None:
            self.deadline = now + MAX_SECONDS
        elif now > self.deadline:
            raise ExpressionError("the template takes too long")


def _loop(index: int, length: int) -> Json:
    return {"index": index + 1, "index0": index, "first": index == 0, "last": index + 1 == length, "length": length}


def _bound(part: For, item: Json) -> dict[str, Json]:
    if len(part.names) == 1:
        return {part.names[0]: item}
    if not isinstance(item, list) or len(item) != len(part.names):
        raise error_at(f"each item needs {len(part.names)} parts", part.items.source, part.items.start)
    return dict(zip(part.names, item, strict=True))


def _within(scope: Mapping[str, Json], names: dict[str, Json]) -> Mapping[str, Json]:
    """The names of a scope and these, without asking for any: some are made only when they are looked at."""
    bound, outside = scope.maps if isinstance(scope, ChainMap) else ({}, scope)
    return ChainMap({**bound, **names}, outside)  # type: ignore[arg-type]  # only read
