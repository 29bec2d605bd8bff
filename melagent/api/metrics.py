"""What Prometheus scrapes: the engine's own counts and times, and the present state of queue and pool."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from heapq import nlargest
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from melagent.api.auth import require
from melagent.api.context import ROUTE, services_of
from melagent.domain.run import FINAL_RUN, RunStatus
from melagent.engine import metrics as engine_metrics
from melagent.services.access import Role
from melagent.services.cluster import cluster
from melagent.services.memory import BriefMemory
from melagent.store import runs
from melagent.store.health import pool_numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from typing import Any

    from melagent.store.pool import Pool

LAG_PROBE_SECONDS = 0.5
REMEMBERED_SECONDS = 1.0
MAX_REQUIREMENTS = 50
OTHER_REQUIREMENTS = "other"
"""Stands for all requirements but the most wanted. None is called so: each has a `=` or a `:`, or is empty."""


class Gauges:
    """Values that are read for a scrape. Ended runs are counted by the engine (`mel_runs_ended_total`).

    Counting reads the whole queue and anybody may scrape, so the runs are counted at most once a second.
    """

    def __init__(self, pool: Pool) -> None:
        self._source = pool
        self._counted = BriefMemory(self._count, REMEMBERED_SECONDS)
        self.registry = CollectorRegistry()
        self._depth = self._gauge("mel_queue_depth", "Runs that wait for a worker")
        self._oldest = self._gauge("mel_queue_oldest_age_seconds", "Age of the oldest run that waits for a worker")
        self._required = self._gauge(
            "mel_queue_depth_by_requirement", "Runs that wait for a worker, by what they require of it", "requires"
        )
        self._runs = self._gauge("mel_runs", "Runs that have not ended, by status", "status")
        self._instances = self._gauge("mel_instances", "Instances, by status", "status")
        self._workers = self._gauge("mel_workers", "Workers, those inside an instance included, by status", "status")
        self._schedules = self._gauge("mel_schedules", "Schedules and timers that are armed")
        self._due = self._gauge("mel_schedules_due", "Schedules that are due and have not fired yet")
        self._lag = self._gauge("mel_schedule_lag_seconds", "How long the first of these has been due")
        self._pool = self._gauge("mel_pool_connections", "Database connections", "state")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    async def refresh(self) -> None:
        await self._counted.get("runs")
        for state, count in pool_numbers(self._source).items():
            self._pool.labels(state).set(count)

    async def _count(self, _what: str) -> None:
        async with self._source.acquire() as conn:
            live = await runs.count_live(conn)
        found = await cluster(self._source, datetime.now(UTC))
        queue = found["queue"]
        self._depth.set(queue["depth"])
        self._oldest.set(queue["oldest_age_seconds"])
        schedules = found["schedules"]
        self._schedules.set(schedules["active"])
        self._due.set(schedules["due"])
        self._lag.set(schedules["lag_seconds"])
        _set_all(self._required, _most_wanted(queue["by_label"]))
        _set_all(self._instances, _by_status(found["instances"]))
        _set_all(self._workers, _by_status(found["workers"]))
        for status in RunStatus:
            if status not in FINAL_RUN:
                self._runs.labels(status).set(live.get(status, 0))


def _set_all(gauge: Gauge, values: Mapping[str, int]) -> None:
    """Let a gauge have these values alone."""
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)


def _by_status(listed: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many are active, draining (as long as they are heard of) and silent."""
    found = Counter(
        "draining" if each["draining"] and each["status"] == "active" else each["status"] for each in listed
    )
    return {status: found[status] for status in ("active", "draining", "silent")}


def _most_wanted(by_label: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The length of the queue for each requirement, the longest ones; whatever people write, the series stay few."""
    depths = {requires: line["depth"] for requires, line in by_label.items()}
    told = dict(nlargest(MAX_REQUIREMENTS, depths.items(), key=lambda each: each[1]))
    more = sum(depths.values()) - sum(told.values())
    return {**told, OTHER_REQUIREMENTS: more} if more else told


GAUGES = web.AppKey("gauges", Gauges)


async def scrape(request: web.Request) -> web.Response:
    """Metrics in the text format of Prometheus."""
    services = services_of(request)
    if services.metrics_access == "token":
        await require(request, replace(request[ROUTE], role=Role.VIEWER))
    gauges = request.app[GAUGES]
    await gauges.refresh()
    body = generate_latest(engine_metrics.REGISTRY) + generate_latest(gauges.registry)
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def watch_loop(_app: web.Application) -> AsyncIterator[None]:
    """Measure how late the event loop wakes up, for as long as the application runs."""
    probe = asyncio.create_task(_probe(), name="loop-lag")
    yield
    probe.cancel()
    with suppress(asyncio.CancelledError):
        await probe


async def _probe() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_PROBE_SECONDS
        await asyncio.sleep(LAG_PROBE_SECONDS)
        engine_metrics.LOOP_LAG_SECONDS.set(max(0.0, loop.time() - due))
