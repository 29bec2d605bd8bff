"""Global variables, and those of workflows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from melagent.api.context import services_of
from melagent.api.wire import Answer, Body, answer, encode
from melagent.domain.variables import KEY_PATTERN, SCOPE_PATTERN
from melagent.services import variables

Scope = Annotated[str, Field(pattern=SCOPE_PATTERN, description="`global`, or the id of a workflow")]
Key = Annotated[str, Field(pattern=KEY_PATTERN)]
CURSOR_PATTERN = f"{SCOPE_PATTERN[:-1]}/{KEY_PATTERN[1:]}"


class VariablesQuery(Body):
    scope: Scope | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str = Field(default="/", pattern=f"^/$|{CURSOR_PATTERN}", description="`next_cursor` of the page before")


class NewVariable(Body):
    scope: Scope
    key: Key
    value: Any


class VariableValue(Body):
    value: Any


class VariableAnswer(Answer):
    """`revision` counts the changes since the variable was made."""

    scope: str
    key: str
    value: Any
    revision: int
    updated_at: datetime


class VariablesAnswer(Answer):
    variables: list[VariableAnswer]
    total: int
    next_cursor: str | None


async def list_variables(request: web.Request, query: VariablesQuery) -> web.Response:
    """Variables by scope and key. A page ends early when its values are large."""
    scope, _, key = query.cursor.partition("/")
    pool = services_of(request).pool
    listed, total, next_cursor = await variables.page(pool, query.scope, (scope, key), query.limit)
    return answer({"variables": listed, "total": total, "next_cursor": next_cursor})


async def create_variable(request: web.Request, body: NewVariable) -> web.Response:
    """Set a variable: 201 when it was made, 200 when it was there."""
    variable = await variables.put(services_of(request).pool, body.scope, body.key, encode(body.value))
    return answer(variable, 201 if variable.revision == 1 else 200)


async def get_variable(request: web.Request) -> web.Response:
    """One variable with its value."""
    return answer(await variables.get(services_of(request).pool, *_name(request)))


async def put_variable(request: web.Request, body: VariableValue) -> web.Response:
    """Set a variable, whether it is there or not."""
    return answer(await variables.put(services_of(request).pool, *_name(request), encode(body.value)))


async def delete_variable(request: web.Request) -> web.Response:
    """Delete a variable."""
    await variables.delete(services_of(request).pool, *_name(request))
    return web.Response(status=204)


def _name(request: web.Request) -> tuple[str, str]:
    return request.match_info["scope"], request.match_info["key"]
