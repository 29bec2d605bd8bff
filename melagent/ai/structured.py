"""Answers that are to be JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema_rs
import orjson

from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from melagent.sdk import Json

SHOWN_CHARACTERS = 1_000

_FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(?P<inner>.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def instruction(schema: Mapping[str, Json] | None) -> str:
    """What a model is told, besides what its provider may be told."""
    wanted = "Answer with JSON only, without any text around it."
    return wanted if schema is None else f"{wanted} It must be valid by this JSON Schema:\n{json.dumps(schema)}"


def check_schema(schema: Mapping[str, Json]) -> None:
    """Raises ValueError for what is no JSON Schema, and for one that refers to others by address."""
    _validator(schema)


def parsed(text: str, schema: Mapping[str, Json] | None) -> Json:
    """The value that a model wrote, which may stand in a Markdown fence.

    Raises NodeError, code `invalid_json`, retryable: asked again, a model often gets it right.
    """
    inner = found["inner"] if (found := _FENCED.fullmatch(text)) else text
    try:
        value = orjson.loads(inner)
        fault = None if schema is None else next(_validator(schema).iter_errors(value), None)
    except ValueError as error:  # no JSON, or nested deeper than the validator goes
        raise _invalid(f"The answer is not JSON: {error}", text) from error
    if fault is not None:
        place = "".join(f"[{part!r}]" for part in fault.instance_path)
        raise _invalid(f"The answer is not what the schema asks for: {place}: {fault.message[:500]}", text)
    return value


def _invalid(message: str, text: str) -> NodeError:
    return NodeError(message, code="invalid_json", details={"text": text[:SHOWN_CHARACTERS]})


def _validator(schema: Mapping[str, Json]) -> jsonschema_rs.Validator:
    """Schemas elsewhere are never fetched: their addresses would not pass the guard of outgoing connections."""
    return jsonschema_rs.validator_for(dict(schema), retriever=_refuse)


def _refuse(address: str) -> NoReturn:
    raise ValueError(f"a schema cannot refer to another one, as this does to {address}")
