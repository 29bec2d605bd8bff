"""After many sockets and rooms have gone together: what they took goes back to the system at once.

A socket of the library refers to itself, so what is left of it waits for a collection; that of thousands would wait for
hours, as it is old. And what is free between what is in use stays with the process (glibc), so that the next thousands
find it in pieces: without this, memory after a third batch of 10,000 was 5 to 10 % above that after the first.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GONE_TOGETHER: Final = 1_000
"""For fewer it is not worth it: looking for what is free holds an instance up for some 0.1 s."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; other libraries have none."""


class Ebb:
    """Told every now and then how many sockets and rooms are open."""

    def __init__(self) -> None:
        self._most = self._before = 0

    def told(self, count: int) -> bool:
        """Whether many are gone, and no more are on their way out; true once for those."""
        self._most, before, self._before = max(self._most, count), self._before, count
        if self._most - count < GONE_TOGETHER or count < before:
            return False
        self._most = count
        return True


def give_back_memory() -> None:
    """Collect what refers to itself, and let the system have what is free."""
    gc.collect()
    if _trim is not None:
        _trim(0)
