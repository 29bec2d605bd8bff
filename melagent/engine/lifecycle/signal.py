"""Signal: a message is left for a live run. It wakes the run if it waits for that, and is kept for it if not yet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from melagent.domain.work import Message, signal_topic
from melagent.engine.lifecycle.persist import persistently
from melagent.errors import Conflict, NotFound
from melagent.store import inbox, runs
from melagent.store.inbox import Once

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0
KEPT_SECONDS = 24 * 3600.0
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


async def send_once(pool: Pool, run_id: UUID, name: str, value: bytes, *, scope: str, key: str) -> bool:
    """Leave a signal under a key, which is kept for a day at least; false when that was done before.

    Wake the run afterwards. NotFound; Conflict when the run has ended.
    """
    once = Once(scope, key, by=uuid4().bytes, seconds=KEPT_SECONDS)

    async def operation(conn: Connection) -> bool | None:
        by = await inbox.send_once(conn, run_id, signal_topic(name), value, once)
        return None if by is None else by == once.by

    sent = await persistently(pool, operation, seconds=GIVE_UP_SECONDS)
    if sent is None:
        async with pool.acquire() as conn:
            known = await runs.find(conn, run_id)
        raise NotFound(f"There is no run {run_id}.") if known is None else Conflict("The run has ended.")
    return sent


async def was_sent(pool: Pool, scope: str, key: str) -> bool:
    """Whether a signal was left under a key."""
    return await persistently(pool, lambda conn: inbox.used_by(conn, scope, key), seconds=GIVE_UP_SECONDS) is not None


async def unread(pool: Pool, run_id: UUID) -> tuple[Message, ...]:
    """The messages that a run has not taken in, the oldest first."""
    return await persistently(pool, lambda conn: inbox.unread(conn, run_id, MAX_MESSAGES), seconds=GIVE_UP_SECONDS)
