"""The triggers of deployed versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from melagent.api.context import PRINCIPAL, services_of, webhook_url
from melagent.api.wire import Answer, answer
from melagent.api.workflows import PageQuery
from melagent.services import webhook_tokens
from melagent.services.access import Role
from melagent.store import triggers

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.store.rows import WorkflowTrigger


class TriggersQuery(PageQuery):
    workflow_id: UUID | None = None


class TriggerAnswer(Answer):
    """`webhook_url` is there only for those who may edit, and where there is an encryption key."""

    id: UUID
    name: str
    type: str
    workflow_id: UUID
    node_id: str
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
    """The triggers that deployed versions have armed, newest first."""
    async with services_of(request).pool.acquire() as conn:
        found = await triggers.page(conn, query.workflow_id, query.cursor, query.limit + 1)
        total = await triggers.count(conn, query.workflow_id)
    page = found[: query.limit]
    more = len(found) > len(page)
    shown = [_trigger(request, trigger) for trigger in page]
    return answer({"triggers": shown, "total": total, "next_cursor": page[-1].id if more else None})


def _trigger(request: web.Request, trigger: WorkflowTrigger) -> dict[str, Any]:
    shown = {
        "id": trigger.id,
        "name": trigger.name,
        "type": trigger.type,
        "workflow_id": trigger.workflow_id,
        "node_id": trigger.node_id,
        "config": trigger.config,
        "enabled": trigger.enabled,
        "next_fire_at": None,
        "last_fired_at": None,
        "created_at": trigger.created_at,
        "updated_at": trigger.updated_at,
    }
    if request[PRINCIPAL].role >= Role.EDITOR:
        token = webhook_tokens.token_of(services_of(request).vault, trigger)
        if token is not None:
            shown["webhook_url"] = webhook_url(request, token)
    return shown
