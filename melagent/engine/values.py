"""Values are encoded to JSON text once, when a node ends, and travel as bytes; whoever reads them decodes those bytes.

So a resumed run sees exactly what a live one saw, and no node can change the value that another node was given.
"""

from __future__ import annotations

from typing import Any

import orjson

from melagent.sdk import NodeError

MAX_VALUE_BYTES = 16 * 1024 * 1024
MAX_RUN_BYTES = 64 * 1024 * 1024

_OPTIONS = orjson.OPT_NON_STR_KEYS


def encode(value: Any) -> bytes:
    """The JSON text of a node's output.

    Raises NodeError (not retryable): `invalid_output` for what JSON cannot hold, `value_too_large` above 16 MiB.
    """
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        raise NodeError(f"The output is not a JSON value: {error}", code="invalid_output", retryable=False) from error
    if len(data) > MAX_VALUE_BYTES:
        message = f"The output has {len(data):,} bytes; a value may have {MAX_VALUE_BYTES:,}."
        raise NodeError(message, code="value_too_large", retryable=False)
    return data


def storable(value: Any) -> Any:
    """A value of an error or a log line; what JSON cannot hold (a lone surrogate, an object) is described as text."""
    try:
        orjson.dumps(value)
    except (TypeError, RecursionError):
        return (value if isinstance(value, str) else repr(value)[:1000]).encode("utf-8", "backslashreplace").decode()
    return value


def decode(data: bytes | None) -> Any:
    return None if data is None else orjson.loads(data)


def merged(values: dict[str, bytes]) -> bytes:
    """The JSON object of already encoded values, without decoding them."""
    return orjson.dumps({key: orjson.Fragment(value) for key, value in values.items()})
