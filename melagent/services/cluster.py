"""The whole cluster as any instance sees it: instances, workers and what waits for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from melagent.domain.ids import time_of
from melagent.services.requirements import INSTANCE_SILENT_SECONDS, WORKER_SILENT_SECONDS
from melagent.store import instances, runs, schedules, workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from melagent.store.instances import Instance
    from melagent.store.pool import Pool
    from melagent.store.workers import ListedWorker


async def cluster(pool: Pool, now: datetime) -> dict[str, Any]:
    """Instances, workers (those inside an instance included), the queue by what it requires, schedules, open rooms."""
    async with pool.acquire() as conn:
        found = await instances.list_all(conn)
        remote = await workers.page(conn, "", None)
        waiting = await runs.waiting(conn)
        overview = await schedules.overview(conn)
    ages = {line.requires: max(0.0, (now - time_of(line.oldest)).total_seconds()) for line in waiting}
    return {
        "instances": [_instance(instance) for instance in found],
        "workers": [
            *map(worker_fields, remote),
            *(_embedded(instance) for instance in found if "worker" in instance.load),
        ],
        "queue": {
            "depth": sum(line.depth for line in waiting),
            "oldest_age_seconds": max(ages.values(), default=0.0),
            "by_label": {
                line.requires: {"depth": line.depth, "oldest_age_seconds": ages[line.requires]} for line in waiting
            },
        },
        "schedules": asdict(overview),
        "realtime": _realtime(found),
    }


def _realtime(found: Sequence[Instance]) -> dict[str, int]:
    """What the instances that are heard of said last; a room counts on each instance that has it open."""
    active = [instance.load for instance in found if instance.silent_seconds < INSTANCE_SILENT_SECONDS]
    return {name: sum(load.get(name, 0) for load in active) for name in ("rooms", "peers")}


def worker_fields(worker: ListedWorker) -> dict[str, Any]:
    """A remote worker as it is listed."""
    fields = asdict(worker)
    status = _status(fields.pop("silent_seconds"), WORKER_SILENT_SECONDS)
    return {**fields, "status": status, "embedded": False}


def _embedded(instance: Instance) -> dict[str, Any]:
    worker = instance.load["worker"]
    return {
        "id": worker["id"],
        "name": instance.host,
        "version": instance.version,
        "labels": [part for part in worker["offered"] if not part.startswith("type:")],
        "node_types": [part.removeprefix("type:") for part in worker["offered"] if part.startswith("type:")],
        "concurrency": worker["concurrency"],
        "busy": worker["busy"],
        "instance": instance.id,
        "draining": instance.draining,
        "registered_at": instance.started_at,
        "last_contact_at": instance.last_seen_at,
        "status": _status(instance.silent_seconds, INSTANCE_SILENT_SECONDS),
        "embedded": True,
    }


def _instance(instance: Instance) -> dict[str, Any]:
    fields = asdict(instance)
    status = _status(fields.pop("silent_seconds"), INSTANCE_SILENT_SECONDS)
    load = {name: value for name, value in instance.load.items() if name != "worker"}
    return {**fields, "status": status, "load": load}


def _status(silent_seconds: float, limit: float) -> str:
    return "active" if silent_seconds < limit else "silent"
