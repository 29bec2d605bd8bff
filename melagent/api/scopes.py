"""Which routes a key reaches whose scopes say that it may do less than its role."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.api.context import services_of, uuid_in_path
from melagent.errors import Forbidden
from melagent.store import runs

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.route import Route
    from melagent.services.access import Scopes

_WORKFLOW = "/api/workflows/{id}"
_SOCKET = "/api/ws/workflows/{id}"
_RUN = "/api/workflow-runs/{id}"

EXECUTE_ROUTES = frozenset(
    {
        ("GET", "/api/workflows"),
        ("GET", _WORKFLOW),
        ("POST", f"{_WORKFLOW}/execute"),
        ("GET", "/api/workflow-runs"),
        ("GET", _RUN),
        ("GET", f"{_RUN}/steps"),
        ("GET", f"{_RUN}/events"),
        ("POST", f"{_RUN}/cancel"),
        ("POST", f"{_RUN}/pause"),
        ("POST", f"{_RUN}/resume"),
        ("POST", f"{_RUN}/retry"),
        ("POST", f"{_RUN}/replay"),
        ("POST", f"{_RUN}/signals/{{name}}"),
    }
)
"""What the scope `execute` is: workflows are run as they are, and nothing is changed or brought in."""

PERSONAL = frozenset({("GET", "/api/auth/me"), ("POST", "/api/auth/ws-ticket")})
"""About oneself. A ticket opens no more than the key that it was given for."""


async def check(request: web.Request, route: Route, scopes: Scopes) -> None:
    """Raise Forbidden for what a key's scopes do not reach. A route that says nothing of scopes is not reached."""
    line = (route.method, route.path)
    if line in PERSONAL:
        return
    if scopes.execute and line not in EXECUTE_ROUTES:
        raise Forbidden("Your key may only start, watch and steer runs.")
    if scopes.workflow_ids and await _workflow(request, route) not in scopes.workflow_ids:
        raise Forbidden("Your key is bound to other workflows.")


async def _workflow(request: web.Request, route: Route) -> UUID | None:
    """The workflow that a call is about; null when it is about none, or about several."""
    if _is_within(route.path, _WORKFLOW) or route.path == _SOCKET:
        return uuid_in_path(request)
    if _is_within(route.path, _RUN):
        async with services_of(request).pool.acquire() as conn:
            known = await runs.caller(conn, uuid_in_path(request))
        return known[0].workflow_id if known else None
    if _lists_by_workflow(route):
        with suppress(KeyError, ValueError):
            return UUID(request.query["workflow_id"])
    return None


def _lists_by_workflow(route: Route) -> bool:
    """Whether a route shows what belongs to one workflow when it is asked to; others do not read that parameter."""
    return route.method == "GET" and route.query is not None and "workflow_id" in route.query.model_fields


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
