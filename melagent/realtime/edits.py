"""Edits on their way: waiting, being committed, committed; and the newest ones, kept for those who come back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.draft_state import Author
from melagent.domain.edit_frames import edit_frame
from melagent.store.edits import NewEdit

if TYPE_CHECKING:
    from melagent.domain.operations import Applied
    from melagent.realtime.peer import Peer
    from melagent.store.rows import Edit

MAX_LOG = 500
MAX_LOG_BYTES = 2 * 1024 * 1024
"""Of the newest edits, kept for those who come back after a moment."""


@dataclass(slots=True)
class Waiting:
    """An edit that waits to be committed. `unknown`: it may be committed already, the answer was lost."""

    peer: Peer
    client: str
    id: int
    ops: list[Any]
    since: float
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """An edit that was applied to the draft in memory and is being committed."""

    edit: Waiting
    by: Author
    applied: Applied

    def new(self) -> NewEdit:
        """What is to be stored."""
        return NewEdit(
            client=self.edit.client,
            client_edit_id=self.edit.id,
            by_id=self.by.id,
            by_name=self.by.name,
            ops=self.applied.ops_text,
            inverse=self.applied.inverse_text,
        )

    def frame(self, seq: int, at: datetime) -> bytes:
        """What all are told when it is stored."""
        return edit_frame(
            seq=seq, by=self.by, client=self.edit.client, client_edit_id=self.edit.id, at=at, ops=self.applied.ops_text
        )


@dataclass(frozen=True, slots=True)
class Committed:
    """An edit as others see it. `frame` is what peers get."""

    seq: int
    by: Author
    client: str
    id: int
    at: datetime
    ops: list[Any]
    frame: bytes

    @classmethod
    def of(cls, frame: bytes) -> Committed:
        told = orjson.loads(frame)
        by, at = Author(told["by"]["id"], told["by"]["name"]), datetime.fromisoformat(told["at"])
        return cls(told["seq"], by, told["client"], told["id"], at, told["ops"], frame)

    @classmethod
    def stored(cls, edit: Edit) -> Committed:
        by = Author(edit.by_id, edit.by_name)
        return cls(edit.seq, by, edit.client, edit.client_edit_id, edit.at, orjson.loads(edit.ops), frame_of(edit))


@dataclass(slots=True)
class Client:
    """What is known of a client that has peers here: the last id that it committed, and how many peers it has."""

    last_id: int = 0
    peers: int = 0


@dataclass(slots=True)
class Log:
    """The newest edits in a row, as frames."""

    entries: deque[tuple[int, bytes]] = field(default_factory=deque)
    size: int = 0

    def append(self, seq: int, frame: bytes) -> None:
        self.entries.append((seq, frame))
        self.size += len(frame)
        while self.size > MAX_LOG_BYTES or len(self.entries) > MAX_LOG:
            self.size -= len(self.entries.popleft()[1])

    def after(self, seq: int, now: int) -> list[bytes] | None:
        """All edits after `seq` up to `now`; null when some of them are not here any more."""
        if seq == now:
            return []
        first = self.entries[0][0] if self.entries else now + 1
        return [frame for number, frame in self.entries if number > seq] if first <= seq + 1 else None

    def clear(self) -> None:
        self.entries.clear()
        self.size = 0


def frame_of(edit: Edit) -> bytes:
    """The frame of a stored edit: the same that was sent when it was committed."""
    return edit_frame(
        seq=edit.seq,
        by=Author(edit.by_id, edit.by_name),
        client=edit.client,
        client_edit_id=edit.client_edit_id,
        at=edit.at,
        ops=edit.ops,
    )
