"""Which instance commits for all, while several are busy in the same room.

Any instance may commit at any time, and its statement takes effect only if the draft is still where the room is. An
edit whose statement was in vain is committed a moment later. Where two are busy at once, many are in vain; an edit that
is handed to another instance takes two more letters. So an instance that loses more than a sixth of its races names a
**committer**, and the others hand their edits to that one for some seconds (`handing`). Of those that are named, the
one counts that ranks first for this room; so all come to the same, and another one for each room. It is a hint like
every letter, and no leader: any instance still may commit, and whoever believes what, the statement protects the draft.
"""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from melagent.broker import Broker

COMMITTER = b"l"
"""Begins a letter of a room: the name of the instance that commits for all."""

PERIOD_SECONDS: Final = 2.0
"""From a lost race on races are counted for so long."""

LEAST_LOST: Final = 4
MOST_WON: Final = 5
"""So many have to be lost, and at most so many times as many won, before that is more than chance and costs more than
handing over. With two instances and a hundred rooms of 20 edits a second, 4 in a hundred races were lost, and all was
faster without a committer; with 35 a second 18 were.
"""

TERM_SECONDS: Final = 5.0
"""So long a committer is one without being named again."""

TERM_EDITS: Final = 75
"""A committer that was handed fewer since it was named does not name itself again: races are rare then."""


class Committer:
    """Which instance commits for the room of a topic, as this one sees it; `name` is null when none does."""

    def __init__(self, instance: str, broker: Broker, topic: str) -> None:
        self.name: str | None = None
        self._instance = instance
        self._broker = broker
        self._topic = topic
        self._until = 0.0
        self._beaten_at = float("-inf")
        self._counted_from = float("-inf")
        self._won = 0
        self._lost = 0
        self._taken = 0

    @property
    def is_elsewhere(self) -> bool:
        """Whether edits are to be handed to another instance now, and can be."""
        elsewhere = self.name is not None and self.name != self._instance
        return elsewhere and self._is_known and self._broker.health == "healthy"

    @property
    def _is_known(self) -> bool:
        return self._until > time.monotonic()

    def won(self) -> None:
        """The room has committed."""
        self._won += 1

    def beaten(self) -> None:
        """The room lost a race."""
        self._beaten_at = now = time.monotonic()
        if now - self._counted_from > PERIOD_SECONDS:
            self._counted_from, self._won, self._lost = now, 0, 0
        self._lost += 1
        if self._lost >= LEAST_LOST and self._won <= MOST_WON * self._lost and not self._is_known:
            self._name_ourselves()

    def heard(self, committer: str) -> None:
        """An instance has named itself. We do so in its place if we rank before it and are losing races as well."""
        known = self.name if self._is_known else None
        if known is not None and self._rank(known) < self._rank(committer):
            return
        loses = time.monotonic() - self._beaten_at < TERM_SECONDS
        if loses and self._rank(self._instance) < self._rank(committer):
            self._name_ourselves()
        else:
            self._follow(committer)

    def took(self, count: int) -> None:
        """So many edits were handed to us: as long as there are many, we name ourselves again in time."""
        self._taken += count
        if self._taken >= TERM_EDITS and self._until - time.monotonic() < TERM_SECONDS / 2:
            self._name_ourselves()

    def forget(self) -> None:
        """There is no committer, or not one that is heard of."""
        self.name, self._until = None, 0.0

    def _name_ourselves(self) -> None:
        self._follow(self._instance)
        self._broker.send(self._topic, COMMITTER + self._instance.encode())

    def _follow(self, committer: str) -> None:
        self.name, self._until, self._taken = committer, time.monotonic() + TERM_SECONDS, 0

    def _rank(self, instance: str) -> tuple[int, str]:
        return zlib.crc32(f"{self._topic} {instance}".encode()), instance
