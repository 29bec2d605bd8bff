"""What the steps of a run wait for, and the messages that came for them.

A message goes to the step that waits for it, or stays until one does. Signals of a name are taken in order, by the
steps in the order in which they began to wait. A message about a child that no step waits for leads to nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.run import RunStatus, StepRecord
from melagent.domain.work import CHILD_TOPIC, signal_topic
from melagent.engine.values import decode
from melagent.sdk import Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from melagent.domain.work import Message
    from melagent.engine.planner import Place

SHOWN = 20
"""So many waits of a run are shown to people."""


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waits for a signal of a name, or for the end of a child; `place` is null for an item of a loop."""

    key: str
    place: Place | None
    record: StepRecord
    topic: str
    child: str | None
    shown: dict[str, Any]


class Waits:
    """The waits of one run, and its inbox."""

    def __init__(self, inbox: Iterable[Message]) -> None:
        self._inbox: dict[int, Message] = {message.id: message for message in inbox}
        self._seen = set(self._inbox)
        self._waiting: dict[str, StepWait] = {}
        self._received: dict[str, Received] = {}
        self._taken: dict[str, int] = {}
        self._arrival: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, key: str, place: Place | None, record: StepRecord) -> None:
        """A step begins to wait; its record says for what."""
        state = orjson.loads(record.output or b"{}")
        if (child := state.get("run_id")) is not None:
            shown = {"type": "run", "run_id": child}
            self._waiting[key] = StepWait(key, place, record, CHILD_TOPIC, child, shown)
        else:
            shown = {"type": "signal", "signal": state["signal"], "shown": state.get("shown")}
            self._waiting[key] = StepWait(key, place, record, signal_topic(state["signal"]), None, shown)

    def drop(self, key: str) -> None:
        self._waiting.pop(key, None)

    def topics(self) -> tuple[str, ...]:
        """What would wake the run."""
        return tuple(sorted({wait.topic for wait in self._waiting.values()}))

    def shown(self) -> dict[str, Any]:
        """For people: the only wait, or the first of several and how many they are."""
        waits = [{**wait.shown, "step_key": wait.key} for wait in self._waiting.values()]
        return waits[0] if len(waits) == 1 else {"type": "several", "count": len(waits), "first": waits[:SHOWN]}

    def deliver(self, messages: Iterable[Message]) -> None:
        """Take in messages that are not known yet."""
        for message in messages:
            if message.id not in self._seen:
                self._seen.add(message.id)
                self._inbox[message.id] = message
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def coming(self) -> list[asyncio.Future[None]]:
        """Something to wait for besides running nodes: the arrival of a message, if any step waits for one."""
        if not self._waiting:
            return []
        if self._arrival is None or self._arrival.done():
            self._arrival = asyncio.get_running_loop().create_future()
        return [self._arrival]

    def matches(self) -> Iterator[tuple[StepWait, Message]]:
        """Give messages to the steps that wait for them; each of these waits is over."""
        for message in sorted(self._inbox.values(), key=lambda message: message.id) if self._waiting else ():
            wait = self._wait_for(message)
            if wait is None:
                continue
            del self._inbox[message.id], self._waiting[wait.key]
            self._received[wait.key] = _received(message)
            self._taken[wait.key] = message.id
            yield wait, message

    def take_unwanted(self) -> list[int]:
        """The messages about children that no step waits for."""
        unwanted = [message.id for message in self._inbox.values() if message.topic == CHILD_TOPIC]
        for number in unwanted:
            del self._inbox[number]
        return unwanted

    def time_out(self, key: str) -> None:
        """A wait has lasted as long as it may."""
        del self._waiting[key]
        self._received[key] = Received(timed_out=True)

    def received(self, key: str) -> Received | None:
        """What a step got that had waited."""
        return self._received.get(key)

    def taken(self, key: str) -> int | None:
        """The message that led to the outcome of a step; asked when the outcome is recorded."""
        self._received.pop(key, None)
        return self._taken.pop(key, None)

    def _wait_for(self, message: Message) -> StepWait | None:
        child = str(message.child_id) if message.child_id else None
        return next(
            (wait for wait in self._waiting.values() if (wait.topic, wait.child) == (message.topic, child)), None
        )


def _received(message: Message) -> Received:
    if message.status is None or message.status is RunStatus.COMPLETED:
        return Received(decode(message.value))
    error = message.error or {"code": str(message.status), "message": f"The run was {message.status}."}
    return Received(decode(message.value), error=error)
