"""Authorizations that somebody has begun at a third party and that have not come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.store.rows import value_of

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.audit import ActorKind
    from melagent.store.pool import Connection


STALE_SECONDS = 600.0
"""How long a person may take to sign in."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An authorization by the hash of its state; `verifier` is sealed.

    `client` is a hash of what was agreed to, `browser` one of what the browser knows that began it; null when no
    browser is known. `started_by` is the name of the actor.
    """

    id: UUID
    state: bytes
    connection_id: UUID
    verifier: bytes
    client: bytes
    browser: bytes | None
    redirect_uri: str
    actor_kind: ActorKind
    actor_id: str | None
    started_by: str | None


FORGET_STALE_STATES = "DELETE FROM oauth_states WHERE created_at < now() - make_interval(secs => $1)"


async def forget_stale(conn: Connection) -> None:
    """Forget those that have not come back in time."""
    await conn.execute(FORGET_STALE_STATES, STALE_SECONDS)


INSERT_STATE = """
INSERT INTO oauth_states
       (id, state, connection_id, verifier, client, browser, redirect_uri, actor_kind, actor_id, started_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


async def insert(conn: Connection, begun: Begun) -> None:
    await conn.execute(
        INSERT_STATE,
        begun.id,
        begun.state,
        begun.connection_id,
        begun.verifier,
        begun.client,
        begun.browser,
        begun.redirect_uri,
        begun.actor_kind,
        begun.actor_id,
        begun.started_by,
    )


TAKE_STATE = """
DELETE FROM oauth_states WHERE state = $1 AND created_at >= now() - make_interval(secs => $2)
RETURNING id, state, connection_id, verifier, client, browser, redirect_uri, actor_kind, actor_id, started_by
"""


async def take(conn: Connection, state: bytes) -> Begun | None:
    """The authorization with this state, once and never again; null when it is unknown, used or too old."""
    row = await conn.fetchrow(TAKE_STATE, state, STALE_SECONDS)
    return value_of(Begun, row) if row else None
