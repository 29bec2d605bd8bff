"""The nodes of one run that run as tasks of their own: several branches, or beside a timer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterator

    from melagent.engine.attempt import Ended
    from melagent.engine.planner import Place, Plan


class Running:
    """Tasks by the places that they run. `stir` is set whenever one has ended."""

    def __init__(self, stir: asyncio.Event) -> None:
        self._stir = stir
        self._places: dict[asyncio.Task[Ended], Place] = {}
        self._ended: deque[asyncio.Task[Ended]] = deque()

    def __bool__(self) -> bool:
        """Whether there is one whose outcome has not been taken."""
        return bool(self._places)

    def add(self, outcome: Coroutine[Any, Any, Ended], place: Place) -> None:
        task = asyncio.create_task(outcome)
        task.add_done_callback(self._note_end)
        self._places[task] = place

    def take_ended(self) -> Iterator[tuple[Place, asyncio.Task[Ended]]]:
        """Those that have ended by themselves, in the order of their ends, each once."""
        while self._ended:
            task = self._ended.popleft()
            if (place := self._places.pop(task, None)) is not None:
                yield place, task

    async def stop(self, plans: Collection[Plan] | None = None) -> None:
        """Stop all of them, or those of some plans. Returns when they have ended; their outcomes are lost."""
        tasks = [task for task, place in self._places.items() if plans is None or place.plan in plans]
        for task in tasks:
            del self._places[task]
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[Ended]) -> None:
        self._ended.append(task)
        self._stir.set()
