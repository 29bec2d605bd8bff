"""Tickets that open one socket each, by the SHA-256 of the ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection

INSERT_TICKET = """
INSERT INTO tickets (hash, kind, credential, expires_at) VALUES ($1, $2, $3, now() + make_interval(secs => $4))
"""


async def insert(conn: Connection, digest: bytes, kind: str, credential: bytes, seconds: float) -> None:
    await conn.execute(INSERT_TICKET, digest, kind, credential, seconds)


USE_TICKET = "DELETE FROM tickets WHERE hash = $1 RETURNING kind, credential, expires_at > now() AS good"


async def use(conn: Connection, digest: bytes) -> tuple[str, bytes] | None:
    """What a ticket stands for, once: null when there is none, it was used before, or has expired."""
    row = await conn.fetchrow(USE_TICKET, digest)
    return (row["kind"], row["credential"]) if row and row["good"] else None


SWEEP_TICKETS = "DELETE FROM tickets WHERE expires_at <= now()"


async def sweep(conn: Connection) -> None:
    await conn.execute(SWEEP_TICKETS)
