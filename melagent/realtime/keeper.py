"""What a room, in which nothing waits, leaves to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from melagent.domain.draft_state import Refused
    from melagent.realtime.edits import Waiting
    from melagent.realtime.room import Room


class Keeper(Protocol):
    """Whoever does for a room what takes time."""

    def ready(self, room: Room) -> None:
        """Edits can be committed."""

    def behind(self, room: Room) -> None:
        """Edits are missing here."""

    def deleted(self, room: Room) -> None:
        """The workflow is gone."""

    def missing(self, room: Room, edit: Waiting, refused: Refused, seq: int) -> None:
        """Refuse an edit about something of which the room does not know whether it was ever there."""
