"""Where seats are kept for all instances: in PostgreSQL, or in Redis where there is one (`redis_seats`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from melagent.store import seats
from melagent.store.pool import MAY_PASS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.seats import Seat
    from melagent.store.pool import Pool

Counts = list[tuple[str, int, int]]
"""Each instance, its seats, and the rooms that they are in."""


class SeatStore(Protocol):
    """Every method raises one of `AWAY` when the store cannot be reached."""

    AWAY: tuple[type[BaseException], ...]

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def touch(self, instance: str) -> bool:
        """Say that an instance is there. False when the store does not know it, and none of its seats either."""

    async def register(self, instance: str) -> None:
        """Make an instance known."""

    async def put(self, instance: str, given: Sequence[Seat]) -> dict[str, datetime] | None:
        """Write seats; when they were taken, by owner, of those that nobody took later. Null: unknown instance."""

    async def remove(self, left: Sequence[Seat]) -> None:
        """Take away seats that their owners still hold."""

    async def leave(self, instance: str) -> None:
        """Take away an instance and all its seats."""

    async def sweep(self, seconds: float) -> list[Seat]:
        """Take away instances that were not touched for so long, by the clock of the store, and answer their seats."""

    async def of_rooms(self, workflow_ids: Collection[UUID]) -> list[Seat]: ...

    async def page(self, after: tuple[UUID, str], limit: int) -> list[Seat]:
        """Seats in the order of workflow and peer."""

    async def count(self) -> Counts: ...


class PostgresSeats:
    """Seats in tables that are not logged: a crash of the server empties them."""

    AWAY = MAY_PASS

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def touch(self, instance: str) -> bool:
        async with self._pool.acquire() as conn:
            return await seats.touch_hub(conn, instance)

    async def register(self, instance: str) -> None:
        async with self._pool.acquire() as conn:
            await seats.insert_hub(conn, instance)

    async def put(self, instance: str, given: Sequence[Seat]) -> dict[str, datetime] | None:
        async with self._pool.acquire() as conn:
            return await seats.put(conn, instance, given)

    async def remove(self, left: Sequence[Seat]) -> None:
        async with self._pool.acquire() as conn:
            await seats.delete(conn, left)

    async def leave(self, instance: str) -> None:
        async with self._pool.acquire() as conn:
            await seats.delete_hub(conn, instance)

    async def sweep(self, seconds: float) -> list[Seat]:
        async with self._pool.acquire() as conn:
            return await seats.sweep(conn, seconds)

    async def of_rooms(self, workflow_ids: Collection[UUID]) -> list[Seat]:
        async with self._pool.acquire() as conn:
            return await seats.of_rooms(conn, workflow_ids)

    async def page(self, after: tuple[UUID, str], limit: int) -> list[Seat]:
        async with self._pool.acquire() as conn:
            return await seats.page(conn, after, limit)

    async def count(self) -> Counts:
        async with self._pool.acquire() as conn:
            return await seats.count(conn)
