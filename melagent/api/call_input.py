"""What a workflow is given of an HTTP call: `{method, path, query, headers, body}` as JSON text.

Header names are in lower case. A query field that is repeated becomes a list. What becomes of a body is said in
`call_bodies`. With `raw` the bytes that came are there too, as a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from multipart import parse_options_header

from melagent.api.call_bodies import add_body, file_value, repeated_as_lists

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp import web

MASK = "•••"
"""In place of a header that holds a secret."""


def call_input(
    request: web.Request, body: bytes, path: str, masked: Collection[str] = (), *, raw: bool = False
) -> bytes:
    """The input of the run that a call starts; `masked` are names of headers in lower case.

    Raises BadRequest for a body that is not what it says, TooLarge for one with too much in it.
    """
    call = head_of(request, path)
    for name in masked:
        if name in call["headers"]:
            call["headers"][name] = MASK
    add_body(call, request.content_type, request.headers, body)
    if raw:
        call["raw"] = file_value(None, request.content_type, body)
    return as_json(call)


def head_of(request: web.Request, path: str) -> dict[str, Any]:
    """A call without its body, and without cookies: those of this host are of the editor, and may sign somebody in."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers.pop("cookie", None)
    return {
        "method": request.method,
        "path": path,
        "query": repeated_as_lists(request.query.items()) if request.query_string else {},
        "headers": headers,
    }


def whole(head: dict[str, Any], headers: Mapping[str, str], body: bytes, *, raw: bool = False) -> bytes:
    """The input of a run from a call that was kept without its body; `headers` finds names in whatever case."""
    kind, _ = parse_options_header(headers.get("Content-Type", ""))
    add_body(head, kind, headers, body)
    if raw:
        head["raw"] = file_value(None, kind, body)
    return as_json(head)


def as_json(call: dict[str, Any]) -> bytes:
    """The JSON text of a call."""
    try:
        return orjson.dumps(call)
    except TypeError:  # text from the wire that is not valid Unicode
        return orjson.dumps(_clean(call))


def _clean(value: Any) -> Any:
    """The same with every half character replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    return [_clean(part) for part in value] if isinstance(value, list) else value
