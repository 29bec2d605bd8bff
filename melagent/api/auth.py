"""Who may call: the key in the request, and the least role of the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.api.context import KEYS, PRINCIPAL, WORKER
from melagent.errors import Forbidden, Unauthenticated
from melagent.services.access import Role

if TYPE_CHECKING:
    from aiohttp import web


async def require(request: web.Request, role: Role) -> None:
    """Refuse whoever may not call. The caller is in `request[PRINCIPAL]` afterwards, a worker in `request[WORKER]`."""
    key = _key(request)
    if role is Role.WORKER:
        worker = await request.app[KEYS].worker(key) if key else None
        if worker is None:
            raise Unauthenticated("A valid worker token is needed.")
        request[WORKER] = worker
        return
    principal = await request.app[KEYS].principal(key) if key else None
    if principal is None:
        raise Unauthenticated
    if principal.role < role:
        raise Forbidden(
            f"This needs the role {role.name.lower()}; your key has the role {principal.role.name.lower()}."
        )
    request[PRINCIPAL] = principal


def _key(request: web.Request) -> str | None:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    return request.headers.get("X-API-Key")
