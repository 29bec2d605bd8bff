"""CSS selectors as XPath that can be broken off. Not a node type; the html node searches with it.

XPath looks at everything that a step reaches, so a selector such as `li ~ li ~ li ~ li` takes a time that grows with a
power of the page: a hostile page would keep its thread for days. So conditions call `go()` before they look further.
Whoever searches gives a function of that name, which raises when it has been long enough; between two calls lies work
that grows with the page only once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cssselect import HTMLTranslator, SelectorError, parse

if TYPE_CHECKING:
    from cssselect.xpath import XPathExpr

_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|(?P<axis>[a-z-]+)::|\[|\]""")
_NEAR = ("self", "parent", "ancestor")
"""A parser lets no element have more than 255 of them."""


class _Translator(HTMLTranslator):
    """Looks from each element to what must stand above or before it, instead of collecting all that lies below.

    XPath makes sets of the latter, and uniting them is quadratic in the document.
    """

    def xpath_descendant_combinator(self, left: XPathExpr, right: XPathExpr) -> XPathExpr:
        return right.add_condition(f"ancestor::{left}")

    def xpath_child_combinator(self, left: XPathExpr, right: XPathExpr) -> XPathExpr:
        return right.add_condition(f"parent::{left}")

    def xpath_direct_adjacent_combinator(self, left: XPathExpr, right: XPathExpr) -> XPathExpr:
        return right.add_condition(f"preceding-sibling::*[1]/self::{left}")

    def xpath_indirect_adjacent_combinator(self, left: XPathExpr, right: XPathExpr) -> XPathExpr:
        return right.add_condition(f"preceding-sibling::{left}")


def xpath(selector: str) -> str:
    """All elements that fit, the one to begin at among them. Raises ValueError when it is no selector."""
    translator = _Translator()
    try:
        parsed = parse(selector)
        prefix = "descendant-or-self::" if len(parsed) == 1 else "self::"
        paths = [translator.selector_to_xpath(one, prefix, translate_pseudo_elements=True) for one in parsed]
    except SelectorError as error:
        raise ValueError(f"this is no selector: {error}") from error
    return _guarded(paths[0] if len(paths) == 1 else f"descendant-or-self::*[{' or '.join(paths)}]")


@dataclass(slots=True)
class _Condition:
    """One that is open: where it begins, whether it takes any step, and whether that may lead to much work."""

    begin: int
    steps: bool = False
    far: bool = False


def _guarded(path: str) -> str:
    """The same with `go()` at the beginning of each condition that does more than look at what stands above."""
    opened = [_Condition(0)]
    pieces: list[str] = []
    end = 0
    for token in _TOKEN.finditer(path):
        pieces += (path[end : token.start()], token[0])
        end = token.end()
        if token[0] == "[":
            opened.append(_Condition(len(pieces) - 1))
        elif token[0] == "]":
            closed = opened.pop()
            opened[-1].far |= closed.steps
            if closed.far:
                pieces[closed.begin], pieces[-1] = "[go() and (", ")]"
        elif axis := token["axis"]:
            opened[-1].steps = True
            opened[-1].far |= axis not in _NEAR
    return "".join((*pieces, path[end:]))
