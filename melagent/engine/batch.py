"""Group commit: calls that arrive while a write is under way are gathered into the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS = 200
MAX_BYTES = 8 * 1024 * 1024


class Batcher(Generic[T, R]):
    """Turns many `submit` calls into few calls of `write`, which answers one result for each item, in order.

    At most `lanes` writes are under way at once. A write takes up to 200 items and about `max_bytes`; a larger item
    goes alone, and no two items of a write have the same key. When `write` raises, every item of that batch gets the
    error.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        lanes: int,
        size_of: Callable[[T], int],
        key_of: Callable[[T], Hashable],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._write = write
        self._lanes = lanes
        self._size_of = size_of
        self._key_of = key_of
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    def submit(self, item: T) -> asyncio.Future[R]:
        """Queue an item. The write goes on even when the caller stops waiting."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        # A lane that has ended stays in the set a moment longer than those it answered need to submit again.
        if sum(not lane.done() for lane in self._running) < self._lanes:
            task = asyncio.create_task(self._lane())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return future

    async def drain(self) -> None:
        """Wait until everything submitted has been written."""
        while self._running:
            await asyncio.wait(self._running)

    async def _lane(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            try:
                results = await self._write([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  # every caller of the batch is told, none is left waiting
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    def _next_batch(self) -> list[tuple[T, asyncio.Future[R]]]:
        batch = [self._waiting.popleft()]
        size = self._size_of(batch[0][0])
        keys = {self._key_of(batch[0][0])}
        while self._waiting and len(batch) < MAX_ITEMS:
            item, _ = self._waiting[0]
            size += self._size_of(item)
            if size > self._max_bytes or self._key_of(item) in keys:
                break
            keys.add(self._key_of(item))
            batch.append(self._waiting.popleft())
        return batch
