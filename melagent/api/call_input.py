"""What a workflow is given of an HTTP call: `{method, path, query, headers, body}` as JSON text.

A JSON body travels into the run as the bytes that came; a form becomes an object; other text stays text. Bytes that are
not text are given in base64, and `body_base64` is then true. Header names are in lower case. A query or form field that
is repeated becomes a list.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from melagent.api.wire import parse_json
from melagent.errors import BadRequest, Problem, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 1_000
MAX_FORM_BYTES = 1024 * 1024


def call_input(request: web.Request, body: bytes, path: str) -> bytes:
    """The input of the run that a call starts.

    Raises BadRequest for a body that is not what it says, TooLarge for one with too much in it.
    """
    call: dict[str, Any] = {
        "method": request.method,
        "path": path,
        "query": _fields(request.query.items()) if request.query_string else {},
        "headers": {name.lower(): value for name, value in request.headers.items()},
    }
    kind = request.content_type
    if not body:
        call["body"] = None
    elif kind == "application/json" or kind.endswith("+json"):
        parse_json(body)
        call["body"] = orjson.Fragment(body)
    else:
        call.update(_other_body(kind, body))
    try:
        return orjson.dumps(call)
    except TypeError:  # text from the wire that is not valid Unicode
        return orjson.dumps(_clean(call))


def _other_body(kind: str, body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "body_base64": True}
    return {"body": _form(text) if kind == FORM else text}


def _form(text: str) -> dict[str, Any]:
    """The fields of a form. Taking it apart needs some 100 times its size."""
    if len(text) > MAX_FORM_BYTES:
        raise TooLarge(f"A form may have at most {MAX_FORM_BYTES:,} bytes.")
    try:
        return _fields(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        problem = f"A form has at most {MAX_FORM_FIELDS:,} fields."
        raise BadRequest("The form has too many fields.", [Problem("body", problem)]) from None


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def _clean(value: Any) -> Any:
    """The same with every half character replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    return [_clean(part) for part in value] if isinstance(value, list) else value
