"""What the tokens of an expression tell without evaluating it, and the guard that its multiplications get."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from melagent.sandbox.lexer import Token, error_at

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTOR = "|_factor"
"""The filter that refuses lists and objects; see `guarded`."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NOTHING = Token("mark", "", 0, 0)
_STEP_NAMES = ("steps", "inputs")
_SHARED = "vars"
_OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "**", "==", "!=", "<", ">", "<=", ">=", ",", ":", "=", ")", "]", "}"]
_ENDS_OPERAND = frozenset([*_OPERATORS, "and", "or", "not", "in", "is", "if", "else"])


@dataclass(frozen=True, slots=True)
class Names:
    """The names in an expression by their use. `steps` are the ids in `steps.<id>`, `inputs["<id>"]` and the like.

    `shared` are the keys in `vars.<key>` and `vars["<key>"]`; null when it may look at any, as in `vars[input.key]`.
    """

    variables: frozenset[str]
    steps: frozenset[str]
    filters: frozenset[str]
    tests: frozenset[str]
    functions: frozenset[str]
    shared: frozenset[str] | None


def names_of(tokens: tuple[Token, ...], source: str) -> Names:
    """Sort the names. Raises ExpressionError when anything but a name is called: values have no methods."""
    variables, steps, filters, tests, functions = set(), set(), set(), set(), set()
    shared: set[str | None] = set()
    for index, token in enumerate(tokens):
        before, after = _at(tokens, index - 1), _at(tokens, index + 1)
        if token.text == "(" and (before.text in (")", "]", "}") or before.kind in ("text", "number")):
            raise error_at("a value cannot be called", source, token.start)
        if token.kind != "name" or (before.text == "is" and token.text == "not"):
            continue
        if before.text == ".":
            if after.text == "(":
                raise error_at(f"there is no method `{token.text}`; use a filter: `value | name`", source, token.start)
        elif before.text == "|":
            filters.add(token.text)
        elif before.text == "is" or (before.text == "not" and _at(tokens, index - 2).text == "is"):
            tests.add(token.text)
        elif after.text == "(" and token.text not in _ENDS_OPERAND:
            functions.add(token.text)
        else:
            variables.add(token.text)
            steps.update(_step(token, after, _at(tokens, index + 2)))
            if token.text == _SHARED:
                shared.add(_key(after, _at(tokens, index + 2), _at(tokens, index + 3)))
    known = None if None in shared else frozenset(key for key in shared if key is not None)
    return Names(
        frozenset(variables), frozenset(steps), frozenset(filters), frozenset(tests), frozenset(functions), known
    )


def _at(tokens: tuple[Token, ...], index: int) -> Token:
    return tokens[index] if 0 <= index < len(tokens) else _NOTHING


def _step(token: Token, mark: Token, key: Token) -> set[str]:
    if token.text in _STEP_NAMES and mark.text == "." and key.kind == "name":
        return {key.text}
    if token.text in _STEP_NAMES and mark.text == "[" and key.kind == "text":
        return {key.text[1:-1]}
    return set()


def renaming(tokens: tuple[Token, ...], node_id: str, to: str) -> Iterator[tuple[int, int, str]]:
    """What to put where (from, to) so that what names the steps of one node names those of another."""
    for index, token in enumerate(tokens):
        mark, key = _at(tokens, index + 1), _at(tokens, index + 2)
        is_variable = token.kind == "name" and _at(tokens, index - 1).text not in (".", "|")
        if is_variable and _step(token, mark, key) == {node_id}:
            if key.kind == "text":
                yield key.start + 1, key.end - 1, to
            elif _NAME.fullmatch(to):
                yield key.start, key.end, to
            else:
                yield mark.start, key.end, f'["{to}"]'


def _key(mark: Token, key: Token, end: Token) -> str | None:
    """What is looked up in `vars`; null when only the run can tell."""
    if mark.text == "." and key.kind == "name":
        return key.text
    if mark.text == "[" and key.kind == "text" and end.text == "]" and "\\" not in key.text:
        return key.text[1:-1]
    return None


def guarded(tokens: tuple[Token, ...], source: str) -> str:
    """The code of the tokens, with `|_factor` behind both operands of each `*`.

    A filter binds closer than any operator: in front of the `*` it checks what stands there, or the last part of it
    when that is itself a calculation, whose result is a number anyhow.
    """
    places = set()
    for index, token in enumerate(tokens):
        if token.text == "*":
            if index in (0, len(tokens) - 1):
                raise error_at("`*` needs a value on both sides", source, token.start)
            places |= {tokens[index - 1].end, _operand_end(tokens, index + 1)}
    edges = [tokens[0].start, *sorted(places), tokens[-1].end]
    return FACTOR.join(source[start:end] for start, end in pairwise(edges))


def _operand_end(tokens: tuple[Token, ...], index: int) -> int:
    """The place behind the operand that begins at `index`: behind all that binds closer than a multiplication."""
    while index < len(tokens) - 1 and tokens[index].text == "-":
        index += 1
    depth = 0
    for token, after in pairwise(tokens[index:]):
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if depth == 0 and after.text in _ENDS_OPERAND and token.text not in (".", "|"):
            return token.end
    return tokens[-1].end
