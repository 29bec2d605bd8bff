"""Which instance commits for all, while several are busy in the same room.

Any instance may commit at any time, and its statement takes effect only if the draft is still where the room is. Where
two are busy at once, most of these statements would be in vain. So whoever is beaten twice within a second names a
**leader**, and the others hand their edits to that one for some seconds (`handing`). Of those that are named, the one
counts that ranks first for this room; so all come to the same, and another one for each room. It is a hint like every
letter: whoever believes what, the statement protects the draft.
"""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from melagent.broker import Broker

LEADER = b"l"
"""Begins a letter of a room: the name of the instance that leads."""

AGAIN_SECONDS: Final = 1.0
"""Two races lost within this time are not chance."""

LEAD_SECONDS: Final = 5.0
"""So long a leader is one without being named again."""

LEAD_EDITS: Final = 25
"""A leader that was handed fewer since it was named does not name itself again: races are rare then."""


class Lead:
    """Who leads the room of a topic, as this instance sees it."""

    def __init__(self, instance: str, broker: Broker, topic: str) -> None:
        self.leader: str | None = None
        self._instance = instance
        self._broker = broker
        self._topic = topic
        self._until = 0.0
        self._beaten_at = float("-inf")
        self._taken = 0

    @property
    def is_elsewhere(self) -> bool:
        """Whether edits are to be handed to another instance now, and can be."""
        elsewhere = self.leader is not None and self.leader != self._instance
        return elsewhere and self._is_known and self._broker.health == "healthy"

    @property
    def _is_known(self) -> bool:
        return self._until > time.monotonic()

    def beaten(self) -> None:
        """The room lost a race."""
        now = time.monotonic()
        if now - self._beaten_at < AGAIN_SECONDS and not self._is_known:
            self._lead()
        self._beaten_at = now

    def heard(self, leader: str) -> None:
        """An instance has named itself. We do so in its place if we rank before it and are losing races as well."""
        known = self.leader if self._is_known else None
        if known is not None and self._rank(known) < self._rank(leader):
            return
        loses = time.monotonic() - self._beaten_at < LEAD_SECONDS
        if loses and self._rank(self._instance) < self._rank(leader):
            self._lead()
        else:
            self._follow(leader)

    def took(self, count: int) -> None:
        """So many edits were handed to us: as long as there are many, we name ourselves again in time."""
        self._taken += count
        if self._taken >= LEAD_EDITS and self._until - time.monotonic() < LEAD_SECONDS / 2:
            self._lead()

    def forget(self) -> None:
        """There is no leader, or not one that is heard of."""
        self.leader, self._until = None, 0.0

    def _lead(self) -> None:
        self._follow(self._instance)
        self._broker.send(self._topic, LEADER + self._instance.encode())

    def _follow(self, leader: str) -> None:
        self.leader, self._until, self._taken = leader, time.monotonic() + LEAD_SECONDS, 0

    def _rank(self, instance: str) -> tuple[int, str]:
        return zlib.crc32(f"{self._topic} {instance}".encode()), instance
