"""Hold: workers keep their leases by saying so, many workers in one statement; and give them back unused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from melagent.engine.batch import Batcher
from melagent.engine.lifecycle.persist import persistently
from melagent.store import work

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.store.pool import Connection, Pool

GIVE_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Extended:
    """The leases that could not be kept (taken back, ended or cancelled), and those among them of cancelled runs.

    Of those that were kept: whose run is to be paused, and whose run has messages that it has not taken in.
    """

    lost: frozenset[UUID] = frozenset()
    cancelled: frozenset[UUID] = frozenset()
    paused: frozenset[UUID] = frozenset()
    mail: frozenset[UUID] = frozenset()


class Holder:
    """Extends leases in batches."""

    def __init__(self, pool: Pool, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        numbers = count()
        self._batcher: Batcher[Mapping[UUID, UUID], Extended] = Batcher(
            self._write, lanes=1, size_of=lambda leases: 32 * len(leases), key_of=lambda _: next(numbers)
        )

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        """Keep leases, given by run, for another lease time. Unavailable when the database stays away that long."""
        return await self._batcher.submit(leases) if leases else Extended()

    async def drain(self) -> None:
        await self._batcher.drain()

    async def _write(self, batch: Sequence[Mapping[UUID, UUID]]) -> list[Extended]:
        run_ids = [run_id for leases in batch for run_id in leases]
        tokens = [lease for leases in batch for lease in leases.values()]

        async def operation(conn: Connection) -> Extended:
            kept = await work.extend(conn, run_ids, tokens, self._lease_seconds)
            lost = {run_id: lease for run_id, lease in zip(run_ids, tokens, strict=True) if lease not in kept}
            cancelled = await work.cancelled(conn, list(lost)) if lost else set()
            paused, mail = await work.nudged(conn, run_ids, tokens)
            dropped = frozenset(lease for run_id, lease in lost.items() if run_id in cancelled)
            return Extended(frozenset(lost.values()), dropped, frozenset(paused), frozenset(mail))

        all_of_them = await persistently(self._pool, operation, seconds=self._lease_seconds)
        return [_part(all_of_them, frozenset(leases.values())) for leases in batch]


def _part(whole: Extended, leases: frozenset[UUID]) -> Extended:
    return Extended(whole.lost & leases, whole.cancelled & leases, whole.paused & leases, whole.mail & leases)


async def give_back(pool: Pool, leases: Mapping[UUID, UUID]) -> int:
    """Free runs that nobody has begun under these leases. May be repeated: a lease that is gone stays gone."""
    return await persistently(
        pool, lambda conn: work.give_back(conn, list(leases.keys()), list(leases.values())), seconds=GIVE_UP_SECONDS
    )


async def release_workers(
    pool: Pool, granted_before: Mapping[str, datetime | None], kept: Collection[UUID] = ()
) -> int:
    """Free runs that workers have let go: all but those under `kept` leases, or granted since the worker's moment."""
    return await persistently(
        pool, lambda conn: work.release_workers(conn, granted_before, kept), seconds=GIVE_UP_SECONDS
    )
