"""From bytes to values and back: JSON bodies, checked against models, and JSON answers.

Whatever is accepted here can be written again: text is valid Unicode, values are nested at most 128 deep, and numbers
are finite. A whole number beyond 64 bits is read as the nearest floating-point number, as JavaScript does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from melagent.errors import BadRequest, Problem, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 128

MAX_MARKS = 500_000
"""Commas and opening brackets: each value has one. So many are parsed within 150 ms, in which nothing else runs."""

UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers of answers that are sent bit by bit: proxies pass each bit on."""

CONTAINERS = (dict, list)

M = TypeVar("M", bound=BaseModel)


class Listed(Protocol):
    """An entry of a list, which is cut behind an id."""

    @property
    def id(self) -> UUID: ...


R = TypeVar("R", bound=Listed)


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("The character \\u0000 cannot be part of this text")
    return text


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_without_nul)
]
Description = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_without_nul)]


Revision = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A revision of a draft that the caller has seen."""


class Body(BaseModel):
    """Base of what clients send: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """Base of what is answered. These models describe answers in the OpenAPI document; fields may be added any time."""


def parse_json(data: bytes) -> Any:
    """The JSON value of a text.

    Raises BadRequest for what is not JSON, or is nested too deep to be written again; TooLarge for too many values.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if brackets + data.count(b",") > MAX_MARKS:
        problem = f"It may have at most {MAX_MARKS:,} commas and opening brackets."
        raise TooLarge("The body has too many values.", [Problem("body", problem)])
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest("The body is not valid JSON.", [Problem("body", str(error))]) from None
    if brackets > MAX_DEPTH and isinstance(value, CONTAINERS) and _deeper_than(value, MAX_DEPTH):
        raise BadRequest("The body is nested too deep.", [Problem("body", f"At most {MAX_DEPTH} levels are allowed.")])
    return value


def _deeper_than(value: dict[str, Any] | list[Any], depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [child for parent in level for child in _children(parent) if isinstance(child, CONTAINERS)]
    return bool(level)


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def checked_body(model: type[M], data: bytes) -> M:
    """The body as a model, types taken strictly; an empty body counts as `{}`. BadRequest lists every problem."""
    value = parse_json(data) if data else {}
    try:
        return model.model_validate_json(orjson.dumps(value), strict=True)
    except ValidationError as error:
        raise BadRequest(details=problems_of(error)) from None


def checked_message(model: type[M], data: bytes) -> M:
    """The body as a message of the worker protocol, unknown fields ignored. BadRequest lists every problem."""
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise BadRequest(details=problems_of(error)) from None


def answer_message(message: BaseModel, status: int = 200) -> web.Response:
    """A message of the worker protocol as an answer."""
    return web.Response(body=message.model_dump_json().encode(), status=status, content_type="application/json")


def first_page(found: list[R], limit: int) -> tuple[list[R], UUID | None]:
    """What a list answers, given one entry more than its `limit` if there is one; and the cursor of the next page."""
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None


def checked_query(model: type[M], query: Mapping[str, str]) -> M:
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        raise BadRequest(details=problems_of(error)) from None


def problems_of(error: ValidationError) -> list[Problem]:
    """Every problem with its path, as in `definition.nodes[2].retry.max_attempts`."""
    return [Problem(_path(item["loc"]) or "body", item["msg"]) for item in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def encode(value: Any) -> bytes:
    """JSON text of an answer: dataclasses as objects, times in UTC with `Z`; bytes are JSON text already."""
    return orjson.dumps(value, default=_as_written, option=orjson.OPT_UTC_Z)


def _as_written(value: Any) -> orjson.Fragment | str:
    if isinstance(value, bytes):
        return orjson.Fragment(value)
    if isinstance(value, UUID):  # the driver's own kind, which orjson does not know
        return str(value)
    raise TypeError


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(value), status=status, headers=headers, content_type="application/json")
