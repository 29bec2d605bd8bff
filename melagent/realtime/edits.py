"""Edits on their way: waiting, being committed, committed; and the newest ones, kept for those who come back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from melagent.domain.draft_state import Author, Refused
from melagent.domain.edit_frames import edit_frame
from melagent.errors import Code
from melagent.store.edits import NewEdit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from melagent.domain.operations import Applied
    from melagent.store.rows import Edit

MAX_LOG = 500
MAX_LOG_BYTES = 2 * 1024 * 1024
"""Of the newest edits, kept for those who come back after a moment."""


class Sender(Protocol):
    """Who is told what becomes of an edit: a peer here, or one of another instance."""

    @property
    def author(self) -> Author: ...

    @property
    def may_edit(self) -> bool: ...

    def send(self, payload: bytes) -> None: ...

    def refuse(self, edit_id: int, seq: int, refused: Refused) -> None: ...


@dataclass(slots=True)
class Waiting:
    """An edit that waits to be committed. `unknown`: it may be committed already, the answer was lost."""

    peer: Sender
    client: str
    id: int
    ops: list[Any]
    since: float
    unknown: bool = False
    handed_at: float = float("-inf")
    """When it was last given to another instance to commit."""


@dataclass(slots=True)
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


@dataclass(slots=True)
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


class Logged(NamedTuple):
    """An edit that was committed, with the name that its author gave it."""

    seq: int
    frame: bytes
    client: str
    id: int


@dataclass(slots=True)
class Client:
    """What is known of a client that has peers or edits here: the last id that it committed, how many peers it has, and
    the last id that another instance handed over for it.
    """

    last_id: int = 0
    peers: int = 0
    taken: int = 0


class Clients(dict[str, Client]):
    """Those of a room, by their text. `some_left`: there may be some without a peer here."""

    some_left = False

    def track(self, client: str) -> None:
        self.setdefault(client, Client()).peers += 1

    def untrack(self, client: str) -> None:
        self[client].peers -= 1
        self.some_left = True

    def afar(self, client: str) -> Client:
        """A client that may have no peer here."""
        self.some_left = True
        return self.setdefault(client, Client())

    def committed(self, client: str, edit_id: int) -> None:
        if (known := self.get(client)) is not None:
            known.last_id = max(known.last_id, edit_id)

    def last_id(self, client: str) -> int:
        known = self.get(client)
        return known.last_id if known is not None else 0

    def forget(self, busy: Iterable[str]) -> None:
        """Forget those without a peer here, but for the `busy` ones, of which edits are under way."""
        left = {client for client, known in self.items() if known.peers <= 0}
        kept = left.intersection(busy)
        for client in left - kept:
            del self[client]
        self.some_left = bool(kept)


@dataclass(slots=True)
class Log:
    """The newest edits in a row."""

    entries: deque[Logged] = field(default_factory=deque)
    size: int = 0

    def append(self, seq: int, frame: bytes, client: str, edit_id: int) -> None:
        self.entries.append(Logged(seq, frame, client, edit_id))
        self.size += len(frame)
        while self.size > MAX_LOG_BYTES or len(self.entries) > MAX_LOG:
            self.size -= len(self.entries.popleft().frame)

    def after(self, seq: int, now: int) -> list[bytes] | None:
        """The frames of all edits after `seq` up to `now`; null when some of them are not here any more."""
        if seq == now:
            return []
        if not self._reaches(seq, now):
            return None
        return [logged.frame for logged in self.entries if logged.seq > seq]

    def last_id(self, client: str, seq: int, now: int) -> int | None:
        """The last edit of a client after `seq` up to `now`, 0 for none; null when some are not here any more."""
        if seq >= now:
            return 0
        if not self._reaches(seq, now):
            return None
        newest = takewhile(lambda logged: logged.seq > seq, reversed(self.entries))
        return max((logged.id for logged in newest if logged.client == client), default=0)

    def _reaches(self, seq: int, now: int) -> bool:
        first = self.entries[0].seq if self.entries else now + 1
        return first <= seq + 1

    def clear(self) -> None:
        self.entries.clear()
        self.size = 0


def forbidden() -> Refused:
    """Why somebody who may look at a workflow cannot edit it."""
    return Refused(Code.FORBIDDEN, "You may look at this workflow; editing it needs the role editor.")


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
