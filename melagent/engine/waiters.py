"""Who waits for a run: callers for its end or answer, streams for any change.

The fast path is a call in the same process, or a hint from another and a look at the runs it names; the safe path is
one statement a second for all runs that somebody waits for.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from melagent.engine.lifecycle.persist import persistently
from melagent.loop import Loop
from melagent.store.ends import ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from melagent.domain.work import RunEnd
    from melagent.store.pool import Pool

POLL_SECONDS = 1.0
POLL_LIMIT_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Waits for the end of a run; with `until_answer` also for an answer that comes before it."""

    result: asyncio.Future[RunEnd | None]
    until_answer: bool


class Waiters:
    """Callers and streams by run. `answering` names the node types whose output answers a caller."""

    def __init__(self, pool: Pool, answering: frozenset[str]) -> None:
        self.answering = answering
        self.loop = Loop("waiters", self.one_pass, interval_seconds=POLL_SECONDS)
        self._pool = pool
        self._polled_at = -POLL_SECONDS
        self._hinted: set[UUID] = set()
        self._callers: dict[UUID, set[Caller]] = {}
        self._streams: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def expecting(self, run_id: UUID, *, until_answer: bool) -> Iterator[asyncio.Future[RunEnd | None]]:
        """A future for the end of a run. To miss nothing, ask before the run is started."""
        caller = Caller(asyncio.get_running_loop().create_future(), until_answer)
        self._callers.setdefault(run_id, set()).add(caller)
        try:
            yield caller.result
        finally:
            _discard(self._callers, run_id, caller)

    @contextmanager
    def changes(self, run_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run may have changed; whoever waits for it clears it."""
        event = asyncio.Event()
        self._streams.setdefault(run_id, set()).add(event)
        try:
            yield event
        finally:
            _discard(self._streams, run_id, event)

    def ended(self, end: RunEnd) -> bool:
        """Pass on the end, or the answer, of a run to those who wait for it here; whether anybody did."""
        callers = self._callers.get(end.run_id, ())
        for caller in callers:
            if not caller.result.done() and (end.status.final or caller.until_answer):
                caller.result.set_result(end)
        return bool(callers)

    def changed(self, run_ids: Iterable[UUID]) -> None:
        """Wake the streams of these runs."""
        if self._streams:
            for run_id in run_ids:
                for event in self._streams.get(run_id, ()):
                    event.set()

    def hinted(self, run_ids: Iterable[UUID]) -> None:
        """Another process says that these runs have changed."""
        run_ids = list(run_ids)
        self.changed(run_ids)
        if awaited := [run_id for run_id in run_ids if run_id in self._callers]:
            self._hinted.update(awaited)
            self.loop.wake()

    async def one_pass(self) -> float | None:
        """Read what hints name; once a second everything."""
        clock = asyncio.get_running_loop().time
        if self._hinted and clock() - self._polled_at < POLL_SECONDS:
            hinted, self._hinted = self._hinted, set()
            await self._read([run_id for run_id in hinted if run_id in self._callers])
        else:
            await self.poll()
        return max(0.0, self._polled_at + POLL_SECONDS - clock())

    async def poll(self) -> None:
        """Read the ends and answers of all awaited runs, and let the streams look again."""
        self._hinted.clear()
        self.changed(list(self._streams))
        await self._read(list(self._callers))
        self._polled_at = asyncio.get_running_loop().time()

    async def _read(self, run_ids: list[UUID]) -> None:
        if run_ids:
            answering = list(self.answering)
            for end in await persistently(
                self._pool, lambda conn: ends(conn, run_ids, answering), seconds=POLL_LIMIT_SECONDS
            ):
                self.ended(end)

    def load(self) -> dict[str, int]:
        """How many callers and streams wait here."""
        return {
            "callers": sum(len(callers) for callers in self._callers.values()),
            "streams": sum(len(streams) for streams in self._streams.values()),
        }

    def dismiss(self) -> None:
        """Let all callers go without an answer: this process stops, and their runs go on."""
        for callers in list(self._callers.values()):
            for caller in callers:
                let_go(caller.result)


def let_go(waiting: asyncio.Future[T | None]) -> None:
    """Let a caller go without an answer, unless he has one."""
    if not waiting.done():
        waiting.set_result(None)


def _discard(index: dict[UUID, set[T]], run_id: UUID, value: T) -> None:
    values = index[run_id]
    values.discard(value)
    if not values:
        del index[run_id]
