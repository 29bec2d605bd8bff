"""Memory of the API process and of each remote worker, over a hundred thousand runs of each worker."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from benchmarks.outcome import Goal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psutil

    from benchmarks.product import Product
    from benchmarks.throughput import Contender

CONNECTIONS = 50
SLICE_SECONDS = 4.0
LONGEST_SECONDS = 300.0
GROWN = 1.05
API_MB, WORKER_MB = 120, 90

CLAIMED = re.compile(rb'^(?=.*"event":"claimed work").*"count":(\d+)', re.MULTILINE)


@dataclass(slots=True)
class RemoteWorker:
    """A worker's process, and the log in which it says what it took; `_read` bytes of it have been read."""

    process: psutil.Process
    log: Path
    _read: int = 0
    _runs: int = 0

    def rss_mb(self) -> float:
        return round(self.process.memory_info().rss / 1e6, 1)

    def runs(self) -> int:
        """How many runs it has taken."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            new, _, _ = log.read().rpartition(b"\n")
        self._read += len(new)
        self._runs += sum(int(found[1]) for found in CLAIMED.finditer(new))
        return self._runs


async def memory(product: Product, contender: Contender, workers: Sequence[RemoteWorker], runs: int) -> dict[str, Any]:
    """Load until each worker has taken so many runs since the beginning of this, or five minutes have passed."""
    began, before = time.monotonic(), [worker.runs() for worker in workers]
    samples: list[dict[str, Any]] = []
    taken = 0
    while taken < runs and time.monotonic() < began + LONGEST_SECONDS:
        await contender.measure(CONNECTIONS, SLICE_SECONDS)
        taken = min(worker.runs() - first for worker, first in zip(workers, before, strict=True))
        samples.append({"runs": taken, "api": product.server.rss_mb(), "workers": [w.rss_mb() for w in workers]})
    print(f"  memory after {taken:,} runs of each worker: {samples[-1]}", file=sys.stderr, flush=True)
    return {"runs_of_each_worker": taken, "samples": samples}


def memory_goals(details: dict[str, Any], runs: int) -> list[Goal]:
    """The largest figure of each, and the last tenth of the runs beside the second: the first warms up."""
    samples, taken = details["samples"], details["runs_of_each_worker"]
    tenth = max(1, taken // 10)
    series = {"api-server": [sample["api"] for sample in samples]}
    for number in range(len(samples[0]["workers"])):
        series[f"worker {number + 1}"] = [sample["workers"][number] for sample in samples]
    goals = [Goal("remote: runs of each worker while memory was watched", taken, "at least", runs)]
    for name, figures in series.items():
        limit = API_MB if name == "api-server" else WORKER_MB
        second = _mean_between(samples, figures, tenth, 2 * tenth)
        last = _mean_between(samples, figures, taken - tenth, taken)
        goals.append(Goal(f"remote: memory of {name}, MB", max(figures), "at most", limit))
        goals.append(Goal(f"remote: memory of {name}, last / second tenth", round(last / second, 3), "at most", GROWN))
    return goals


def _mean_between(samples: Sequence[dict[str, Any]], figures: Sequence[float], first: int, last: int) -> float:
    """Of the figures after so many runs; the nearest one when none was taken in between."""
    inside = [figure for sample, figure in zip(samples, figures, strict=True) if first <= sample["runs"] <= last]
    if inside:
        return mean(inside)
    nearest = min(range(len(samples)), key=lambda at: abs(samples[at]["runs"] - last))
    return figures[nearest]
