"""Makes ids: UUIDv7 from the clock and the system's random source, so that ids of one process sort by time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.domain.ids import uuid7

if TYPE_CHECKING:
    from datetime import datetime

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)


def new_id() -> UUID:
    """A new id; ids made within the same millisecond have no order."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def new_id_at(moment: datetime) -> UUID:
    """A new id as one is made at this moment, whatever the clock of this machine says."""
    return uuid7(int(moment.timestamp() * 1000), os.urandom(10))


def first_id_at(moment: datetime) -> UUID:
    """The smallest id that can be made at `moment` or later: turns a range of time into a range of ids."""
    unix_ms = max(0, int(moment.timestamp() * 1000))
    return UUID(int=unix_ms << 80)
