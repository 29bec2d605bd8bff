"""One node of a draft, tried by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from melagent.api.context import PRINCIPAL, services_of, uuid_in_path
from melagent.api.wire import Answer, Body, Revision, answer
from melagent.services.node_tests import Trial
from melagent.services.starts import Starts

if TYPE_CHECKING:
    from aiohttp import web


class NodeTestBody(Body):
    """Without an `input` the node gets what is pinned to it. The draft must have reached `min_revision`."""

    input: Any = None
    min_revision: Revision | None = None


class NodeTestAnswer(Answer):
    """`duration_ms` is null when the node was not started, or not ended."""

    success: bool
    output: Any
    error: dict[str, Any] | None
    logs: list[dict[str, Any]]
    duration_ms: int | None


async def test_node(request: web.Request, body: NodeTestBody) -> web.Response:
    """Run one node of the draft on a worker, once, and wait for its end: 50 seconds at most."""
    services, caller = services_of(request), request[PRINCIPAL].name
    starts = Starts(services.pool, services.engine, services.registry)
    trial = Trial(uuid_in_path(request), request.match_info["node_id"], body.min_revision)
    given = [body.input] if "input" in body.model_fields_set else []
    return answer(await trial.run(starts, caller, *given))
