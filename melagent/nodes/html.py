"""Takes fields out of HTML by CSS selectors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal, Self

from lxml import etree
from pydantic import AfterValidator, model_validator

from melagent.nodes.selectors import xpath
from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHARACTERS = 1024 * 1024
"""Of HTML. The parser is quadratic in the attributes of one element: so many take a minute at worst."""
MAX_ELEMENTS = 20_000
"""What a page may hold in memory, and between two looks at the clock a selector may visit."""
MAX_SECONDS = 10.0
"""Processor time for all selectors of a step."""
MAX_FOUND = 4 * 1024 * 1024
"""Characters that may come out: elements within each other come out again and again."""


def _known(selector: str) -> str:
    if selector:
        xpath(selector)
    return selector


Selector = Annotated[str, Field(max_length=1000), AfterValidator(_known)]


class HtmlField(Params):
    name: str = Field(min_length=1, max_length=200, description="Name in the output")
    selector: Selector = Field(min_length=1, description="CSS selector, for example `h1.title`")
    take: Literal["text", "html", "attribute"] = Field(
        default="text", description="text has runs of white space as one space; html is that of the whole element"
    )
    attribute: str = Field(
        default="", description="Which attribute", json_schema_extra={"x-visible-if": "take == 'attribute'"}
    )
    all: bool = Field(default=False, description="A list of all that is found, instead of the first or null")

    @model_validator(mode="after")
    def _attribute_is_named(self) -> Self:
        if self.take == "attribute" and not self.attribute:
            raise ValueError("name the attribute to take")
        return self


class HtmlParams(Params):
    data: Annotated[str, Expression] = Field(default="input", min_length=1, description="The HTML")
    each: Selector = Field(
        default="", description="What repeats, for example `table tr`: gives a list with one object for each"
    )
    fields: list[HtmlField] = Field(min_length=1, max_length=100, description="What to take out")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({field.name for field in self.fields}) < len(self.fields):
            raise ValueError("two fields have the same name")
        return self


class Html(Node[HtmlParams]):
    """The output is an object by the fields' names; with `each` a list of them, each found in or at its element.

    Broken HTML is read as far as it goes. What is nested deeper than 255 elements is refused.
    """

    id = "html"
    name = "HTML"
    description = "Takes fields out of HTML by CSS selectors"
    category = "Data"
    icon = "file-code"
    in_thread = True

    async def run(self, params: HtmlParams, ctx: NodeContext) -> Result:
        data = ctx.evaluate(params.data)
        if not isinstance(data, str):
            raise _wrong("`data` is not text.")
        root = _parsed(data)
        search = _Search()
        if not params.each:
            return search.fields(root, params.fields)
        return [search.fields(element, params.fields) for element in search.elements(root, params.each)]


def _parsed(text: str) -> etree._Element | None:
    """The root element; null when there is none."""
    if len(text) > MAX_CHARACTERS:
        raise _too_large(f"HTML may have {MAX_CHARACTERS:,} characters.")
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        raise _wrong(f"`data` cannot be read as HTML: {error}") from error
    for fault in parser.error_log:
        if fault.level == etree.ErrorLevels.FATAL:
            raise _wrong(f"`data` cannot be read as HTML: {fault.message}")
    if root is not None and sum(1 for _ in root.iter()) > MAX_ELEMENTS:
        raise _too_large(f"HTML may have {MAX_ELEMENTS:,} elements.")
    return root


class _Search:
    """What one step finds, within its limits."""

    def __init__(self) -> None:
        self._compiled: dict[str, etree.XPath] = {}
        self._end = time.thread_time() + MAX_SECONDS
        self._left = MAX_FOUND

    def fields(self, element: etree._Element | None, wanted: list[HtmlField]) -> dict[str, Json]:
        return {field.name: self._field(element, field) for field in wanted}

    def elements(self, within: etree._Element | None, selector: str) -> list[etree._Element]:
        """All that fit, the element itself among them, in the order of the document."""
        if within is None:
            return []
        self._go()
        if selector not in self._compiled:
            self._compiled[selector] = etree.XPath(xpath(selector), extensions={(None, "go"): self._go})
        found: list[etree._Element] = self._compiled[selector](within)
        return found

    def _go(self, _context: object = None) -> bool:
        """True while there is time left; XPath asks too, in the midst of its search. Raises NodeError."""
        if time.thread_time() > self._end:
            message = f"The selectors took more than {MAX_SECONDS:g} s."
            raise NodeError(message, code="too_much_work", retryable=False)
        return True

    def _field(self, within: etree._Element | None, field: HtmlField) -> Json:
        found = self._taken(self.elements(within, field.selector), field)
        return list(found) if field.all else next(found, None)

    def _taken(self, elements: list[etree._Element], field: HtmlField) -> Iterator[str]:
        """What is taken of each; elements without the attribute are passed over."""
        for element in elements:
            value = _value(element, field)
            if value is not None:
                self._left -= len(value)
                if self._left < 0:
                    raise _too_large(f"More than {MAX_FOUND:,} characters were found.")
                yield value


def _value(element: etree._Element, field: HtmlField) -> str | None:
    value: str | None
    match field.take:
        case "attribute":
            value = element.get(field.attribute.lower())
        case "html":
            value = etree.tostring(element, encoding="unicode", method="html", with_tail=False)
        case "text":
            value = " ".join("".join(_texts(element)).split())
    return value


def _texts(element: etree._Element) -> list[str]:
    """The texts within, but not those of scripts and styles, unless it is one."""
    if element.tag in ("script", "style"):
        return [element.text or ""]
    texts: list[str] = _VISIBLE(element)
    return texts


_VISIBLE = etree.XPath(".//text()[not(parent::script or parent::style)]")


def _too_large(message: str) -> NodeError:
    return NodeError(message, code="too_large", retryable=False)


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
