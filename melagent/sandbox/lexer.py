"""Splits templates into text and tags, and expressions into tokens, by the lexical rules of MiniJinja.

Lexing before MiniJinja does gives us what it does not tell: where an expression stands, which steps it names, and where
it multiplies (see `evaluation`). What is not a token here is refused, so both always read an expression the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MAX_TOKENS = 1_000
"""Tokens of one expression. MiniJinja parses by recursion: some ten thousand would overflow the stack of a thread."""

_TAG = re.compile(r"\{[{%#]")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[^\W\d]\w*)
    |(?P<mark>\*\*|//|[=!<>]=|[-+*/%~|.,:()\[\]{}<>=])""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"(": ")", "[": "]", "{": "}"}


class ExpressionError(Exception):
    """An expression or template is wrong, or could not be evaluated. `message` is one short sentence with the place.

    `place` is its line and column, where they are known.
    """

    def __init__(self, message: str, place: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def within(self, path: str) -> ExpressionError:
        """The same error, naming the parameter in which it occurred."""
        return ExpressionError(f"{path}: {self.message}", self.place)


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its place in the text it was read from."""

    kind: Literal["text", "number", "name", "mark"]
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tag:
    """What stands between `{{ }}` (a value) or `{% %}` (a statement)."""

    kind: Literal["value", "statement"]
    tokens: tuple[Token, ...]
    start: int


def error_at(message: str, source: str, offset: int) -> ExpressionError:
    """An error that names line and column, both counted from 1."""
    line = source.count("\n", 0, offset) + 1
    column = offset - source.rfind("\n", 0, offset)
    return ExpressionError(f"{message} (line {line}, column {column})", (line, column))


def tokenize(source: str) -> tuple[Token, ...]:
    """The tokens of a text that is one expression."""
    return _scan(source, 0, "")[0]


def split(source: str) -> list[str | Tag]:
    """A template as literal text and tags, comments left out and `{{-`, `-}}` applied to the text beside them."""
    pieces: list[str | Tag] = []
    position = 0
    strip_next = False
    while found := _TAG.search(source, position):
        text = source[position : found.start()]
        inner = found.end() + source.startswith("-", found.end())
        if inner > found.end():
            text = text.rstrip()
        pieces.append(text.lstrip() if strip_next else text)
        if found[0] == "{#":
            position = _end_of_comment(source, found.start())
            strip_next = source.startswith("-#}", position - 3)
            continue
        value = found[0] == "{{"
        tokens, end = _scan(source, inner, "}}" if value else "%}", found.start())
        pieces.append(Tag("value" if value else "statement", tokens, found.start()))
        strip_next = source.startswith("-", end)
        position = end + 2 + strip_next
    pieces.append(source[position:].lstrip() if strip_next else source[position:])
    return [piece for piece in pieces if piece != ""]


def _end_of_comment(source: str, start: int) -> int:
    end = source.find("#}", start + 2)
    if end < 0:
        raise error_at("the comment `{#` is not closed", source, start)
    return end + 2


def _scan(source: str, position: int, closing: str, tag_start: int = 0) -> tuple[tuple[Token, ...], int]:
    """Read tokens up to `closing` outside of brackets, or to the end of the text when it is empty."""
    tokens: list[Token] = []
    open_brackets: list[str] = []
    while position < len(source):
        if closing and not open_brackets and source.startswith((closing, "-" + closing), position):
            return tuple(tokens), position
        found = _TOKEN.match(source, position)
        if found is None:
            raise error_at(f"unexpected {source[position]!r}", source, position)
        position = found.end()
        kind = found.lastgroup
        if kind == "space":
            continue
        if len(tokens) == MAX_TOKENS:
            raise error_at(f"an expression may have {MAX_TOKENS:,} parts at most", source, position)
        _track(found[0], open_brackets, source, found.start())
        tokens.append(Token(kind, found[0], found.start(), position))  # type: ignore[arg-type]  # the names of the groups
    if closing or open_brackets:
        missing = open_brackets[-1] if open_brackets else closing
        raise error_at(f"`{missing}` is missing", source, tag_start)
    return tuple(tokens), position


def _track(text: str, open_brackets: list[str], source: str, offset: int) -> None:
    if text in _OPENING:
        open_brackets.append(_OPENING[text])
    elif text in (")", "]", "}") and (not open_brackets or open_brackets.pop() != text):
        raise error_at(f"unexpected `{text}`", source, offset)
