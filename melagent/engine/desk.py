"""The desk: where workers ask an instance for work, many of them answered by one statement.

An ask gets runs that start on this instance (the lease is part of the start), and runs that are claimed. Claims are
made when somebody asks and free runs are known of: from hints, and from one look a second at what free runs require. So
a thousand idle workers cost one small statement a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from melagent.domain import requirement
from melagent.domain.requirement import ANY_WORKER
from melagent.engine.ask import Ask, Asker
from melagent.engine.lifecycle.claim import claim, free_requirements
from melagent.loop import Loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from uuid import UUID

    from melagent.domain.work import WorkItem
    from melagent.engine.slots import Slots
    from melagent.store.pool import Pool

LOOK_SECONDS = 1.0
MAX_PLACES = 200
"""Runs leased by one claim."""


class Desk:
    """The asks of one instance. `give_back` is called with leases that were granted to a client that has gone."""

    def __init__(self, pool: Pool, *, lease_seconds: float, give_back: Callable[[dict[UUID, UUID]], None]) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._give_back = give_back
        self._asks: dict[Ask, None] = {}
        self._of_worker: dict[str, dict[Ask, None]] = defaultdict(dict)
        self._waiting: set[str] = set()
        self._known: set[str] = set()
        self._unsure = True
        self._looked_at = -LOOK_SECONDS
        self.loop = Loop("desk", self.one_pass, interval_seconds=LOOK_SECONDS)

    @asynccontextmanager
    async def asking(
        self, asker: Asker, limit: int, alive: Callable[[], bool] = lambda: True, *, once: bool = False
    ) -> AsyncIterator[Ask]:
        """Offer places as long as the context lasts. What is granted and not taken by its end is given back."""
        ask = Ask(asker, limit, alive, once=once)
        self._asks[ask] = self._of_worker[ask.worker_id][ask] = None
        if self._unsure or ask.met_of(self._waiting):
            self.loop.wake()
        try:
            yield ask
        finally:
            ask.close()
            self._forget(ask)
            if ask.reserved or ask.granted:  # of an ask that just waited, as most do, nothing is left
                await asyncio.shield(self._take_back(ask))

    async def ask(
        self, asker: Asker, limit: int, seconds: float, alive: Callable[[], bool] = lambda: True
    ) -> list[WorkItem]:
        """Runs leased to a worker, up to `limit`, as soon as there are any; none when there are none for a while."""
        async with self.asking(asker, limit, alive, once=True) as ask:
            if not await ask.some(seconds) and not ask.considered:  # whoever does not wait still gets what is there
                await self._look()
                await self._claim_for([ask], ask.met_of({ANY_WORKER, *self._known}))
            ask.close()
            await ask.rest()
            return ask.take()

    @property
    def waiting(self) -> int:
        """How many asks are open."""
        return len(self._asks)

    def dismiss(self) -> None:
        """Answer everybody who waits: this process stops, and they ask another."""
        for ask in self._asks:
            ask.close()

    def hint(self, requirements: Iterable[str] | None) -> None:
        """There are free runs with these requirements; with null, with requirements unknown."""
        if requirements is None:
            self._unsure = True
        else:
            self._waiting.update(requirements)
            self._known.update(requirements)
        if self._asks:
            self.loop.wake()

    def wanted(self, offered: frozenset[str]) -> set[str]:
        """The requirements of free runs, as far as they are known here, that a worker with this offer meets."""
        return requirement.met(offered, {ANY_WORKER, *self._known})

    def offer(self, required: str) -> Slots | None:
        """A reserved place of a worker that waits and may run this, the workers in turn.

        Of the asks of one worker the same one is filled until it is full: what starts together travels together.
        """
        ask = next((ask for ask in self._asks if ask.meets(required) and ask.reserve(1)), None)
        if ask is not None:
            for other in self._of_worker[ask.worker_id]:
                self._asks[other] = self._asks.pop(other)  # the next run is some other worker's
        return ask

    async def one_pass(self) -> float | None:
        """Claim for all who ask, as far as free runs are known of."""
        await self._look()
        for ask in self._asks:
            ask.considered = True
        for group in self._groups():
            await self._claim_for(group, group[0].met_of(self._waiting))
        return None

    async def _look(self) -> None:
        """Learn what free runs require: every second, and when a hint did not say."""
        now = asyncio.get_running_loop().time()
        if self._unsure or now - self._looked_at >= 0.9 * LOOK_SECONDS:
            self._unsure = False  # before the look: a hint that comes meanwhile counts
            try:
                self._known = await free_requirements(self._pool)
            except BaseException:
                self._unsure = True
                raise
            self._looked_at = now
            self._waiting |= self._known

    def _groups(self) -> list[list[Ask]]:
        """Those who ask, by which of the waiting runs they may take; those who may take none are left out."""
        groups: dict[frozenset[str], list[Ask]] = defaultdict(list)
        for ask in self._asks:
            if wanted := ask.met_of(self._waiting):
                groups[frozenset(wanted)].append(ask)
        return list(groups.values())

    async def _claim_for(self, asks: list[Ask], requirements: set[str]) -> None:
        places = _places(asks) if requirements else []
        if not places:
            return
        self._waiting -= requirements  # before the claim: a hint that comes meanwhile counts
        held_from = asyncio.get_running_loop().time()
        granted: dict[Ask, list[WorkItem]] = defaultdict(list)
        try:
            worker_ids = [ask.worker_id for ask in places]
            items = await claim(self._pool, worker_ids, requirements, self._lease_seconds)
            for place, item in items:
                granted[places[place]].append(item)
            if len(items) == len(places):
                self._waiting |= requirements
                self.loop.wake()
        finally:
            self._hand_over(places, granted, held_from)

    def _hand_over(self, places: list[Ask], granted: dict[Ask, list[WorkItem]], held_from: float) -> None:
        for ask, count in Counter(places).items():
            items = granted[ask]
            ask.run(items, held_from)
            ask.release(count - len(items))

    def _forget(self, ask: Ask) -> None:
        del self._asks[ask], self._of_worker[ask.worker_id][ask]
        if not self._of_worker[ask.worker_id]:
            del self._of_worker[ask.worker_id]

    async def _take_back(self, ask: Ask) -> None:
        """For a client that has gone: wait for what is under way, and give it back."""
        await ask.rest()
        if items := ask.take():
            self._give_back({item.run_id: item.lease for item in items})


def _places(asks: list[Ask]) -> list[Ask]:
    """Reserve free places of all who ask, each its share; in turn, so that few runs are spread over many workers."""
    places: list[Ask] = []
    turn = [(ask, ask.share) for ask in asks]
    while turn and len(places) < MAX_PLACES:
        turn = [(ask, left - 1) for ask, left in turn[: MAX_PLACES - len(places)] if left and ask.reserve(1)]
        places += [ask for ask, _ in turn]
    return places
