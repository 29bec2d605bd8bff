"""One worker that waits at an instance for work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from melagent.domain import requirement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from melagent.domain.work import WorkItem


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: `offered` is what the worker has, a `bound` one takes only runs that require something."""

    worker_id: str
    offered: frozenset[str] = frozenset()
    bound: bool = False


def _always() -> bool:
    return True


@dataclass(slots=True, eq=False)
class Ask:
    """The `Slots` of a worker's free places, until it is closed or all of them are filled.

    Nothing is granted to an ask whose client has gone: `alive` tells. One that asks `once` takes what is granted first.
    """

    asker: Asker
    free: int
    alive: Callable[[], bool] = _always
    once: bool = False
    asked_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    reserved: int = 0
    closed: bool = False
    considered: bool = False
    granted: list[WorkItem] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def worker_id(self) -> str:
        return self.asker.worker_id

    @property
    def over(self) -> bool:
        """Whether nothing more will be granted. Reserved places may still bring something."""
        return not self.reserved and (self.closed or not self.free)

    @property
    def share(self) -> int:
        """How many free places a claim may take.

        Half, of an ask that lasts. Were it all, no run could start in one while the claim is under way: it would be
        queued, the queue would need another claim, and so on as long as the load lasts.
        """
        return self.free if self.once else (self.free + 1) // 2

    def meets(self, required: str) -> bool:
        return requirement.meets(self.asker.offered, required, bound=self.asker.bound)

    def met_of(self, requirements: Iterable[str]) -> set[str]:
        return requirement.met(self.asker.offered, requirements, bound=self.asker.bound)

    def reserve(self, wanted: int) -> int:
        count = min(wanted, self.free) if not self.closed and self.alive() else 0
        self.free -= count
        self.reserved += count
        return count

    def release(self, count: int) -> None:
        self.free += count
        self.reserved -= count
        self._changed.set()

    def run(self, items: Sequence[WorkItem], held_from: float) -> None:
        for item in items:
            item.granted_after = max(0.0, held_from - self.asked_at)
        self.granted += items
        self.reserved -= len(items)
        self._changed.set()

    def close(self) -> None:
        """Take nothing more; it is over as soon as what is under way has come, which takes milliseconds."""
        self.closed = True
        self._changed.set()

    async def some(self, seconds: float) -> bool:
        """Wait until something has been granted. False when it is over before, or nothing is in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.granted and not self.over:
                    await self._change()
        return bool(self.granted)

    async def rest(self) -> None:
        """Wait until it is over."""
        while not self.over:
            await self._change()

    def take(self) -> list[WorkItem]:
        """What has been granted since the last time; from now on it is the caller's to give back."""
        items, self.granted = self.granted, []
        return items

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
