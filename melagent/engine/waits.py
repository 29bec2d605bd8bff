"""What the steps of a run wait for, and the messages that came for them.

A message goes to the step that waits for it, or stays until one does. Signals of a name are taken in order, by the
steps in the order in which they began to wait. A message about a child that no step waits for leads to nothing. What
a message or a wait costs does not depend on how many others there are, but for a logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from melagent.domain.run import RunStatus, StepRecord
from melagent.domain.work import CHILD_TOPIC, signal_topic
from melagent.engine.values import decode
from melagent.sdk import Received

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from melagent.domain.work import Message
    from melagent.engine.planner import Place

Address: TypeAlias = tuple[str, str | None]
"""A topic; with the id of the child when the message is about the end of one."""

SHOWN = 20
"""So many waits of a run are shown to people."""


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waits for a signal of a name, or for the end of a child; `place` is null for an item of a loop."""

    key: str
    place: Place | None
    record: StepRecord
    address: Address
    shown: dict[str, Any]


@dataclass(slots=True)
class Box:
    """What belongs to one address: messages as a heap by their id, and the steps that wait, in their order."""

    messages: list[tuple[int, Message]] = field(default_factory=list)
    waiting: dict[str, StepWait] = field(default_factory=dict)


class Waits:
    """The waits of one run, and its inbox. `arrival` is set when messages come."""

    def __init__(self, inbox: Iterable[Message], arrival: asyncio.Event) -> None:
        self._arrival = arrival
        self._seen: set[int] = set()
        self._boxes: dict[Address, Box] = {}
        self._changed: dict[Address, None] = {}
        self._waiting: dict[str, StepWait] = {}
        self._received: dict[str, tuple[Received, int | None]] = {}
        self._unwanted: list[int] = []
        self.deliver(inbox)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, key: str, place: Place | None, record: StepRecord) -> None:
        """A step begins to wait; its record says for what."""
        state = orjson.loads(record.output or b"{}")
        if (child := state.get("run_id")) is not None:
            address, shown = (CHILD_TOPIC, child), {"type": "run", "run_id": child}
        else:
            address = (signal_topic(state["signal"]), None)
            shown = {"type": "signal", "signal": state["signal"], "shown": state.get("shown")}
        self._waiting[key] = self._box(address).waiting[key] = StepWait(key, place, record, address, shown)

    def drop(self, key: str) -> None:
        """A step no longer waits, if it did."""
        if (wait := self._waiting.pop(key, None)) is not None:
            del self._box(wait.address).waiting[key]

    def topics(self) -> tuple[str, ...]:
        """What would wake the run."""
        return tuple(sorted({wait.address[0] for wait in self._waiting.values()}))

    def shown(self) -> dict[str, Any]:
        """For people: the only wait, or the first of several and how many they are."""
        waits = [{**wait.shown, "step_key": wait.key} for wait in islice(self._waiting.values(), SHOWN)]
        count = len(self._waiting)
        return waits[0] if count == 1 else {"type": "several", "count": count, "first": waits}

    def deliver(self, messages: Iterable[Message]) -> None:
        """Take in messages that are not known yet."""
        for message in messages:
            if message.id not in self._seen:
                self._seen.add(message.id)
                child = str(message.child_id) if message.child_id else None
                heappush(self._box((message.topic, child)).messages, (message.id, message))
                self._arrival.set()

    def matches(self) -> list[tuple[StepWait, Message]]:
        """Give messages to the steps that wait for them, the oldest first; each of these waits is over."""
        pairs = [pair for address in self._changed for pair in self._matches_at(address)]
        self._changed.clear()
        return sorted(pairs, key=lambda pair: pair[1].id)

    def take_unwanted(self) -> list[int]:
        """The messages about children that no step waits for."""
        unwanted, self._unwanted = self._unwanted, []
        return unwanted

    def time_out(self, key: str) -> None:
        """A wait has lasted as long as it may."""
        self.drop(key)
        self._received[key] = Received(timed_out=True), None

    def received(self, key: str) -> Received | None:
        """What a step got that had waited."""
        got = self._received.get(key)
        return got and got[0]

    def taken(self, key: str) -> int | None:
        """The message that led to the outcome of a step; asked when the outcome is recorded."""
        got = self._received.pop(key, None)
        return got and got[1]

    def _box(self, address: Address) -> Box:
        """What belongs to an address, of which something changes now."""
        self._changed[address] = None
        return self._boxes.setdefault(address, Box())

    def _matches_at(self, address: Address) -> list[tuple[StepWait, Message]]:
        box, pairs = self._boxes[address], []
        while box.messages and box.waiting:
            key, wait = next(iter(box.waiting.items()))
            _, message = heappop(box.messages)
            del box.waiting[key], self._waiting[key]
            self._received[key] = _received(message), message.id
            pairs.append((wait, message))
        if address[0] == CHILD_TOPIC and box.messages:
            self._unwanted += [number for number, _ in box.messages]
            box.messages.clear()
        if not (box.messages or box.waiting):
            del self._boxes[address]
        return pairs


def _received(message: Message) -> Received:
    if message.status is None or message.status is RunStatus.COMPLETED:
        return Received(decode(message.value))
    error = message.error or {"code": str(message.status), "message": f"The run was {message.status}."}
    return Received(decode(message.value), error=error)
