"""The triggers of deployed versions, and those that were made by hand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from melagent.api.context import PRINCIPAL, WEBHOOKS, services_of, uuid_in_path, webhook_url
from melagent.api.idempotency import fresh_id
from melagent.api.runs import run_answer
from melagent.api.wire import Answer, Body, Name, answer, first_page
from melagent.api.workflows import PageQuery
from melagent.services import webhook_tokens
from melagent.services.access import Role
from melagent.services.triggers import Change, NewTrigger, Triggers
from melagent.store import triggers

if TYPE_CHECKING:
    from melagent.store.rows import ListedTrigger


class TriggersQuery(PageQuery):
    workflow_id: UUID | None = None


class NewTriggerBody(Body):
    """It starts whichever version of the workflow is deployed, and waits while none is."""

    name: Name
    type: Literal["schedule", "webhook"]
    workflow_id: UUID
    config: dict[str, Any] = Field(default_factory=dict, description="The parameters of the node of this type")
    enabled: bool = True


class TriggerChange(Body):
    """Only what is given changes. A trigger of a node can be paused and resumed; the rest follows the version."""

    name: Name | None = None
    config: dict[str, Any] | None = None
    enabled: bool | None = None


class FireBody(Body):
    input: Any = None


class TriggerAnswer(Answer):
    """`webhook_url` is there only for those who may edit, and where there is an encryption key.

    Without one it is in the answer to the call that made the trigger, and in no repetition of it: when that answer was
    lost, renew the address. `last_fired_at` of webhooks is not kept.
    """

    id: UUID
    name: str
    type: str
    workflow_id: UUID
    workflow_name: str
    node_id: str | None
    config: dict[str, Any]
    enabled: bool
    webhook_url: str | None = None
    next_fire_at: datetime | None
    last_fired_at: datetime | None
    created_at: datetime
    updated_at: datetime


class AddressAnswer(Answer):
    """An address that is new. Without an encryption key it is shown here and never again."""

    trigger_id: UUID
    node_id: str
    webhook_url: str


class TriggersAnswer(Answer):
    triggers: list[TriggerAnswer]
    total: int
    next_cursor: UUID | None


async def list_triggers(request: web.Request, query: TriggersQuery) -> web.Response:
    """The triggers that deployed versions have armed, and those made by hand, newest first."""
    async with services_of(request).pool.acquire() as conn:
        found = await triggers.page(conn, query.workflow_id, query.cursor, query.limit + 1)
        total = await triggers.count(conn, query.workflow_id)
    page, next_cursor = first_page(found, query.limit)
    shown = [_shown(request, trigger) for trigger in page]
    return answer({"triggers": shown, "total": total, "next_cursor": next_cursor})


async def create_trigger(request: web.Request, body: NewTriggerBody) -> web.Response:
    """Make a trigger by hand."""
    new = NewTrigger(fresh_id(request), body.workflow_id, body.type, body.name, body.config, body.enabled)
    made, token = await _triggers(request).create(new)
    shown = _shown(request, made)
    return answer(shown if token is None else shown | {"webhook_url": webhook_url(request, token)}, 201)


async def address_again(request: web.Request, trigger_id: UUID) -> str | None:
    """The address of a webhook that was made before, for those who may edit; null when it cannot be shown."""
    services = services_of(request)
    async with services.pool.acquire() as conn:
        made = await triggers.find(conn, trigger_id)
    token = webhook_tokens.token_of(services.vault, made) if made else None
    return None if token is None else webhook_url(request, token)


async def get_trigger(request: web.Request) -> web.Response:
    """One trigger."""
    return answer(_shown(request, await _triggers(request).get(uuid_in_path(request))))


async def change_trigger(request: web.Request, body: TriggerChange) -> web.Response:
    """Change a trigger, pause it or resume it."""
    change = Change(body.name, body.config, body.enabled)
    changed = await _triggers(request).change(uuid_in_path(request), change)
    request.app[WEBHOOKS].forget()
    return answer(_shown(request, changed))


async def delete_trigger(request: web.Request) -> web.Response:
    """Delete a trigger that was made by hand."""
    await _triggers(request).delete(uuid_in_path(request))
    request.app[WEBHOOKS].forget()
    return web.Response(status=204)


async def fire_trigger(request: web.Request, body: FireBody) -> web.Response:
    """Start what a trigger starts, now; 202 with the run."""
    run_id = fresh_id(request)
    await _triggers(request).fire(uuid_in_path(request), run_id, body.input)
    return await run_answer(request, run_id, 202)


def _triggers(request: web.Request) -> Triggers:
    services = services_of(request)
    return Triggers(services.pool, services.engine, services.registry, services.vault)


def _shown(request: web.Request, trigger: ListedTrigger) -> dict[str, Any]:
    shown = {
        "id": trigger.id,
        "name": trigger.name,
        "type": trigger.type,
        "workflow_id": trigger.workflow_id,
        "workflow_name": trigger.workflow_name,
        "node_id": trigger.node_id,
        "config": trigger.config,
        "enabled": trigger.enabled,
        "next_fire_at": trigger.next_fire_at,
        "last_fired_at": trigger.last_fired_at,
        "created_at": trigger.created_at,
        "updated_at": trigger.updated_at,
    }
    if request[PRINCIPAL].role >= Role.EDITOR:
        token = webhook_tokens.token_of(services_of(request).vault, trigger)
        if token is not None:
            shown["webhook_url"] = webhook_url(request, token)
    return shown
