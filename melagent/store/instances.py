"""The instances that run now, each of which keeps its own row fresh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
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
INSERT INTO instances (id, role, version, host, pid, draining, load) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET draining = excluded.draining, load = excluded.load, last_seen_at = now()
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change of an instance while it runs."""

    id: str
    role: str
    version: str
    host: str
    pid: int


async def keep(conn: Connection, who: Identity, *, draining: bool, load: dict[str, Any]) -> None:
    """Say that an instance is there, and what it does."""
    text = orjson.dumps(load).decode()
    await conn.execute(KEEP_INSTANCE, who.id, who.role, who.version, who.host, who.pid, draining, text)


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
