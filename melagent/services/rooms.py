"""How the rest of the program tells open rooms what has happened: on this instance at once, on the others as a hint.

None of these calls waits or fails, and none needs a room to be open anywhere. Rooms read what they missed from the
table; access is checked every few seconds in any case; the other news are only told to whoever is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.broker import Broker

ACCESS = "access"
"""Topic that every instance follows: somebody may have lost a right."""

HEAD = b"h"
"""Begins a letter to a room: its draft has reached this `seq`; what is missing is to be read."""

FRAME = b"f"
"""Begins a letter to a room: a frame for all peers as it is."""

DELETED = b"d"
"""A letter to a room: its workflow was deleted."""


def topic_of(workflow_id: UUID) -> str:
    return f"{workflow_id}"


def edited(broker: Broker, workflow_id: UUID, seq: int) -> None:
    """An edit was committed that did not come through a room."""
    broker.send(topic_of(workflow_id), HEAD + b"%d" % seq, here=True)


def deleted(broker: Broker, workflow_id: UUID) -> None:
    """The workflow is gone: its rooms close."""
    broker.send(topic_of(workflow_id), DELETED, here=True)


def happened(broker: Broker, workflow_id: UUID, frame: dict[str, Any]) -> None:
    """Show a frame to all peers of a workflow."""
    broker.send(topic_of(workflow_id), FRAME + orjson.dumps(frame, default=str), here=True)


def access_changed(broker: Broker) -> None:
    """A session ended, a key was revoked, a user has another role or is gone: open sockets are checked at once."""
    broker.announce(ACCESS, "changed")
