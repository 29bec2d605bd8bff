"""What a workflow is given of a body: JSON as the bytes that came, a form as an object, other text as text.

Bytes that are no text, and the files of a multipart form, become `{filename, content_type, size, base64}`. A field that
is repeated becomes a list. Forms are limited in fields and size, because taking one apart needs many times its size.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson
from multipart import MultipartError, PushMultipartParser, parse_options_header

from melagent.api.wire import parse_json
from melagent.errors import BadRequest, Problem, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multipart import MultipartSegment

FORM = "application/x-www-form-urlencoded"
MULTIPART_FORM = "multipart/form-data"
MAX_FORM_FIELDS = 1_000
MAX_FORM_BYTES = 1024 * 1024

MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""


def add_body(call: dict[str, Any], kind: str, headers: Mapping[str, str], body: bytes) -> None:
    """Put a body into a call. `kind` is its content type without parameters, in lower case.

    Raises BadRequest for a body that is not what it says, TooLarge for one with too much in it.
    """
    if not body:
        call["body"] = None
    elif kind == "application/json" or kind.endswith("+json"):
        parse_json(body)
        call["body"] = orjson.Fragment(body)
    elif kind == MULTIPART_FORM:
        call["body"] = _multipart_form(headers.get("Content-Type", ""), body)
    else:
        call["body"] = _other_body(kind, body)


def file_value(filename: str | None, content_type: str, content: bytes) -> dict[str, Any]:
    """Bytes as a value."""
    return {
        "filename": filename,
        "content_type": content_type,
        "size": len(content),
        "base64": base64.b64encode(content).decode(),
    }


def repeated_as_lists(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by name; those that come more than once as a list."""
    fields: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in repeated:
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
            repeated.add(name)
    return fields


def _other_body(kind: str, body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return file_value(None, kind, body)
    return _form(text) if kind == FORM else text


def _form(text: str) -> dict[str, Any]:
    """The fields of a form. Taking it apart needs some 100 times its size."""
    if len(text) > MAX_FORM_BYTES:
        raise TooLarge(f"A form may have at most {MAX_FORM_BYTES:,} bytes.")
    try:
        return repeated_as_lists(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        raise _too_many_fields() from None


def _multipart_form(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a multipart form (RFC 7578). A multipart within one of its parts is left as it is."""
    _, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if not boundary.isascii() or not 0 < len(boundary) <= MAX_BOUNDARY:
        raise _broken(f"Its Content-Type must name a boundary of 1 to {MAX_BOUNDARY} ASCII characters.")
    parser = PushMultipartParser(boundary, strict=True)
    try:
        with parser:
            return repeated_as_lists(_parts(parser, body))
    except MultipartError as error:
        raise _broken(str(error)) from None


def _parts(parser: PushMultipartParser, body: bytes) -> Iterator[tuple[str, Any]]:
    """Name and value of each part. Raises BadRequest as soon as there are too many."""
    count = 0
    part: MultipartSegment | None = None
    content: list[bytes] = []
    for event in parser.parse(body):
        if event is None and part is not None:
            yield part.name, _part(part, b"".join(content))
        elif isinstance(event, bytes):
            content.append(event)
        else:
            part, content, count = event, [], count + 1
            if count > MAX_FORM_FIELDS:
                raise _too_many_fields()


def _part(part: MultipartSegment, content: bytes) -> Any:
    """The value of one part: a text, or a file when it has a file's name or is no text."""
    if part.filename is None:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return file_value(part.filename, part.content_type or "application/octet-stream", content)


def _too_many_fields() -> BadRequest:
    problem = f"A form has at most {MAX_FORM_FIELDS:,} fields."
    return BadRequest("The form has too many fields.", [Problem("body", problem)])


def _broken(problem: str) -> BadRequest:
    return BadRequest("The multipart form cannot be read.", [Problem("body", problem)])
