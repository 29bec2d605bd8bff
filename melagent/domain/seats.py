"""Who is in a room: a seat for each client, which the newest socket of that client holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

COLORS = (
    "#bf3f0d", "#c92a2a", "#c2255c", "#9c36b5", "#6741d9", "#3b5bdb", "#1971c2", "#0b7285", "#087f5b", "#237032",
    "#5f6b0e", "#8f4a10",
)  # fmt: skip
"""Dark enough for white text on them: a contrast of at least 4.5, as WCAG 2.2 asks for (1.4.3)."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in a room. `owner` names the socket that holds it, `instance` where that socket is.

    `joined_at` is when the socket took the seat, by the clock of the store; null until it was written there.
    """

    workflow_id: UUID
    peer: str
    owner: str
    instance: str
    person_id: str
    name: str
    color: str
    joined_at: datetime | None = None


def peer_of(person_id: str, client: str) -> str:
    """What a client of somebody is called in a room: the same after it has come back, and nobody else's."""
    return hashlib.sha256(f"{person_id}\n{client}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def color_of(person_id: str) -> str:
    """The colour of a person, the same on all instances and in all rooms."""
    return COLORS[hashlib.sha256(person_id.encode()).digest()[0] % len(COLORS)]
