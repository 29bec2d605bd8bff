"""Who may call: the key in the request, and the least role of the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.api.context import KEYS, PRINCIPAL
from melagent.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.services.access import Role


async def require(request: web.Request, role: Role) -> None:
    """Refuse whoever has a lower role. The caller is in `request[PRINCIPAL]` afterwards."""
    key = _key(request)
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
