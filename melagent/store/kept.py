"""A connection of the pool that stays at hand for a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from melagent.store.pool import Connection, Pool

KEPT_SECONDS = 1.0


class Kept:
    """A connection for one task that needs one again and again: `async with kept as connection`.

    Lending and giving back costs as much as a short statement. So it is given back a second after it was lent, or when
    something went wrong with it, and not after each use. Close it before the pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: Connection | None = None
        self._in_use = False
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._returning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Connection:
        if self._connection is not None and _is_lost(self._connection):  # while nobody used it
            await self._give_back()
        if self._connection is None:
            self._connection = await self._pool.acquire()
            self._is_due = False
            self._timer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._time_is_up)
        self._in_use = True
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._in_use = False
        if error is not None or self._is_due:
            await self._give_back()

    async def close(self) -> None:
        """Give the connection back; nobody uses it any more."""
        await self._give_back()
        if self._returning is not None:
            await self._returning

    def _time_is_up(self) -> None:
        self._is_due = True
        if not self._in_use:
            self._returning = asyncio.create_task(self._give_back())

    async def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._timer is not None:
            self._timer.cancel()
            await self._pool.release(connection)


def _is_lost(connection: Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has noticed and taken it back
        return True
