"""What steps that are still running tell, on its way to whoever watches the run, on any instance.

Two kinds: log lines, and the text that a node shows piece by piece while it is made. Kept nowhere: lines are recorded
with their step in any case, and of a text its node's output is what counts. So losing some costs nothing but the early
look. A piece says at which character of the text it begins, so whoever misses one knows; an instance passes on only so
many a second; and nobody waits for a watcher, for whom pieces that he has not taken grow together.
"""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from melagent.broker import Broker

LIVE = "live"
"""Topic: a log line of a running step."""

TEXT = "text"
"""Topic: a piece of the text that a running step shows."""

A_SECOND = {"log": 100, "token": 200}
MAX_LINE_BYTES = 4_000
KEPT_LINES = 1_000
PIECE_CHARACTERS = 4_000
PASSED_CHARACTERS = 500
"""Of a piece to other instances: a broker's message may make twelve bytes of each, and PostgreSQL takes 8,000."""

Kind: TypeAlias = Literal["log", "token"]


@dataclass(frozen=True, slots=True)
class LiveLine:
    """A log line, the `number`-th of an attempt at a step, counted from zero.

    Of the kind `token`: a piece, `{"text"}`, that begins at the `number`-th character of the attempt's text.
    """

    run_id: UUID
    step_key: str
    attempt: int
    number: int
    line: dict[str, Any]
    kind: Kind = "log"


class Live:
    """Passes lines from running steps to watchers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._second = 0
        self._passed_on: dict[Kind, int] = {}
        broker.subscribe(LIVE, self._heard_line)
        broker.subscribe(TEXT, self._heard_piece)

    @contextmanager
    def watch(self, run_id: UUID) -> Iterator[Watcher]:
        """What a watcher hears of a run from now on."""
        watcher = Watcher()
        self._watchers.setdefault(run_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[run_id].discard(watcher)
            if not self._watchers[run_id]:
                del self._watchers[run_id]

    def publish(self, line: LiveLine) -> None:
        """Show a line to those who watch here, and to those elsewhere unless there are too many lines."""
        self._show(line)
        if line.kind == "log":
            self._pass_on(LIVE, line, line.line)
        else:
            for piece in _pieces(line):
                self._pass_on(TEXT, piece, piece.line["text"])

    def _pass_on(self, topic: str, line: LiveLine, told: Any) -> None:
        if self._may_pass_on(line.kind):
            ids = [str(line.run_id), line.step_key, line.attempt, line.number]
            text = json.dumps([*ids, told], ensure_ascii=False)
            if len(text.encode()) <= MAX_LINE_BYTES:
                self._broker.publish(topic, text)

    def _heard_line(self, text: str) -> None:
        run_id, step_key, attempt, number, line = json.loads(text)
        self._show(LiveLine(UUID(run_id), step_key, attempt, number, line))

    def _heard_piece(self, text: str) -> None:
        run_id, step_key, attempt, number, piece = json.loads(text)
        self._show(LiveLine(UUID(run_id), step_key, attempt, number, {"text": piece}, "token"))

    def _show(self, line: LiveLine) -> None:
        for watcher in self._watchers.get(line.run_id, ()):
            watcher.hear(line)

    def _may_pass_on(self, kind: Kind) -> bool:
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._passed_on = second, {}
        self._passed_on[kind] = self._passed_on.get(kind, 0) + 1
        return self._passed_on[kind] <= A_SECOND[kind]


class Backlog:
    """Lines that somebody has still to take: at most so many, the oldest go. Pieces of one text grow together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: dict[tuple[Any, ...], LiveLine] = {}
        self._last_pieces: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: LiveLine) -> None:
        step = (line.run_id, line.step_key, line.attempt)
        last = self._last_pieces.pop(step, ())
        key = (*step, line.kind, line.number)
        if line.kind == "token":
            grown = _joined(self._lines.get(last), line)
            key, line = (key, line) if grown is None else (last, grown)
            self._last_pieces[step] = key
        self._lines[key] = line
        if len(self._lines) > self._limit:
            del self._lines[next(iter(self._lines))]

    def take(self) -> list[LiveLine]:
        """All of them, in the order in which they came."""
        lines = list(self._lines.values())
        self._lines.clear()
        self._last_pieces.clear()
        return lines


class Watcher:
    """The lines that one stream has still to tell, and those it has told, so that none is told twice.

    `stirred` is set when a line has come. Pieces of a text are told in its order, or begin it anew: one that others
    have overtaken is left out.
    """

    def __init__(self) -> None:
        self.stirred = asyncio.Event()
        self._backlog = Backlog(KEPT_LINES)
        self._told: set[tuple[str, int, int]] = set()
        self._next: dict[tuple[str, int], float] = {}

    def hear(self, line: LiveLine) -> None:
        self._backlog.add(line)
        self.stirred.set()

    def take(self) -> Iterator[LiveLine]:
        """The lines that have come, each once."""
        self.stirred.clear()
        for line in self._backlog.take():
            if line.kind == "token":
                if self._in_order(line):
                    yield line
            elif not self.told(line.step_key, line.attempt, line.number):
                self._told.add((line.step_key, line.attempt, line.number))
                yield line

    def recorded(self, step_key: str, attempt: int) -> None:
        """What the attempt led to has been told: no piece of its text may follow."""
        self._next[step_key, attempt] = math.inf

    def _in_order(self, piece: LiveLine) -> bool:
        step = (piece.step_key, piece.attempt)
        following = self._next.get(step, 0)
        if following == math.inf or (0 < piece.number < following):
            return False
        self._next[step] = piece.number + len(piece.line["text"])
        return True

    def told(self, step_key: str, attempt: int, number: int) -> bool:
        return (step_key, attempt, number) in self._told

    def untold(self, step_key: str, attempt: int, count: int) -> Iterator[int]:
        """Of the recorded lines of a step, the numbers of those that are still to be told; they count as told then."""
        for number in range(count):
            if not self.told(step_key, attempt, number):
                self._told.add((step_key, attempt, number))
                yield number


class Flow:
    """The text that one attempt shows, passed on ten times a second: a token for itself would cost too much.

    `publish` is given the character at which a piece begins, and the piece. `clean` says how it is cleaned, with what
    must be held back until more has come; see `domain.secrets.Redactor.flowing`.
    """

    __slots__ = ("_clean", "_held", "_offset", "_publish", "_timer")

    SECONDS = 0.1

    def __init__(self, publish: Callable[[int, str], None], clean: Callable[[str], tuple[str, str]]) -> None:
        self._publish = publish
        self._clean = clean
        self._held = ""
        self._offset = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        self._held += text
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.SECONDS, self._pass_on)

    def close(self) -> None:
        """Pass on what is left. Nothing may be added any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._pass_on()
        self._tell(self._held)

    def _pass_on(self) -> None:
        self._timer = None
        ready, self._held = self._clean(self._held)
        self._tell(ready)

    def _tell(self, text: str) -> None:
        for start in range(0, len(text), PIECE_CHARACTERS):
            piece = text[start : start + PIECE_CHARACTERS]
            self._publish(self._offset, piece)
            self._offset += len(piece)


def _joined(last: LiveLine | None, piece: LiveLine) -> LiveLine | None:
    """Both pieces as one; null when the second does not follow the first, or it gets too long."""
    if last is None:
        return None
    text = last.line["text"]
    if last.number + len(text) != piece.number or len(text) + len(piece.line["text"]) > PIECE_CHARACTERS:
        return None
    return replace(last, line={"text": text + piece.line["text"]})


def _pieces(line: LiveLine) -> Iterator[LiveLine]:
    text = line.line["text"]
    for start in range(0, len(text), PASSED_CHARACTERS):
        part = {"text": text[start : start + PASSED_CHARACTERS]}
        yield replace(line, number=line.number + start, line=part)
