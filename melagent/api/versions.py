"""Versions and their deployment."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from pydantic import Field, model_validator

from melagent.api.context import PRINCIPAL, WEBHOOKS, services_of, uuid_in_path, webhook_url
from melagent.api.idempotency import fresh_id
from melagent.api.triggers import AddressAnswer
from melagent.api.wire import Answer, Body, Description, Name, Revision, answer
from melagent.domain.definition import Definition
from melagent.errors import NotFound
from melagent.services import rooms, versions

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.store.rows import Version

MAX_NUMBER = 2**31 - 1


class VersionsQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: int = Field(default=MAX_NUMBER, ge=0, le=MAX_NUMBER, description="`next_cursor` of the page before")


class NewVersion(Body):
    """Without a definition the version holds what the draft holds now, which must have reached `min_revision`."""

    name: Name
    description: Description = ""
    definition: Definition | None = None
    min_revision: Revision | None = None

    @model_validator(mode="after")
    def _only_a_draft_has_revisions(self) -> Self:
        if self.definition is not None and self.min_revision is not None:
            raise ValueError("min_revision is about the draft; it cannot be given with a definition")
        return self


class VersionAnswer(Answer):
    id: UUID
    workflow_id: UUID
    version_number: int
    name: str
    description: str
    definition: Definition
    created_by: str
    created_at: datetime
    is_current: bool


class DeployedAnswer(VersionAnswer):
    """`new_webhooks` are the addresses that this deploy made; those that were there before stay as they are."""

    new_webhooks: list[AddressAnswer]


class VersionsAnswer(Answer):
    versions: list[VersionAnswer]
    total: int
    next_cursor: int | None


async def list_versions(request: web.Request, query: VersionsQuery) -> web.Response:
    """The versions of a workflow, newest first."""
    pool, workflow_id = services_of(request).pool, uuid_in_path(request)
    found, total = await versions.page(pool, workflow_id, query.cursor, query.limit + 1)
    page = found[: query.limit]
    more = len(found) > len(page)
    return answer({"versions": page, "total": total, "next_cursor": page[-1].version_number if more else None})


async def create_version(request: web.Request, body: NewVersion) -> web.Response:
    """Make an immutable version. It is not deployed by that."""
    made = await versions.create(
        services_of(request).pool,
        uuid_in_path(request),
        name=body.name,
        description=body.description,
        definition=body.definition,
        created_by=request[PRINCIPAL].name,
        min_revision=body.min_revision,
        version_id=fresh_id(request),
    )
    return answer(made, 201)


async def get_version(request: web.Request) -> web.Response:
    """One version, by number, or `latest`, or `current`."""
    return answer(await _named_version(request))


async def deploy_version(request: web.Request) -> web.Response:
    """Make a version current and bring the triggers in line. An older version is a rollback."""
    services, named = services_of(request), await _named_version(request)
    deployed = await versions.deploy(services.pool, services.registry, services.vault, uuid_in_path(request), named)
    request.app[WEBHOOKS].forget()
    services.engine.triggers_changed()
    frame = {"type": "version_deployed", "version_number": deployed.version.version_number, "by": _caller(request)}
    rooms.happened(services.engine.broker, uuid_in_path(request), frame)
    new = [
        {"trigger_id": trigger_id, "node_id": node_id, "webhook_url": webhook_url(request, token)}
        for trigger_id, (node_id, token) in deployed.new_tokens.items()
    ]
    return answer(asdict(deployed.version) | {"new_webhooks": new})


def _caller(request: web.Request) -> dict[str, str]:
    return {"id": request[PRINCIPAL].id, "name": request[PRINCIPAL].name}


async def _named_version(request: web.Request) -> Version:
    pool, workflow_id, name = services_of(request).pool, uuid_in_path(request), request.match_info["n"]
    if name == "latest":
        return await versions.latest(pool, workflow_id)
    if name == "current":
        return await versions.current(pool, workflow_id)
    if not (name.isascii() and name.isdigit() and len(name) < 10):  # fits the column's 31 bits
        raise NotFound("There is no such version.")
    return await versions.get(pool, workflow_id, int(name))
