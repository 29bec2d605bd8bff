"""The frames of the wire: what clients may send, checked, and what the hub makes; and the codes with which it closes.

A frame is JSON text. One that is not, or is no object, closes the socket; any other mistake is told in a frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from melagent.errors import BadRequest, Code, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FRAME_BYTES = 1024 * 1024
MAX_STATE_BYTES = 4 * 1024
MAX_CLIENT_CHARACTERS = 100
MAX_ID = 2**53 - 1
"""Of edits and `since`: what JavaScript counts exactly."""

MAX_DEPTH = 100
CONTAINERS = (dict, list)


class Close(IntEnum):
    """Why a socket is closed. Clients come back after 1012 and 4500 to 4599, and not after 4400 to 4499."""

    RESTART = 1012
    BAD_FRAME = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    TOO_LARGE = 4413
    FULL = 4503
    TOO_SLOW = 4508
    TOO_FAST = 4529


CLOSE_OF = {
    Code.UNAUTHENTICATED: Close.UNAUTHENTICATED,
    Code.FORBIDDEN: Close.FORBIDDEN,
    Code.NOT_FOUND: Close.NOT_FOUND,
    Code.BAD_REQUEST: Close.BAD_FRAME,
    Code.TOO_LARGE: Close.TOO_LARGE,
    Code.RATE_LIMITED: Close.TOO_FAST,
}
"""What an error before the first frame means to a socket; all others are `FULL`: come back later."""


class Closing(Exception):
    """The socket is to be closed with a code and a short reason (at most 123 bytes)."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Join:
    """The first frame. `client` names what keeps unsent edits; `since` is the last `seq` that it has."""

    client: str
    since: int | None


@dataclass(slots=True)
class SentEdit:
    """An edit before its operations are checked. `size` is that of its frame."""

    id: int
    ops: Any
    size: int


@dataclass(frozen=True, slots=True)
class State:
    """What somebody shows of what they do, as JSON text."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    pass


Sent: TypeAlias = Join | SentEdit | State | Ping


class Wrong(BadRequest):
    """A frame that was understood so far as to be answered; with `edit_id` it was meant as an edit."""

    def __init__(self, problem: Problem, edit_id: int | None = None) -> None:
        super().__init__("The frame is not of the expected form.", [problem])
        self.edit_id = edit_id


def read(text: bytes) -> Sent:
    """What a client has sent. Raises Closing for what is no frame at all, Wrong for any other mistake."""
    frame, problem = _object(text)
    kind = frame.get("type")
    if kind == "edit":
        edit_id = _number(frame, "id", least=1)
        if problem is not None:
            raise Wrong(problem, edit_id)
        return SentEdit(edit_id, frame.get("ops"), len(text))
    if problem is not None:
        raise Wrong(problem)
    if kind == "presence":
        return State(_state(frame.get("state")))
    if kind == "ping":
        return Ping()
    if kind == "join":
        since = None if frame.get("since") is None else _number(frame, "since", least=0)
        return Join(_client(frame.get("client")), since)
    raise Wrong(Problem("type", "It is join, edit, presence or ping."))


def error(code: str, message: str, details: Iterable[Problem] = ()) -> bytes:
    body = {"type": "error", "error": code, "message": message, "details": list(details)}
    return orjson.dumps(body)


def tick(seq: int) -> bytes:
    return b'{"type":"tick","seq":%d}' % seq


def reconnect(after_ms: int) -> bytes:
    return b'{"type":"reconnect","after_ms":%d}' % after_ms


def encoded(payload: bytes) -> bytes:
    """A text message of the WebSocket protocol (RFC 6455, 5.2), unmasked and whole, for any number of peers."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def _object(text: bytes) -> tuple[dict[str, Any], Problem | None]:
    """The frame, and why it cannot be taken although it is JSON."""
    try:
        frame, problem = orjson.loads(text), None
    except orjson.JSONDecodeError:
        frame = _leniently(text)
        problem = Problem("", "It holds numbers that are none, or text that is no valid Unicode.")
    if not isinstance(frame, dict):
        raise Closing(Close.BAD_FRAME, "A frame is a JSON object.")
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _deeper_than(frame, MAX_DEPTH):
        problem = Problem("", f"At most {MAX_DEPTH} levels are allowed.")
    return frame, problem


def _leniently(text: bytes) -> Any:
    """What a browser makes of half a character, for example, is JSON, but nothing that could be stored."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, CONTAINERS)
        ]
        if not level:
            return False
    return True


def _number(frame: dict[str, Any], field: str, *, least: int) -> int:
    value = frame.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_ID:
        raise Wrong(Problem(field, f"It is a whole number from {least} on."))
    return value


def _client(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_CLIENT_CHARACTERS or not value.isascii():
        problem = f"It is a random text of 1 to {MAX_CLIENT_CHARACTERS} ASCII characters."
        raise Wrong(Problem("client", problem))
    if not value.isprintable():
        raise Wrong(Problem("client", "It has no control characters."))
    return value


def _state(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise Wrong(Problem("state", "It is an object."))
    text = orjson.dumps(value)
    if len(text) > MAX_STATE_BYTES:
        raise Wrong(Problem("state", f"It has at most {MAX_STATE_BYTES:,} bytes."))
    return text
