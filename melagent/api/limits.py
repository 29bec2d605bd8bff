"""How many calls a caller may make (`limits.requests_per_second`), over all instances.

Whoever is known is counted as the user or key that calls, whatever addresses the calls come from: others behind the
same address are not held up. A call by nobody, and one with a key or session that is not good, counts for its address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.api.auth import require
from melagent.api.context import LIMITS, PRINCIPAL, WORKER, services_of
from melagent.errors import RateLimited
from melagent.services.access import Role
from melagent.services.rate_limits import Rate
from melagent.services.throttle import network_of

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.route import Route

UNCOUNTED = frozenset({"/health", "/ready", "/metrics", "/api/health", "/assets/{name}"})
"""What load balancers and monitoring ask, and the files of the editor, of which one page loads a dozen. Webhooks have a
limit of their own, and workers are paced by the protocol.
"""


async def admit(request: web.Request, route: Route) -> None:
    """Refuse whoever may not call, or calls too often."""
    if route.role is Role.OPEN:
        if route.method != "*" and route.path not in UNCOUNTED:
            await _count(request)
        return
    try:
        await require(request, route)
    finally:  # refused calls count as well, and too many of them are told so
        if WORKER not in request:
            await _count(request)


async def _count(request: web.Request) -> None:
    per_second = services_of(request).requests_per_second
    if per_second is None:
        return
    known = request.get(PRINCIPAL)
    caller = f"caller {known.id}" if known else f"address {network_of(request.remote or '')[:100]}"
    if wait := await request.app[LIMITS].spend(f"requests of {caller}", Rate.of(per_second)):
        raise RateLimited(wait)
