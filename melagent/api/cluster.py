"""The cluster, for people, autoscalers and `server status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from melagent.api.context import WORKERS, services_of
from melagent.api.wire import Answer, answer
from melagent.services import cluster as service

if TYPE_CHECKING:
    from aiohttp import web


class InstanceAnswer(Answer):
    id: str
    role: str
    version: str
    host: str
    pid: int
    draining: bool
    status: str
    started_at: datetime
    last_seen_at: datetime
    load: dict[str, Any]


class WorkerAnswer(Answer):
    """`busy` counts the runs that the worker holds; an `embedded` one lives inside an instance."""

    id: str
    name: str
    version: str
    labels: list[str]
    node_types: list[str]
    concurrency: int
    busy: int
    instance: str
    draining: bool
    status: str
    registered_at: datetime
    last_contact_at: datetime
    embedded: bool


class WaitingAnswer(Answer):
    depth: int
    oldest_age_seconds: float


class QueueAnswer(WaitingAnswer):
    by_label: dict[str, WaitingAnswer]


class ClusterAnswer(Answer):
    instances: list[InstanceAnswer]
    workers: list[WorkerAnswer]
    queue: QueueAnswer


class WorkersAnswer(Answer):
    workers: list[WorkerAnswer]
    total: int


async def get_cluster(request: web.Request) -> web.Response:
    """All instances and workers, and what waits for them."""
    return answer(await service.cluster(services_of(request).pool, datetime.now(UTC)))


async def list_workers(request: web.Request) -> web.Response:
    """List the remote workers that have registered, with their load and last contact."""
    found = await request.app[WORKERS].list_all()
    return answer({"workers": [service.worker_fields(worker) for worker in found], "total": len(found)})
