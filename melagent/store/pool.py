"""The connection pool, and transactions that cannot hold their locks for ever."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy  # noqa: TC002  # the alias below is read at run time

from melagent.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

log = structlog.get_logger()

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"

CONNECTION_LOST: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # raised when the server ends the session while a statement is being sent
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    ConnectionError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the server is away or ends the session; whether a commit took place is then unknown."""

MAY_PASS: tuple[type[BaseException], ...] = (*CONNECTION_LOST, asyncpg.PostgresError)
"""After these a repeatable statement is tried again: a deadlock, a full disk, a fail-over, a lost connection."""

BAD_DATA: tuple[type[BaseException], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.CardinalityViolationError,  # one row twice in an upsert
    asyncpg.ProgramLimitExceededError,
    asyncpg.exceptions.CharacterNotInRepertoireError,
)
"""The statement can never succeed with these values."""

GIVE_BACK_SECONDS = 5.0
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of one process. `max_open` counts all its connections, the broker's own one included.

    `prepared_statements`: `auto` means on, but off where a pooler stands between us and the server. Not every pooler
    keeps them; with one that does, `on` is faster.
    """

    max_open: int = 25
    max_idle: int = 10
    max_lifetime_seconds: float = 300.0
    max_idle_seconds: float = 120.0
    prepared_statements: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        if self.max_open < 3:  # the broker's, and two lanes of writes
            raise ValueError("at least 3 connections are needed")


async def trim(pool: Pool, max_idle: int) -> int:
    """Close idle connections above `max_idle`; how many. asyncpg itself only knows an idle time.

    The pool lends what came back last. Those that were used longest ago are closed, and the places that they leave come
    back before the others do: on a new connection every statement has to be prepared, which takes many milliseconds.
    There is no farewell, during which nobody else would get one of them: the server does not mind in an idle session.
    """
    if pool.get_idle_size() <= max_idle:
        return 0
    idle: list[Connection] = []
    try:
        while pool.get_idle_size():
            idle.append(await pool.acquire())
        for connection in idle[max_idle:]:
            connection.terminate()
        return len(idle[max_idle:])
    finally:  # also when the server went away meanwhile: whoever does not give a connection back has taken its place
        for connection in (*idle[max_idle:], *reversed(idle[:max_idle])):
            await pool.release(connection)


async def _no_reset(_connection: Connection) -> None:
    """Nothing in this program changes a pooled session, so giving a connection back costs no round trip."""


async def _keep_plans(connection: Connection) -> None:
    """Set what keeps statements fast: no JIT for short statements over many partitions, and plans made once."""
    await connection.execute("SET jit = off; SET plan_cache_mode = force_generic_plan")


class Lent(asyncpg.Connection):  # type: ignore[misc]  # the driver ships no types
    """A connection through a pooler, which lends us a connection of the server for one transaction at a time.

    The driver sends a statement in two steps and ends the transaction with the second. When it gives up between them,
    because a value cannot be encoded or the task was cancelled, the loan would last until the next statement.
    """

    async def fetch(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._and_give_back(super().fetch(query, *values, **options))

    async def fetchrow(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._and_give_back(super().fetchrow(query, *values, **options))

    async def fetchval(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._and_give_back(super().fetchval(query, *values, **options))

    async def execute(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._and_give_back(super().execute(query, *values, **options))

    async def _and_give_back(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except BaseException:
            if not self.is_closed() and not self.is_in_transaction():  # whoever began a transaction ends it
                with suppress(*MAY_PASS):
                    await super().execute("SELECT 1", timeout=GIVE_BACK_SECONDS)
            raise


def _unreachable(error: BaseException) -> Unavailable:
    return Unavailable(f"The database cannot be reached: {str(error) or 'it does not answer'}")


async def _is_lent(dsn: str) -> bool:
    """Whether a pooler answers in the server's place: it tells another process id than the server itself."""
    async with single_connection(dsn) as connection:
        return bool(await connection.fetchval("SELECT pg_backend_pid()", timeout=10) != connection.get_server_pid())


async def create_pool(dsn: str, limits: PoolLimits | None = None) -> Pool:
    """Open a pool. Raises Unavailable when the database cannot be reached."""
    limits = limits or PoolLimits()
    size = limits.max_open - 1
    try:
        lent = limits.prepared_statements == "off" or await _is_lent(dsn)
        prepared = limits.prepared_statements == "on" or not lent
        if lent and limits.prepared_statements == "auto":
            log.info("pooler found, statements are not prepared", setting="DB_PREPARED_STATEMENTS")
        return await asyncpg.create_pool(
            dsn,
            min_size=min(2, size),
            max_size=size,
            max_inactive_connection_lifetime=limits.max_idle_seconds,
            statement_cache_size=200 if prepared else 0,
            connection_class=Lent if lent else asyncpg.Connection,
            command_timeout=60,
            timeout=10,
            init=None if lent else _keep_plans,  # a session that is lent is not ours to change
            reset=_no_reset,
        )
    except CONNECTION_LOST as error:
        raise _unreachable(error) from error


@asynccontextmanager
async def single_connection(dsn: str) -> AsyncIterator[Connection]:
    """One connection for a command. Raises Unavailable when the database cannot be reached or was never migrated."""
    try:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            dsn, timeout=10, command_timeout=60, statement_cache_size=0
        )
    except CONNECTION_LOST as error:
        raise _unreachable(error) from error
    try:
        yield connection
    except asyncpg.UndefinedTableError as error:
        raise Unavailable("The database has no schema yet; `server migrate` makes it.") from error
    finally:
        with suppress(*CONNECTION_LOST):
            await connection.close(timeout=CLOSE_SECONDS)


GUARDS = """
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '5s';
SET LOCAL idle_in_transaction_session_timeout = '5s'
"""


@asynccontextmanager
async def guarded(connection: Connection) -> AsyncIterator[Connection]:
    """A transaction whose locks end after at most 5 s, even when this process is stopped in the middle of it."""
    async with connection.transaction():
        await connection.execute(GUARDS)
        yield connection


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A guarded transaction on a connection of the pool."""
    async with pool.acquire() as connection, guarded(connection):
        yield connection
