"""Test data that is pinned to nodes of a draft."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from melagent.api.context import services_of, uuid_in_path
from melagent.api.wire import Answer, Body, answer, encode
from melagent.services import pinned

if TYPE_CHECKING:
    from aiohttp import web


class PinnedBody(Body):
    """At most 1 MiB of JSON; null takes away what is pinned."""

    value: Any


class PinnedAnswer(Answer):
    """`value` is null, and `updated_at` too, while nothing is pinned."""

    node_id: str
    value: Any
    updated_at: datetime | None


async def get_pinned(request: web.Request) -> web.Response:
    """What is pinned to a node of the draft."""
    return answer(await pinned.get(services_of(request).pool, uuid_in_path(request), request.match_info["node_id"]))


async def put_pinned(request: web.Request, body: PinnedBody) -> web.Response:
    """Pin test data to a node of the draft. Versions and runs never see it."""
    pool, workflow_id, node_id = services_of(request).pool, uuid_in_path(request), request.match_info["node_id"]
    return answer(await pinned.put(pool, workflow_id, node_id, encode(body.value)))
