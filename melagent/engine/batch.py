"""Group commit: calls that arrive while a write is under way are gathered into the next one."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS = 200
MAX_BYTES = 8 * 1024 * 1024


PATIENCE_SECONDS = 0.05
"""A write of the database takes less, as long as its disk and its processor are not the limit."""


@dataclass(slots=True)
class Waiting(Generic[T, R]):
    """An item, whoever waits for its result, and since when by the clock of the event loop."""

    item: T
    future: asyncio.Future[R]
    since: float


class Batcher(Generic[T, R]):
    """Turns many `submit` calls into few calls of `write`, which answers one result for each item, in order.

    The fuller a write, the cheaper its items: so one is under way at a time. Only when it takes so long that an item
    has waited for `patience` seconds, or that so many wait as are `enough` for a write, another begins beside it, and
    there are at most `lanes` at once. A write takes up to 200 items and about `max_bytes`; a larger item goes alone,
    and no two items of a write have the same key. When `write` raises, every item of that batch gets the error.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        lanes: int,
        size_of: Callable[[T], int],
        key_of: Callable[[T], Hashable],
        max_bytes: int = MAX_BYTES,
        patience: float = PATIENCE_SECONDS,
        enough: float = math.inf,
    ) -> None:
        self._write = write
        self._lanes = lanes
        self._size_of = size_of
        self._key_of = key_of
        self._max_bytes = max_bytes
        self._patience = patience
        self._enough = enough
        self._waiting: deque[Waiting[T, R]] = deque()
        self._writing: set[asyncio.Task[None]] = set()
        self._hurry: asyncio.TimerHandle | None = None

    def submit(self, item: T) -> asyncio.Future[R]:
        """Queue an item. The write goes on even when the caller stops waiting."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append(Waiting(item, future, loop.time()))
        self._tend()
        return future

    async def drain(self) -> None:
        """Wait until everything submitted has been written."""
        while self._writing:
            await asyncio.wait(self._writing)

    def _tend(self) -> None:
        """Begin the next write, or look again when the oldest item has waited long enough for one beside another."""
        if not self._waiting or len(self._writing) >= self._lanes:
            return
        loop, due = asyncio.get_running_loop(), self._waiting[0].since + self._patience
        if not self._writing or len(self._waiting) >= self._enough or loop.time() >= due:
            writing = asyncio.create_task(self._write_next())
            self._writing.add(writing)
            writing.add_done_callback(self._ended)
        elif self._hurry is None:
            self._hurry = loop.call_at(due, self._look_again)

    def _ended(self, writing: asyncio.Task[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():  # only a process that ends cancels writes; it begins no more
            self._tend()

    def _look_again(self) -> None:
        self._hurry = None
        self._tend()

    async def _write_next(self) -> None:
        if not (batch := self._next_batch()):
            return  # two writes began at once, and the other one took it all
        self._tend()
        try:
            results = await self._write([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001  # every caller of the batch is told, none is left waiting
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)

    def _next_batch(self) -> list[Waiting[T, R]]:
        batch: list[Waiting[T, R]] = []
        size, keys = 0, set()
        while self._waiting and len(batch) < MAX_ITEMS:
            item = self._waiting[0].item
            size, key = size + self._size_of(item), self._key_of(item)
            if batch and (size > self._max_bytes or key in keys):
                break
            keys.add(key)
            batch.append(self._waiting.popleft())
        return batch
