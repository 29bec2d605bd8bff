"""Authorizations that somebody has begun at a third party and that have not come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import value_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Begun:
    """An authorization by the hash of its state; `verifier` is sealed."""

    state: bytes
    connection_id: UUID
    verifier: bytes
    redirect_uri: str
    started_by: str


FORGET_STALE_STATES = "DELETE FROM oauth_states WHERE created_at < now() - make_interval(secs => $1)"

INSERT_STATE = """
INSERT INTO oauth_states (state, connection_id, verifier, redirect_uri, started_by) VALUES ($1, $2, $3, $4, $5)
"""


async def begin(conn: Connection, begun: Begun, stale_seconds: float) -> None:
    """Remember an authorization, and forget those that have not come back for so long."""
    await conn.execute(FORGET_STALE_STATES, stale_seconds)
    await conn.execute(
        INSERT_STATE, begun.state, begun.connection_id, begun.verifier, begun.redirect_uri, begun.started_by
    )


TAKE_STATE = """
DELETE FROM oauth_states WHERE state = $1 AND created_at >= now() - make_interval(secs => $2)
RETURNING state, connection_id, verifier, redirect_uri, started_by
"""


async def take(conn: Connection, state: bytes, stale_seconds: float) -> Begun | None:
    """The authorization with this state, once and never again; null when it is unknown, used or too old."""
    row = await conn.fetchrow(TAKE_STATE, state, stale_seconds)
    return value_of(Begun, row) if row else None
