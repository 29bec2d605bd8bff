"""Random values that all instances share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection

READ_KEY = "SELECT value FROM server_keys WHERE name = $1"
MAKE_KEY = "INSERT INTO server_keys (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING"


async def shared(conn: Connection, name: str, candidate: bytes) -> bytes:
    """The value under a name. The first who asks makes it of his candidate, and all others get the same."""
    while (value := await conn.fetchval(READ_KEY, name)) is None:
        await conn.execute(MAKE_KEY, name, candidate)
    return value  # type: ignore[no-any-return]  # the driver has no types
