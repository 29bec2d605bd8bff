"""Reads and writes XML 1.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import orjson

from melagent.sdk import Expression, Field, Json, Node, NodeContext, NodeError, Params, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.config import JsonDict

MAX_DEPTH = 100
"""Elements within elements. Each is an object and perhaps a list, and JSON is written to a depth of 254."""
MAX_CHARACTERS = 16 * 1024 * 1024
"""What `format` may give; a value of a run cannot be larger."""

# https://www.w3.org/TR/xml/#NT-NameStartChar, NameChar and Char
_START = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_PART = rf"[{_START}][{_START}\-.0-9\xb7\u0300-\u036f\u203f\u2040]*"
_NAME = re.compile(rf"{_PART}(:{_PART})?")
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_FORMAT: JsonDict = {"x-visible-if": "operation == 'format'"}


class XmlParams(Params):
    operation: Literal["parse", "format"] = Field(
        default="parse", description="parse makes an object of a text, format makes a text of an object"
    )
    data: Annotated[str, Expression] = Field(
        default="input", min_length=1, description="The text, or an object with one field, the root element"
    )
    always_list: list[str] = Field(
        default_factory=list,
        description="Elements that become a list even where they stand alone",
        json_schema_extra={"x-visible-if": "operation == 'parse'"},
    )
    root: str = Field(
        default="",
        description="Name of an element to put around the data; without it the data has one field",
        json_schema_extra=_FORMAT,
    )
    indent: bool = Field(
        default=False, description="Whether elements stand on lines of their own", json_schema_extra=_FORMAT
    )


class Xml(Node[XmlParams]):
    """An element is an object: its attributes as `@name`, its elements by name, its text as `#text`.

    Elements of the same name become a list. An element that has only text is that text, with the white space around
    it left out; an empty one is empty text. Prefixes of namespaces stay part of the names. All values are text, and
    comments and processing instructions are left out. A document type is refused, and with it every entity that a
    text could define, so that none can be large or name a file.
    """

    id = "xml"
    name = "XML"
    description = "Makes an object of an XML text, or an XML text of an object"
    category = "Data"
    icon = "code-xml"
    in_thread = True

    async def run(self, params: XmlParams, ctx: NodeContext) -> Result:
        data = ctx.evaluate(params.data)
        if params.operation == "parse":
            if not isinstance(data, str):
                raise _wrong("`data` is not text.")
            return _Reader(frozenset(params.always_list)).read(data)
        if params.root and isinstance(data, list):
            raise _wrong("A list cannot be the root element: give an object that names its items, like {item: [1, 2]}.")
        root = {params.root: data} if params.root else data
        if not isinstance(root, dict) or len(root) != 1 or isinstance(next(iter(root.values())), list):
            raise _wrong("XML has one root element: give `root`, or an object with one field that is no list.")
        return _written(root, params)


class _Reader:
    """Builds the object while the parser goes through the text."""

    def __init__(self, always_list: frozenset[str]) -> None:
        self._always_list = always_list
        self._open: list[tuple[dict[str, Json], list[str]]] = [({}, [])]

    def read(self, text: str) -> Json:
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_document_type
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(text.encode(), True)  # noqa: FBT003 - the parser knows no names of its arguments
        except (expat.ExpatError, UnicodeEncodeError) as error:
            raise _wrong(f"`data` is not well-formed XML: {error}.") from error
        return self._open[0][0]

    def _start(self, _name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise _wrong(f"Elements are nested deeper than {MAX_DEPTH} levels.")
        self._open.append(({f"@{name}": value for name, value in attributes.items()}, []))

    def _text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, name: str) -> None:
        fields, texts = self._open.pop()
        text = "".join(texts).strip()
        if fields and text:
            fields["#text"] = text
        value = fields or text
        siblings = self._open[-1][0]
        if name not in siblings:
            siblings[name] = [value] if name in self._always_list else value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]


def _refuse_document_type(*_: object) -> None:
    raise _wrong("The XML has a document type (<!DOCTYPE>), which is refused: it can define entities.")


def _written(root: dict[str, Json], params: XmlParams) -> str:
    pieces: list[str] = []
    size = 0
    for name, value in root.items():
        for piece in _element(name, value, 0, "\n" if params.indent else ""):
            size += len(piece)
            if size > MAX_CHARACTERS:
                message = f"The text would have more than {MAX_CHARACTERS:,} characters."
                raise NodeError(message, code="too_large", retryable=False)
            pieces.append(piece)
    return "".join(pieces).lstrip("\n")


def _element(name: str, value: Json, depth: int, newline: str) -> Iterator[str]:
    """The pieces of an element; `newline` begins each line, empty when all is one line."""
    if depth >= MAX_DEPTH:
        raise _wrong(f"Values are nested deeper than {MAX_DEPTH} levels.")
    fields = value if isinstance(value, dict) else {"#text": value}
    line = newline and newline + "  " * depth
    yield f"{line}<{_name(name)}"
    yield from (f" {_name(key[1:])}={quoteattr(_scalar(item))}" for key, item in fields.items() if key.startswith("@"))
    text = escape(_scalar(fields.get("#text")), {"\r": "&#13;"})
    elements = list(_elements(fields))
    if not elements:
        yield f">{text}</{name}>" if text else "/>"
        return
    yield f">{text}"
    for key, item in elements:
        yield from _element(key, item, depth + 1, newline)
    yield f"{line}</{name}>"


def _elements(fields: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    """The elements within, each item of a list on its own; an empty list is none."""
    for key, value in fields.items():
        if not key.startswith("@") and key != "#text":
            yield from ((key, item) for item in (value if isinstance(value, list) else [value]))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _wrong(f"{name[:100]!r} cannot be the name of an element or attribute.")
    return name


def _scalar(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise _wrong("An attribute, a text and an item of a list are no lists, and the first two no objects.")
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if found := _NO_CHARACTER.search(text):
        raise _wrong(f"XML cannot hold the character {found[0]!r}.")
    return text


def _wrong(message: str) -> NodeError:
    return NodeError(message, code="wrong_input", retryable=False)
