"""Weeks whose history need not be kept any longer: which they are, and the statements that drop their tables.

A week is named as in its tables' names, `2026w07`. Each of its tables goes in three statements, any of which may be the
last of a process: it is marked, detached from its parent without holding up anybody, and dropped. The mark tells a
table that was left in between from one that somebody detached by hand to keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from melagent.errors import Unavailable
from melagent.store.ids import first_id_at

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.store.pool import Connection

MARK = "melagent: to be dropped, its history need not be kept any longer"

CLAIM_PRUNING = "SELECT pg_try_advisory_lock(hashtextextended('melagent.pruner', 0))"
SESSION = """
SET lock_timeout = '3s';
SET statement_timeout = '30s';
SET idle_session_timeout = '60s';
SET client_connection_check_interval = '1s'
"""


async def claim(conn: Connection) -> bool:
    """Be the one who drops tables, for as long as this session lasts; false when somebody else is.

    No lock that dropping takes is waited for longer than 3 s. A process that is frozen or was killed loses its claim
    within a minute. Raises Unavailable behind a pooler, which would keep the claim when this session has ended.
    """
    if await conn.fetchval("SELECT pg_backend_pid()") != conn.get_server_pid():
        raise Unavailable("Old weeks are dropped in a session of its own: behind a pooler, set DATABASE_DIRECT_URL.")
    await conn.execute(SESSION)
    return bool(await conn.fetchval(CLAIM_PRUNING))


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a week. `pending`: to detach it was begun, and is under way or was interrupted."""

    parent: str
    name: str
    attached: bool
    pending: bool
    marked: bool

    @property
    def week(self) -> str:
        return self.name[-7:]


# By parent from runs to steps and payloads, which is also the order of detaching: a run is gone before its steps are.
LIST_TABLES = """
SELECT split_part(c.relname, '_', 1) AS parent, c.relname::text AS name, i.inhrelid IS NOT NULL AS attached,
       coalesce(i.inhdetachpending, false) AS pending,
       obj_description(c.oid, 'pg_class') IS NOT DISTINCT FROM $1 AS marked
  FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
 WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'runs'::regclass)
   AND c.relname ~ '^(runs|steps|payloads)_[0-9]{4}w[0-9]{2}$' AND ($2::text IS NULL OR right(c.relname, 7) = $2)
 ORDER BY array_position(ARRAY['runs', 'steps', 'payloads'], split_part(c.relname, '_', 1)), c.relname
"""


async def tables(conn: Connection, week: str | None = None) -> list[Table]:
    """The tables of one week, or of all, in the order of detaching."""
    return [Table(**row) for row in await conn.fetch(LIST_TABLES, MARK, week)]


@dataclass(frozen=True, slots=True)
class Week:
    """A week to be dropped, and how many of its runs have not ended. `begun`: one of its tables was left half-way."""

    name: str
    live: int
    begun: bool


HORIZON = "SELECT now() - make_interval(days => $1)"


async def expired(conn: Connection, days: int) -> list[Week]:
    """The weeks that lie wholly before `days` days ago by the database's clock, the oldest first. With 0 there is none.

    A week that somebody began to drop is among them in any case.
    """
    horizon: datetime = await conn.fetchval(HORIZON, days)
    begun: dict[str, bool] = {}
    for table in await tables(conn):
        half_way = table.marked and (table.pending or not table.attached)
        if half_way or (days and table.attached and _monday(table.week) + timedelta(days=7) <= horizon):
            begun[table.week] = begun.get(table.week, False) or half_way
    return [Week(name, await live_runs(conn, name), begun[name]) for name in sorted(begun)]


COUNT_LIVE_RUNS_BETWEEN = """
SELECT (SELECT count(*) FROM work_items WHERE run_id >= $1 AND run_id < $2)
     + (SELECT count(*) FROM parked WHERE run_id >= $1 AND run_id < $2)
"""


async def live_runs(conn: Connection, week: str) -> int:
    """How many runs of a week have not ended."""
    return int(await conn.fetchval(COUNT_LIVE_RUNS_BETWEEN, *ids_of(week)))


def ids_of(week: str) -> tuple[UUID, UUID]:
    """The first id of a week, and the first one after it."""
    monday = _monday(week)
    return first_id_at(monday), first_id_at(monday + timedelta(days=7))


def _monday(week: str) -> datetime:
    return datetime.fromisocalendar(int(week[:4]), int(week[5:]), 1).replace(tzinfo=UTC)


COMMENT_ON = "COMMENT ON TABLE {name} IS {text}"
DETACH = "ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY"
FINISH_DETACHING = "ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE"


async def detach(conn: Connection, table: Table) -> None:
    """Mark a table and detach it, from wherever that stands. Must not be called in a transaction.

    Statements that use the parent are not held up: those under way are waited for, later ones no longer see the table.
    """
    if table.pending:
        await conn.execute(FINISH_DETACHING.format(parent=table.parent, name=table.name))
    elif table.attached:
        await conn.execute(COMMENT_ON.format(name=table.name, text=f"'{MARK}'"))
        await conn.execute(DETACH.format(parent=table.parent, name=table.name))


ATTACH = "ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')"


async def attach(conn: Connection, table: Table) -> None:
    """Undo `detach`."""
    first, end = ids_of(table.week)
    await conn.execute(ATTACH.format(parent=table.parent, name=table.name, first=first, end=end))
    await conn.execute(COMMENT_ON.format(name=table.name, text="NULL"))


DROP = "DROP TABLE {name}"


async def drop(conn: Connection, table: Table) -> None:
    """Drop a table that has been detached."""
    await conn.execute(DROP.format(name=table.name))
