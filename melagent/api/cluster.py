"""The cluster, for people, autoscalers and `server status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from melagent.api.context import WORKERS, services_of
from melagent.api.wire import Answer, Body, answer
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


class SchedulesAnswer(Answer):
    """`lag_seconds` is how long the first schedule has been due that has not fired yet; 0 when none is."""

    active: int
    due: int
    next_fire_at: datetime | None
    lag_seconds: float


class RealtimeAnswer(Answer):
    """Sockets of live editing, and rooms, each counted on every instance that has it open."""

    rooms: int
    peers: int


class ClusterAnswer(Answer):
    instances: list[InstanceAnswer]
    workers: list[WorkerAnswer]
    queue: QueueAnswer
    schedules: SchedulesAnswer
    realtime: RealtimeAnswer


class WorkersQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str = Field(
        default="", max_length=200, pattern=r"^[A-Za-z0-9._:-]*$", description="`next_cursor` of the page before"
    )


class WorkersAnswer(Answer):
    workers: list[WorkerAnswer]
    total: int
    next_cursor: str | None


async def get_cluster(request: web.Request) -> web.Response:
    """All instances and workers, what waits for them, and how the schedules stand."""
    return answer(await service.cluster(services_of(request).pool, datetime.now(UTC)))


async def list_workers(request: web.Request, query: WorkersQuery) -> web.Response:
    """The remote workers that have registered, with their load and last contact, in the order of their ids."""
    found, total = await request.app[WORKERS].page(query.cursor, query.limit + 1)
    page = [service.worker_fields(worker) for worker in found[: query.limit]]
    more = len(found) > len(page)
    return answer({"workers": page, "total": total, "next_cursor": page[-1]["id"] if more else None})
