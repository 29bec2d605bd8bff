"""Who is where, over all instances, from any of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import Field

from melagent.api.context import HUB, services_of, uuid_in_path
from melagent.api.wire import Answer, Body, answer
from melagent.errors import BadRequest, Problem
from melagent.services.workflows import found
from melagent.store import workflows
from melagent.store.ids import FIRST_ID

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.domain.seats import Seat


class PersonAnswer(Answer):
    """`peer` is what this client of somebody is called in the room; `id` is that of the user or key."""

    peer: str
    id: str
    name: str
    color: str
    instance: str
    joined_at: datetime


class PeopleAnswer(Answer):
    peers: list[PersonAnswer]


class InstanceConnections(Answer):
    instance: str
    connections: int
    rooms: int


class SocketAnswer(Answer):
    peer: str
    workflow_id: UUID
    instance: str
    id: str
    name: str
    joined_at: datetime


class SocketsQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str = Field(default="", max_length=100, description="`next_cursor` of the page before")

    def after(self) -> tuple[UUID, str]:
        workflow_id, _, peer = self.cursor.partition(":")
        try:
            return UUID(workflow_id) if workflow_id else FIRST_ID, peer
        except ValueError:
            raise BadRequest(details=[Problem("cursor", "This is not a cursor of this list.")]) from None


class SocketsAnswer(Answer):
    instances: list[InstanceConnections]
    connections: list[SocketAnswer]
    next_cursor: str | None


async def list_people(request: web.Request) -> web.Response:
    """Who is in the room of a workflow, on all instances."""
    workflow_id = uuid_in_path(request)
    async with services_of(request).pool.acquire() as conn:
        found(await workflows.find(conn, workflow_id), "workflow")
    seats = await request.app[HUB].seating.people(workflow_id)
    return answer({"peers": [_shown(seat) | {"color": seat.color} for seat in seats]})


async def list_connections(request: web.Request, query: SocketsQuery) -> web.Response:
    """All peers by workflow, and how many each instance has."""
    counts, seats = await request.app[HUB].seating.connections(query.after(), query.limit + 1)
    page, more = seats[: query.limit], len(seats) > query.limit
    return answer(
        {
            "instances": [
                {"instance": instance, "connections": connections, "rooms": rooms}
                for instance, connections, rooms in counts
            ],
            "connections": [_shown(seat) | {"workflow_id": seat.workflow_id} for seat in page],
            "next_cursor": f"{page[-1].workflow_id}:{page[-1].peer}" if more else None,
        }
    )


def _shown(seat: Seat) -> dict[str, Any]:
    return {
        "peer": seat.peer,
        "id": seat.person_id,
        "name": seat.name,
        "instance": seat.instance,
        "joined_at": seat.joined_at,
    }
