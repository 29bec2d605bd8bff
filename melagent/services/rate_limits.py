"""Rate limits that hold over all instances: one token bucket for each key, of which instances lease slices.

A slice is a tenth of a second's worth of tokens, at least one; what is not spent within a second lapses. So of a key
with the rate r and the burst b, all instances together let through at most `b + r * (s + 1)` calls in any s seconds,
and a limited key costs each instance some ten small statements a second at most. A bucket that is empty is not asked
again before it can have gained a token: a flood of refused calls costs no statement.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from melagent.store import budgets

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.store.pool import Pool

SLICE_SECONDS = 0.1
LEASED_SECONDS = 1.0

MAX_KEYS = 10_000
"""So many keys are known at once; those with nothing left to remember are then forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second in the long run, and at most `burst` at once; both are above zero, `burst` at least 1."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, per_second: float, burst: float | None = None) -> Rate:
        """The rate with a burst of one second's worth, unless another is given."""
        return cls(per_second, max(1.0, per_second if burst is None else burst))

    @property
    def slice(self) -> int:
        return max(1, min(math.ceil(self.per_second * SLICE_SECONDS), math.floor(self.burst)))


@dataclass(slots=True)
class _Lease:
    """What this instance may spend of one key, and until when it need not ask for more. Times are monotonic."""

    tokens: int = 0
    until: float = 0.0
    empty_until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self, now: float) -> bool:
        if self.tokens < 1 or now >= self.until:
            return False
        self.tokens -= 1
        return True

    def is_idle(self, now: float) -> bool:
        return now >= max(self.until, self.empty_until) and not self.asking.locked()


class RateLimits:
    """Counts calls. One for each instance; a key means the same on all of them."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._leases: dict[str, _Lease] = {}

    async def spend(self, key: str, rate: Rate) -> float:
        """Count one call: zero lets it through, else the seconds after which another try makes sense."""
        lease = self._leases.get(key) or self._new(key)
        now = self._clock()
        if lease.spend(now):
            return 0.0
        if now < lease.empty_until:
            return lease.empty_until - now
        async with lease.asking:
            return await self._spend_or_ask(key, rate, lease)

    async def _spend_or_ask(self, key: str, rate: Rate, lease: _Lease) -> float:
        """The same for who holds the lock: another may have asked while this one waited for it."""
        now = self._clock()
        if lease.spend(now):
            return 0.0
        if now < lease.empty_until:
            return lease.empty_until - now
        async with self._pool.acquire() as conn:
            taken = await budgets.take(conn, key, rate.per_second, rate.burst, rate.slice)
        if not taken.tokens:
            wait = (1 - taken.left) / rate.per_second
            lease.empty_until = self._clock() + wait
            return wait
        lease.tokens, lease.until = taken.tokens - 1, now + LEASED_SECONDS
        return 0.0

    def _new(self, key: str) -> _Lease:
        if len(self._leases) >= MAX_KEYS:
            now = self._clock()
            self._leases = {name: lease for name, lease in self._leases.items() if not lease.is_idle(now)}
            if len(self._leases) >= MAX_KEYS:  # more live keys than that: all ask again, and none gets more for it
                self._leases.clear()
        return self._leases.setdefault(key, _Lease())
