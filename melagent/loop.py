"""The background loop: timing, back-off and wake-up, written once for every loop of the program.

A loop's work is one pass, a coroutine function that tests call by itself. The pass says in how many seconds it is next
due, or null for the loop's interval; `wake` makes it due at once. A notification is the fast path, the timer the safe
one.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = structlog.get_logger()

JITTER = 0.1
"""Share of a wait that is random, so that instances started together do not stay in step."""

LONGEST_BACK_OFF_SECONDS = 1.8  # so that loops with a promise to keep go on soon after an outage
MAX_DOUBLINGS = 10  # beyond it the back-off is at its longest anyway, and an outage of an hour would overflow it


class Loop:
    """Runs `one_pass` again and again in a task of its own until `stop`. An error is logged and backed off from."""

    def __init__(self, name: str, one_pass: Callable[[], Awaitable[float | None]], *, interval_seconds: float) -> None:
        self.name = name
        self._one_pass = one_pass
        self._interval = interval_seconds
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with a pass at once. A loop is started once."""
        self._task = asyncio.create_task(self._run(), name=f"loop {self.name}")

    def wake(self) -> None:
        """Make the next pass due now. A wake-up during a pass leads to one more pass after it."""
        self._wake.set()

    async def stop(self) -> None:
        """Return when the pass in hand has ended and no other will begin."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            self._wake.clear()
            try:
                due = await self._one_pass()
                failures = 0
            except Exception:
                failures += 1
                back_off = self._interval * 2 ** min(failures, MAX_DOUBLINGS)
                due = min(back_off, max(LONGEST_BACK_OFF_SECONDS, self._interval))
                logger.exception("loop pass failed", loop=self.name, failures=failures, retry_in_seconds=due)
            await self._wait(self._interval if due is None else due, failures=failures)

    async def _wait(self, seconds: float, *, failures: int) -> None:
        """Sleep until due or woken. After a failure a wake-up does not shorten the back-off, only `stop` does."""
        await asyncio.sleep(0)  # others get their turn also between passes that follow at once
        clock = asyncio.get_running_loop().time
        until = clock() + seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # not a secret
        while (left := until - clock()) > 0 and not self._stopping:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if not failures:
                return
            self._wake.clear()
