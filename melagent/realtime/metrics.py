"""What the hub counts and times, beside what the engine does; scraped at `/metrics` as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from melagent.engine.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tally(Collector):
    """A counter for what happens thousands of times a second in one thread: the library's own takes a lock."""

    def __init__(self, name: str, documentation: str) -> None:
        self.count = 0
        self._named = name, documentation
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(*self._named, self.count)


ROOMS = Gauge("mel_rooms", "Rooms that are open on this instance", registry=REGISTRY)
PEERS = Gauge("mel_peers", "Peers whose sockets are on this instance", registry=REGISTRY)
DELIVERIES = Tally("mel_deliveries", "Edits put into the outboxes of peers")
EDITS_COMMITTED = Tally("mel_edits_committed", "Edits of peers that this instance committed")
EDITS_REFUSED = Counter("mel_edits_refused", "Edits of peers that were refused, by error", ["error"], registry=REGISTRY)
RACES_LOST = Counter("mel_edit_races_lost", "Drafts that another instance was faster with", registry=REGISTRY)
EDITS_HANDED_OVER = Counter(
    "mel_edits_handed_over", "Edits of peers given to another instance, which commits for a room", registry=REGISTRY
)
CATCH_UPS = Counter("mel_room_catch_ups", "Reads of edits that a room had missed", registry=REGISTRY)
SOCKETS_CLOSED = Counter("mel_sockets_closed", "Sockets that the hub closed, by code", ["code"], registry=REGISTRY)
COMMIT_SECONDS = Histogram(
    "mel_edit_commit_seconds", "Duration of one commit of edits",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0), registry=REGISTRY,
)  # fmt: skip
COMMIT_EDITS = Histogram(
    "mel_edit_commit_batch_edits", "Edits in one commit",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), registry=REGISTRY,
)  # fmt: skip
