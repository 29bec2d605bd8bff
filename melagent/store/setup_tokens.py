"""Links with which the first administrator is made, by the SHA-256 of their token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melagent.store.pool import Connection

INSERT_SETUP = "INSERT INTO setup_tokens (hash, expires_at) VALUES ($1, now() + make_interval(secs => $2))"


async def insert(conn: Connection, digest: bytes, seconds: float) -> None:
    await conn.execute(INSERT_SETUP, digest, seconds)


SETUP_IS_GOOD = "SELECT EXISTS (SELECT FROM setup_tokens WHERE hash = $1 AND expires_at > now())"


async def is_good(conn: Connection, digest: bytes) -> bool:
    return bool(await conn.fetchval(SETUP_IS_GOOD, digest))


DELETE_SETUPS = "DELETE FROM setup_tokens"


async def delete_all(conn: Connection) -> None:
    await conn.execute(DELETE_SETUPS)


SWEEP_SETUPS = "DELETE FROM setup_tokens WHERE expires_at <= now()"


async def sweep(conn: Connection) -> None:
    await conn.execute(SWEEP_SETUPS)
