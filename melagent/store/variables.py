"""The variables of all scopes. Every change is a command, executed by `apply` on rows that are locked.

Lock order: in a transaction that also locks runs, their rows come first (see `store.work`), then the variables by scope
and key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from melagent.domain.variables import (
    GLOBAL,
    MAX_IN_SCOPE,
    NO_VARIABLE,
    Refusal,
    VariableResult,
    Wanted,
    execute,
    well_named,
)
from melagent.errors import TooLarge
from melagent.store.rows import Variable, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.variables import VariableCommand
    from melagent.store.pool import Connection

Name = tuple[str, str]
"""Scope and key."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page ends early when its values are larger than this, after at least one variable."""

EVERYTHING = Wanted()

RUN_BYTES = 16 * 1024 * 1024
"""What the variables that one run is given may have in all."""

LIST_VARIABLES = """
SELECT scope, key, revision, updated_at,
       CASE WHEN total <= $6 OR total = octet_length(value) THEN value END AS value
  FROM (SELECT scope, key, revision, updated_at, value, sum(octet_length(value)) OVER (ORDER BY scope, key) AS total
          FROM (SELECT scope, key, revision, updated_at, value FROM variables
                 WHERE scope BETWEEN $1 AND $2 AND (scope, key) > ($3, $4)
                 ORDER BY scope, key LIMIT $5) AS next) AS counted
 ORDER BY scope, key
"""


async def page(conn: Connection, scope: str | None, after: Name, limit: int) -> tuple[list[Variable], bool]:
    """The variables of a scope, or of all, that follow `after`, by scope and key; and whether there are more."""
    rows = await conn.fetch(LIST_VARIABLES, *_range(scope), *after, limit + 1, PAGE_BYTES)
    shown = [value_of(Variable, row) for row in rows[:limit] if row["value"] is not None]
    return shown, len(shown) < len(rows)


COUNT_VARIABLES = "SELECT count(*) FROM variables WHERE scope BETWEEN $1 AND $2"


async def count(conn: Connection, scope: str | None) -> int:
    return int(await conn.fetchval(COUNT_VARIABLES, *_range(scope)))


def _range(scope: str | None) -> tuple[str, str]:
    """The first and the last scope to look at, so that a plan that is made once reads only these."""
    return (scope, scope) if scope is not None else ("", "~")


FIND_VARIABLE = "SELECT scope, key, value, revision, updated_at FROM variables WHERE scope = $1 AND key = $2"


async def find(conn: Connection, scope: str, key: str) -> Variable | None:
    row = await conn.fetchrow(FIND_VARIABLE, scope, key)
    return value_of(Variable, row) if row else None


VARIABLES_OF_RUN = """
SELECT key, CASE WHEN sum(octet_length(value)) OVER () <= $4 THEN value END AS value
  FROM variables
 WHERE scope = ANY($1::text[]) AND ($2::text[] IS NULL OR key = ANY($2)) AND starts_with(key, $3)
 ORDER BY scope <> 'global', key
"""


async def of_run(conn: Connection, workflow_id: UUID | None, wanted: Wanted = EVERYTHING) -> dict[str, bytes]:
    """The JSON text of wanted variables as a run of this workflow sees them, but for those of the run itself.

    A variable of the workflow hides the global one of the same key. Raises TooLarge above 16 MiB in all, having loaded
    nothing: whoever can, names the keys.
    """
    own = [] if workflow_id is None else [str(workflow_id)]
    scopes = {None: [GLOBAL, *own], GLOBAL: [GLOBAL], "workflow": own}.get(wanted.scope, [])
    keys = None if wanted.keys is None else list(wanted.keys)
    rows = await conn.fetch(VARIABLES_OF_RUN, scopes, keys, wanted.prefix, RUN_BYTES)
    if rows and rows[0]["value"] is None:
        raise TooLarge(f"The variables that this run sees have more than {RUN_BYTES:,} bytes in all.")
    return {row["key"]: row["value"] for row in rows}


# One pass in the order of the names, row by row: what is there is locked, what is not is made, and whoever makes or
# holds the same is waited for. (To look first and to insert then would be two passes: rows come and go between them.)
LOCK_VARIABLES = """
INSERT INTO variables (scope, key, value, revision)
SELECT scope, key, ''::bytea, 0 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS named (scope, key, place)
 ORDER BY place
ON CONFLICT ON CONSTRAINT variables_pkey DO UPDATE SET revision = variables.revision WHERE false
"""
READ_VARIABLES = """
SELECT v.scope, v.key, v.value, v.revision
  FROM variables v JOIN unnest($1::text[], $2::text[]) AS n (scope, key) ON v.scope = n.scope AND v.key = n.key
"""
COUNT_BY_SCOPE = "SELECT scope, count(*) FROM variables WHERE scope = ANY($1::text[]) GROUP BY scope"
WRITE_VARIABLES = """
WITH kept AS (
    UPDATE variables v SET value = new.value, revision = new.revision, updated_at = now()
      FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS new (scope, key, value, revision)
     WHERE v.scope = new.scope AND v.key = new.key
)
DELETE FROM variables v USING unnest($5::text[], $6::text[]) AS gone (scope, key)
 WHERE v.scope = gone.scope AND v.key = gone.key
"""


async def apply(conn: Connection, commands: Sequence[VariableCommand]) -> list[VariableResult]:
    """Execute commands in their order, within the caller's transaction; what became of each.

    They happen with the transaction or not at all, and nobody else changes the same variables before it ends. A command
    that cannot be done is refused by itself: it changes nothing, raises nothing, and the others are executed. Two
    transactions that apply once each never wait for each other in a circle, whatever their commands name.

    A scope that is full refuses new variables. Transactions that run at the same time do not see each other's new ones,
    so that together they may go beyond the limit by these.
    """
    if not conn.is_in_transaction():
        raise AssertionError("rows are made to be locked; without a transaction others would see them")
    names = sorted({(command.scope, command.key) for command in commands if well_named(command)})
    before = await _locked(conn, names)
    room = await _room(conn, before)
    now = dict(before)
    results = [_execute(command, now, room) for command in commands]
    await _write(conn, before, now)
    return results


def _execute(command: VariableCommand, now: dict[Name, VariableResult], room: dict[str, int]) -> VariableResult:
    """Execute one command on the variables as they are `now`, and note what it changed."""
    name = (command.scope, command.key)
    if name not in now:
        return VariableResult(None, 0, Refusal.BAD_NAME)
    present = now[name]
    result = execute(command, present)
    more = (result.value is not None) - (present.value is not None)
    if more > 0 and room[command.scope] < 1:
        return VariableResult(None, 0, Refusal.TOO_MANY)
    if result.ok:
        now[name] = result
        room[command.scope] -= more
    return result


async def _locked(conn: Connection, names: Sequence[Name]) -> dict[Name, VariableResult]:
    """The variables of these names, each locked until the transaction ends, whether it is there or not."""
    if not names:
        return {}
    columns = [scope for scope, _ in names], [key for _, key in names]
    await conn.execute(LOCK_VARIABLES, *columns)
    rows = await conn.fetch(READ_VARIABLES, *columns)
    return {
        (row["scope"], row["key"]): VariableResult(row["value"], row["revision"]) if row["revision"] else NO_VARIABLE
        for row in rows
    }


async def _room(conn: Connection, locked: dict[Name, VariableResult]) -> dict[str, int]:
    """How many more variables each scope may have. Only scopes that may get one are counted; rows just made are not."""
    missing = [scope for (scope, _), present in locked.items() if present.value is None]
    room = {scope: MAX_IN_SCOPE for scope, _ in locked}
    if missing:
        for row in await conn.fetch(COUNT_BY_SCOPE, sorted(set(missing))):
            room[row["scope"]] += missing.count(row["scope"]) - row["count"]
    return room


async def _write(conn: Connection, before: dict[Name, VariableResult], now: dict[Name, VariableResult]) -> None:
    """Write what the commands made of the locked rows, and take away those that stand for no variable."""
    kept = [
        (*name, after.value, after.revision) for name, after in now.items() if after.value and after != before[name]
    ]
    gone = [name for name, after in now.items() if after.value is None]
    if kept or gone:
        await conn.execute(WRITE_VARIABLES, *_columns(kept, 4), *_columns(gone, 2))


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(width)]


DROP_VARIABLES_OF_DELETED = """
WITH doomed AS (
    SELECT v.scope, v.key FROM variables v JOIN workflows w ON w.id::text = v.scope
     WHERE w.deleted_at IS NOT NULL
     ORDER BY v.scope, v.key FOR UPDATE OF v
)
DELETE FROM variables v USING doomed d WHERE v.scope = d.scope AND v.key = d.key
"""


async def drop_of_deleted(conn: Connection) -> None:
    """Delete the variables of all workflows that are deleted, those that a run made after the deletion included."""
    await conn.execute(DROP_VARIABLES_OF_DELETED)
