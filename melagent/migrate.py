"""Migrations: apply, roll back, status. The only synchronous database code; async code calls it in a thread.

Any number of processes may call `up` at once. One session-level advisory lock decides who works, the others wait for
it and then find nothing left to do. Yoyo's own lock is a row, which survives a `kill -9` and would block everyone: who
holds the advisory lock knows that such a row is stale and clears it.

A migration and the note that it was applied are one transaction, on the session that holds the lock. So a process
killed at any moment leaves a migration either whole or absent, and the lock is free exactly when its last statement has
ended.
A migration marked `-- transactional: false` (for CREATE INDEX CONCURRENTLY) must be safe to run twice instead.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from melagent.errors import Conflict, Internal, TimedOut, Unavailable
from melagent.schema import folder, known_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yoyo.backends import DatabaseBackend
    from yoyo.migrations import Migration, MigrationList

Progress: TypeAlias = Callable[[str], None]

TABLE = "_yoyo_migration"
POLL_SECONDS = 0.1
CONNECT_SECONDS = 10

SESSION = """
SET lock_timeout = '5s';
SET client_connection_check_interval = '1s';
"""
"""A migration must not queue behind a long transaction with everybody else behind it, nor outlive its client."""

TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('melagent.migrate', 0))"
APPLIED = f"SELECT migration_id FROM {TABLE}"  # noqa: S608  # a constant
KNOWS_WEEKS = "SELECT to_regproc('create_week_partitions') IS NOT NULL"
KEEP_WEEKS = "SELECT create_week_partitions(now() - interval '7 days', 10)"


@dataclass(frozen=True, slots=True)
class Status:
    """Ids of migrations: `newer` ones were applied by a later version of the program, which is fine."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    newer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A migration that `up` would apply, with its SQL."""

    id: str
    sql: str


def status(dsn: str) -> Status:
    """What the database has and lacks. Raises Unavailable when it cannot be reached."""
    with _connect(dsn) as connection:
        return _status(connection)


def plan(dsn: str) -> list[Planned]:
    """What `up` would do, without doing it."""
    return [Planned(id, (folder() / f"{id}.sql").read_text()) for id in status(dsn).pending]


def up(dsn: str, on_progress: Progress = lambda _: None) -> tuple[str, ...]:
    """Apply all that is pending, and keep the weekly partitions ahead; the ids of what was applied.

    Raises Unavailable when the database cannot be reached, Internal when a migration fails: those before it stay.
    """
    with _connect(dsn) as connection:
        if not _status(connection).pending:
            _keep_partitions(connection)
            return ()
    with _locked(dsn, on_progress) as (backend, migrations):
        todo = backend.to_apply(migrations)
        for migration in todo:
            on_progress(f"Applying {migration.id}")
            _change(backend, migration, "apply")
        _keep_partitions(backend.connection)
        return tuple(migration.id for migration in todo)


def down(dsn: str, steps: int = 1, on_progress: Progress = lambda _: None) -> tuple[str, ...]:
    """Roll the last migrations back; their ids. Raises Conflict, having done nothing, when one of them cannot be."""
    with _locked(dsn, on_progress) as (backend, migrations):
        if newer := _status(backend.connection).newer:
            raise Conflict(f"{newer[-1]} was applied by a newer version of this program: roll back with that one.")
        todo = list(backend.to_rollback(migrations))[:steps]
        for migration in todo:
            if not Path(migration.path).with_suffix(".rollback.sql").exists():
                raise Conflict(f"{migration.id} has no rollback.")
        for migration in todo:
            on_progress(f"Rolling back {migration.id}")
            _change(backend, migration, "rollback")
        return tuple(migration.id for migration in todo)


def wait(dsn: str, timeout_seconds: float, until: Literal["reachable", "current"] = "current") -> None:
    """Return when the database can be reached, or when somebody has brought its schema up to date. Raises TimedOut."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            pending = status(dsn).pending
            if until == "reachable" or not pending:
                return
            reason = f"{len(pending)} migrations are pending"
        except Unavailable as error:
            reason = error.message
        if time.monotonic() > deadline:
            raise TimedOut(f"Waited {timeout_seconds:.0f} s for the database: {reason}")
        time.sleep(POLL_SECONDS)


def _connect(dsn: str, **options: Any) -> psycopg.Connection:
    try:
        return psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="mel-agent migrate", **options
        )
    except psycopg.Error as error:
        raise Unavailable(f"The database cannot be reached: {str(error).strip()}") from error


def _status(connection: psycopg.Connection) -> Status:
    known = known_ids()
    try:
        applied = {row[0] for row in connection.execute(APPLIED)}
    except psycopg.errors.UndefinedTable:
        applied = set()
    return Status(
        applied=tuple(id for id in known if id in applied),
        pending=tuple(id for id in known if id not in applied),
        newer=tuple(sorted(applied.difference(known))),
    )


def _keep_partitions(connection: psycopg.Connection) -> None:
    if connection.execute(KNOWS_WEEKS).fetchone() == (True,):
        connection.execute(KEEP_WEEKS)


@contextmanager
def _locked(dsn: str, on_progress: Progress) -> Iterator[tuple[DatabaseBackend, MigrationList]]:
    """Hold the lock, with a backend of yoyo on the session that holds it."""
    from yoyo.migrations import read_migrations  # noqa: PLC0415  # slow to import, and most starts have nothing to do

    with _connect(dsn) as connection:
        connection.execute(SESSION)
        _wait_for_lock(connection, on_progress)
        backend = _backend(connection, dsn)
        backend.create_lock_table()
        backend.break_lock()
        with backend.lock():
            yield backend, read_migrations(str(folder()))


def _wait_for_lock(connection: psycopg.Connection, on_progress: Progress) -> None:
    """Ask again and again: a session that waits inside a statement would block CREATE INDEX CONCURRENTLY for ever."""
    told = False
    while connection.execute(TRY_LOCK).fetchone() != (True,):
        if not told:
            on_progress("Waiting for another process to finish migrating")
            told = True
        time.sleep(POLL_SECONDS)


def _backend(connection: psycopg.Connection, dsn: str) -> DatabaseBackend:
    """Yoyo's backend for psycopg 3, on a connection that is already there."""
    from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend  # noqa: PLC0415  # as above
    from yoyo.connections import DatabaseURI  # noqa: PLC0415  # as above

    class SilentCursor(psycopg.Cursor[Any]):
        @property
        def description(self) -> None:
            """Nothing: yoyo prints the rows of a statement that has a description to standard output."""

    class Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo ships no types
        def connect(self, _: DatabaseURI) -> psycopg.Connection:
            connection.cursor_factory = SilentCursor
            return connection

        def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
            """Yoyo's own fails for a user id without a name, as containers have, and asks the network for ours."""
            return {
                "id": str(uuid4()),
                "migration_id": migration and migration.id,
                "migration_hash": migration and migration.hash,
                "username": connection.info.user,
                "hostname": socket.gethostname(),
                "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
                "operation": operation,
            }

    database = conninfo_to_dict(dsn).get("dbname")
    return Backend(DatabaseURI("postgresql+psycopg", None, None, None, None, database, {}), TABLE)


def _change(backend: DatabaseBackend, migration: Migration, direction: Literal["apply", "rollback"]) -> None:
    try:
        migration.load()
        if migration.use_transactions:
            with backend.transaction():
                migration.process_steps(backend, direction)
                _note(backend, migration, direction)
        else:
            migration.process_steps(backend, direction)
            with backend.transaction():
                _note(backend, migration, direction)
    except psycopg.Error as error:
        raise Internal(f"{migration.id} failed and changed nothing: {str(error).strip()}") from error


def _note(backend: DatabaseBackend, migration: Migration, direction: Literal["apply", "rollback"]) -> None:
    if direction == "apply":
        backend.mark_one(migration, log=False)
    else:
        backend.unmark_one(migration, log=False)
    backend.log_migration(migration, direction)
