"""API keys and worker tokens, for administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from melagent.api.context import MADE, services_of, uuid_in_path
from melagent.api.wire import Answer, Body, Name, answer, first_page
from melagent.api.workflows import PageQuery
from melagent.domain.definition import Label
from melagent.errors import NotFound
from melagent.services.access import Role, create_key, create_worker_token, scopes_of
from melagent.services.rooms import access_changed
from melagent.store import tokens

if TYPE_CHECKING:
    from melagent.store.pool import Pool
    from melagent.store.rows import Token

UNCACHED = {"Cache-Control": "no-store"}


def _to_come(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input leads beyond the year 9999") from None
    if moment <= datetime.now(UTC):
        raise ValueError("Input should be a time to come")
    return moment


def _scope(text: str) -> str:
    return scopes_of([text]).texts[0]


ScopeText = Annotated[str, Field(max_length=100), AfterValidator(_scope)]


class TokensQuery(PageQuery):
    kind: Literal["api", "worker"] | None = None


class NewToken(Body):
    """An `api` key has a role, `editor` by default, and may do less than that: with the scope `execute` only start,
    watch and steer runs, with `workflow:<id>` only what belongs to these workflows. A `worker` token may bind its
    workers to labels.
    """

    kind: Literal["api", "worker"] = "api"
    name: Name
    role: Literal["admin", "editor", "viewer"] | None = None
    labels: tuple[Label, ...] = Field(default=(), max_length=20)
    scopes: tuple[ScopeText, ...] = Field(default=(), max_length=100)
    expires_at: Annotated[AwareDatetime, AfterValidator(_to_come)] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.kind == "worker" and self.role is not None:
            raise ValueError("a worker token has no role")
        if self.kind == "api" and self.labels:
            raise ValueError("only a worker token is bound to labels")
        if self.kind == "worker" and self.scopes:
            raise ValueError("only an API key has scopes")
        return self

    async def make(self, pool: Pool) -> tuple[Token, str]:
        async with pool.acquire() as conn:
            if self.kind == "worker":
                return await create_worker_token(conn, self.name, self.labels, self.expires_at)
            role = Role[(self.role or "editor").upper()]
            return await create_key(conn, self.name, role, self.expires_at, scopes_of(self.scopes))


class TokenAnswer(Answer):
    id: UUID
    kind: str
    role: str | None
    name: str
    labels: list[str]
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class MadeTokenAnswer(TokenAnswer):
    """`token` is in this answer and nowhere else."""

    token: str


class TokensAnswer(Answer):
    tokens: list[TokenAnswer]
    total: int
    next_cursor: UUID | None


async def list_tokens(request: web.Request, query: TokensQuery) -> web.Response:
    """API keys and worker tokens, newest first, revoked and expired ones included; never the tokens themselves."""
    async with services_of(request).pool.acquire() as conn:
        found = await tokens.page(conn, query.kind, query.cursor, query.limit + 1)
        total = await tokens.count(conn, query.kind)
    page, next_cursor = first_page(found, query.limit)
    return answer({"tokens": page, "total": total, "next_cursor": next_cursor})


async def create_token(request: web.Request, body: NewToken) -> web.Response:
    """Make an API key or a worker token. It is shown this once, so a repetition makes another one."""
    made, text = await body.make(services_of(request).pool)
    request[MADE] = made.id
    shown = {name: getattr(made, name) for name in TokenAnswer.model_fields}
    return answer({**shown, "token": text}, 201, UNCACHED)


async def revoke_token(request: web.Request) -> web.Response:
    """Take a token back; every instance refuses it within two seconds. One that was taken back is not found."""
    async with services_of(request).pool.acquire() as conn:
        if not await tokens.revoke(conn, uuid_in_path(request)):
            raise NotFound("There is no such token that is not revoked already.")
    access_changed(services_of(request).engine.broker)
    return web.Response(status=204)
