"""Log lines of steps that are still running, on their way to whoever watches the run, on any instance.

Kept nowhere: the lines are recorded with their step in any case. So losing some costs nothing but the early look, and
an instance passes on only so many a second.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from melagent.broker import Broker

LIVE = "live"
"""Topic: a log line of a running step."""

LINES_A_SECOND = 100
MAX_LINE_BYTES = 4_000
KEPT_LINES = 1_000


@dataclass(frozen=True, slots=True)
class LiveLine:
    """A log line, the `number`-th of an attempt at a step, counted from zero."""

    run_id: UUID
    step_key: str
    attempt: int
    number: int
    line: dict[str, Any]


class Live:
    """Passes lines from running steps to watchers. `changed` is called with a run that has a new line."""

    def __init__(self, broker: Broker, changed: Callable[[UUID], None]) -> None:
        self._broker = broker
        self._changed = changed
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._second = 0
        self._passed_on = 0
        broker.subscribe(LIVE, self._heard)

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
        if self._may_pass_on():
            text = json.dumps([str(line.run_id), line.step_key, line.attempt, line.number, line.line])
            if len(text.encode()) <= MAX_LINE_BYTES:
                self._broker.publish(LIVE, text)

    def _heard(self, text: str) -> None:
        run_id, step_key, attempt, number, line = json.loads(text)
        self._show(LiveLine(UUID(run_id), step_key, attempt, number, line))

    def _show(self, line: LiveLine) -> None:
        watchers = self._watchers.get(line.run_id, ())
        for watcher in watchers:
            watcher.lines.append(line)
        if watchers:
            self._changed(line.run_id)

    def _may_pass_on(self) -> bool:
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._passed_on = second, 0
        self._passed_on += 1
        return self._passed_on <= LINES_A_SECOND


class Watcher:
    """The lines that one stream has still to tell, and those it has told, so that none is told twice."""

    def __init__(self) -> None:
        self.lines: deque[LiveLine] = deque(maxlen=KEPT_LINES)
        self._told: set[tuple[str, int, int]] = set()

    def take(self) -> Iterator[LiveLine]:
        """The lines that have come, each once."""
        while self.lines:
            line = self.lines.popleft()
            if not self.told(line.step_key, line.attempt, line.number):
                self._told.add((line.step_key, line.attempt, line.number))
                yield line

    def told(self, step_key: str, attempt: int, number: int) -> bool:
        return (step_key, attempt, number) in self._told

    def untold(self, step_key: str, attempt: int, count: int) -> Iterator[int]:
        """Of the recorded lines of a step, the numbers of those that are still to be told; they count as told then."""
        for number in range(count):
            if not self.told(step_key, attempt, number):
                self._told.add((step_key, attempt, number))
                yield number
