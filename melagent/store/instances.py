"""The instances that run now, each of which keeps its own row fresh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance. `load` is what it last said of itself; `silent_seconds` is the time since then."""

    id: str
    role: str
    version: str
    host: str
    pid: int
    draining: bool
    started_at: datetime
    last_seen_at: datetime
    load: dict[str, Any]
    silent_seconds: float


KEEP_INSTANCE = """
INSERT INTO instances (id, role, version, host, pid, draining, load, key_ids) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE
   SET draining = excluded.draining, load = excluded.load, key_ids = excluded.key_ids, last_seen_at = now()
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change of an instance while it runs."""

    id: str
    role: str
    version: str
    host: str
    pid: int


async def keep(
    conn: Connection, who: Identity, *, draining: bool, load: dict[str, Any], key_ids: Sequence[str] = ()
) -> None:
    """Say that an instance is there, what it does, and which encryption keys it has."""
    text, known = orjson.dumps(load).decode(), list(key_ids)
    await conn.execute(KEEP_INSTANCE, who.id, who.role, who.version, who.host, who.pid, draining, text, known)


KEYS_OF_INSTANCES = "SELECT key_ids FROM instances"


async def key_ids(conn: Connection) -> list[list[str]]:
    """The encryption keys that each instance has, by their ids; the first is the one that it seals with."""
    return [row["key_ids"] for row in await conn.fetch(KEYS_OF_INSTANCES)]


REMOVE_INSTANCE = "DELETE FROM instances WHERE id = $1"


async def remove(conn: Connection, instance_id: str) -> None:
    await conn.execute(REMOVE_INSTANCE, instance_id)


REMOVE_SILENT_INSTANCES = "DELETE FROM instances WHERE last_seen_at < now() - make_interval(secs => $1)"


async def remove_silent(conn: Connection, seconds: float) -> None:
    """Forget instances that have said nothing for so long."""
    await conn.execute(REMOVE_SILENT_INSTANCES, seconds)


LIST_INSTANCES = """
SELECT id, role, version, host, pid, draining, started_at, last_seen_at, load,
       extract(epoch FROM now() - last_seen_at)::float8 AS silent_seconds
  FROM instances ORDER BY started_at, id
"""


async def list_all(conn: Connection) -> list[Instance]:
    return [Instance(**{**row, "load": orjson.loads(row["load"])}) for row in await conn.fetch(LIST_INSTANCES)]
