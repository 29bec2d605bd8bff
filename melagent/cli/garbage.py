"""Python's collector of reference cycles, set for a process that runs long."""

from __future__ import annotations

import gc


def calm_garbage_collection() -> None:
    """What is there now stays, so collections need not look at it; and short runs make many objects but no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
