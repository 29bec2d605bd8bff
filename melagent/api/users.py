"""People, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from melagent.api.context import MADE, SIGN_IN, services_of, uuid_in_path
from melagent.api.sign_in import Email, Password
from melagent.api.wire import Answer, Body, answer, first_page
from melagent.services import users as user_service
from melagent.services.access import Role
from melagent.services.rooms import access_changed
from melagent.services.users import Change
from melagent.services.workflows import found
from melagent.store import users

if TYPE_CHECKING:
    from melagent.api.workflows import PageQuery

RoleName = Literal["admin", "editor", "viewer"]
PersonName = Annotated[str, Field(max_length=200)]


class NewUser(Body):
    """Without a password the user signs in with OpenID Connect only."""

    email: Email
    name: PersonName = ""
    role: RoleName = "editor"
    password: Password | None = None


class UserChange(Body):
    """What is not given stays as it is. Another role or password, or to be disabled, ends all sessions of the user."""

    name: PersonName | None = None
    role: RoleName | None = None
    password: Password | None = None
    disabled: bool | None = None


class UserAnswer(Answer):
    id: UUID
    email: str
    name: str
    role: str
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None


class UsersAnswer(Answer):
    users: list[UserAnswer]
    total: int
    next_cursor: UUID | None


async def list_users(request: web.Request, query: PageQuery) -> web.Response:
    """Everybody, newest first, disabled ones included."""
    async with services_of(request).pool.acquire() as conn:
        listed = await users.page(conn, query.cursor, query.limit + 1)
        total = await users.count(conn)
    page, next_cursor = first_page(listed, query.limit)
    return answer({"users": page, "total": total, "next_cursor": next_cursor})


async def get_user(request: web.Request) -> web.Response:
    """One user."""
    async with services_of(request).pool.acquire() as conn:
        return answer(found(await users.find(conn, uuid_in_path(request)), "user"))


async def create_user(request: web.Request, body: NewUser) -> web.Response:
    """Make a user. An email has one user, so a repetition is a conflict."""
    role = Role[body.role.upper()]
    password_hash = await request.app[SIGN_IN].hashing.hashed(body.password) if body.password is not None else None
    async with services_of(request).pool.acquire() as conn:
        made = await user_service.add(conn, body.email, body.name, role, password_hash)
    request[MADE] = made.id
    return answer(made, 201)


async def change_user(request: web.Request, body: UserChange) -> web.Response:
    """Change a user's name, role or password, or keep the user out. The last administrator stays one."""
    user_id = uuid_in_path(request)
    password_hash = await request.app[SIGN_IN].hashing.hashed(body.password) if body.password is not None else None
    wanted = Change(body.name, Role[body.role.upper()] if body.role else None, password_hash, body.disabled)
    changed = await user_service.change(services_of(request).pool, user_id, wanted)
    access_changed(services_of(request).engine.broker)
    return answer(changed)


async def remove_user(request: web.Request) -> web.Response:
    """Delete a user for good; all sessions end. What the user made stays. The last administrator stays."""
    await user_service.remove(services_of(request).pool, uuid_in_path(request))
    access_changed(services_of(request).engine.broker)
    return web.Response(status=204)
