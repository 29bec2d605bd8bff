"""Variables as people see and change them. Runs change them by the same commands, together with their steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.domain.variables import (
    GLOBAL,
    KEY_PATTERN,
    SCOPE_PATTERN,
    Refusal,
    VariableCommand,
    VariableOperation,
)
from melagent.errors import BadRequest, Conflict, MelError, NotFound, Problem, TooLarge
from melagent.services.workflows import found
from melagent.store import variables, workflows
from melagent.store.pool import transaction

if TYPE_CHECKING:
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Variable


async def page(
    pool: Pool, scope: str | None, after: tuple[str, str], limit: int
) -> tuple[list[Variable], int, str | None]:
    """The variables that follow `after`, how many there are in all, and the cursor of the next page if there is one."""
    async with pool.acquire() as conn:
        if scope is not None:
            await _check(conn, scope)
        listed, more = await variables.page(conn, scope, after, limit)
        return listed, await variables.count(conn, scope), f"{listed[-1].scope}/{listed[-1].key}" if more else None


async def get(pool: Pool, scope: str, key: str) -> Variable:
    async with pool.acquire() as conn:
        await _check(conn, scope)
        return await _find(conn, scope, key)


async def put(pool: Pool, scope: str, key: str, value: bytes) -> Variable:
    """Set a variable, which is made if it is not there: its revision is then 1."""
    async with transaction(pool) as conn:
        await _check(conn, scope)
        (result,) = await variables.apply(conn, [VariableCommand(scope, key, VariableOperation.SET, value)])
        if result.refusal:
            raise _error(result.refusal)
        return await _find(conn, scope, key)


async def delete(pool: Pool, scope: str, key: str) -> None:
    async with transaction(pool) as conn:
        await _check(conn, scope)
        await _find(conn, scope, key)
        await variables.apply(conn, [VariableCommand(scope, key, VariableOperation.DELETE)])


async def _check(conn: Connection, scope: str) -> None:
    """NotFound unless the scope is `global` or a workflow.

    The workflow is not locked: a run that holds one of its variables may be waiting for it. What is set while the
    workflow is being deleted may stay until the next workflow is (see `drop_of_deleted`).
    """
    if not re.fullmatch(SCOPE_PATTERN, scope):
        raise NotFound(f"There is no scope {scope[:100]!r}: it is `global` or the id of a workflow.")
    if scope != GLOBAL:
        found(await workflows.find(conn, UUID(scope)), "workflow")


async def _find(conn: Connection, scope: str, key: str) -> Variable:
    known = await variables.find(conn, scope, key) if re.fullmatch(KEY_PATTERN, key) else None
    return found(known, "variable")


def _error(refusal: Refusal) -> MelError:
    """What a refused `set` is to its caller."""
    if refusal is Refusal.TOO_LARGE:
        return TooLarge(refusal.reason)
    if refusal is Refusal.TOO_MANY:
        return Conflict(refusal.reason)
    return BadRequest(details=[Problem("key", refusal.reason)])
