"""Logs: one event a line to standard error, as text on a terminal and as JSON otherwise.

Modules log through `structlog.get_logger()`; what the standard library's loggers say (aiohttp, asyncpg) comes out in
the same form. Ids of the work in hand (`instance`, `worker_id`, `run_id`, `step_key`, `request_id`) are bound once,
with `bind` or `bound`, and then stand on every line of that task.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

import orjson
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars

if TYPE_CHECKING:
    from collections.abc import MutableMapping

bind = bind_contextvars
"""Bind ids for the rest of this task and those it starts: `bind(instance=...)`."""

bound = bound_contextvars
"""Bind ids within a block: `with bound(run_id=...)`."""

QUIET = ("aiohttp.access", "anthropic", "asyncio", "httpx2", "openai", "yoyo.migrations")
"""Loggers whose chatter below a warning repeats what we log ourselves, or what models are asked."""


def configure(
    level: str = "info", format: Literal["auto", "text", "json"] = "auto", stream: TextIO | None = None
) -> None:
    """Set logging up for this process. A line below `level` costs one call that does nothing."""
    stream = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _json if as_json else _text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda: _Lines(stream),
        cache_logger_on_first_use=False,  # a module's logger may be older than this configuration
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=threshold, force=True)
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


class _Lines:
    """Writes to a stream. That it is closed, or its reader gone, is no concern of whoever logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _ToStructlog(logging.Handler):
    """Hands what the standard library's loggers say to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0]:
            fields["exc_info"] = record.exc_info
        try:
            logger.log(min(record.levelno, logging.CRITICAL), record.getMessage(), **fields)
        except Exception:  # noqa: BLE001  # a line that cannot be written must not stop whoever wrote it
            self.handleError(record)


def _json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate or a number beyond 64 bits
        return json.dumps(event, default=str)


def _text(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """`12:30:05.123 info    the event  key=value …`; line ends inside values are escaped."""
    time, level, message = event.pop("timestamp"), event.pop("level"), event.pop("event")
    fields = "".join(f" {key}={_shown(value)}" for key, value in event.items())
    return f"{time[11:23]} {level:<8} {_one_line(str(message))} {fields}".rstrip()


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character.isspace() for character in text) else text


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
