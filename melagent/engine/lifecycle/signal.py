"""Signal: a message is left for a live run. It wakes the run if it waits for that, and is kept for it if not yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.domain.work import Message, signal_topic
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Conflict, NotFound
from melagent.store import inbox, runs

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0
MAX_MESSAGES = 10_000
"""Taken in by a run at once; the others follow when these have led to something."""


async def send(pool: Pool, run_id: UUID, name: str, value: bytes) -> None:
    """Leave a signal; wake the run afterwards. NotFound; Conflict when the run has ended.

    When the answer is lost on the way the signal may be left twice: a caller for whom that matters sends a key along.
    """

    async def operation(conn: Connection) -> bool | None:
        if await inbox.send(conn, run_id, signal_topic(name), value):
            return True
        return None if await runs.find(conn, run_id) is None else False

    async with pool.acquire() as conn:
        sent = await operation(conn)
    if sent is None:
        raise NotFound(f"There is no run {run_id}.")
    if not sent:
        raise Conflict("The run has ended.")


async def unread(pool: Pool, run_id: UUID) -> tuple[Message, ...]:
    """The messages that a run has not taken in, the oldest first."""
    return await persistently(pool, lambda conn: inbox.unread(conn, run_id, MAX_MESSAGES), seconds=GIVE_UP_SECONDS)
