"""Numbers made of many measurements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def latencies_ms(seconds: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and the maximum, in milliseconds; nothing when nothing was measured."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    shares = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(_quantile(ordered, share) * 1000, 3) for name, share in shares.items()}


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed, of values that were counted."""
    left = max(1, math.ceil(sum(counts.values()) * share))
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    raise ValueError("nothing was counted")


def median_by(key: str, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole round whose `key` is the median; with an even number of rounds the lower of the middle two."""
    return sorted(rounds, key=lambda figures: figures[key])[(len(rounds) - 1) // 2]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
