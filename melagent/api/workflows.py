"""Workflows and their drafts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web
from pydantic import Field

from melagent.api.context import WEBHOOKS, editor_of, services_of, uuid_in_path
from melagent.api.idempotency import fresh_id
from melagent.api.wire import Answer, Body, Description, Name, Revision, answer, first_page
from melagent.domain.definition import Definition
from melagent.domain.run import RunStatus
from melagent.services import activity, rooms, workflows
from melagent.services.connection_uses import wrong_connections
from melagent.services.definitions import decode
from melagent.services.problems import problems
from melagent.store.ids import LAST_ID

if TYPE_CHECKING:
    from melagent.api.context import Services
    from melagent.store.rows import Draft


class PageQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: UUID = Field(default=LAST_ID, description="`next_cursor` of the page before")


class WorkflowsQuery(PageQuery):
    search: str = Field(default="", max_length=200, description="What the name or the description has in it")
    activity: bool = Field(default=False, description="Whether to tell the last runs and the next firing of each")


class NewWorkflow(Body):
    name: Name
    description: Description = ""
    definition: Definition = Definition()


class WorkflowChange(Body):
    """A description or definition that is left out stays as it is."""

    name: Name
    description: Description | None = None
    definition: Definition | None = None


class DeleteQuery(Body):
    cancel_runs: bool = False


class DraftBody(Body):
    definition: Definition
    revision: Revision = Field(description="The revision that the caller has seen")


class WorkflowAnswer(Answer):
    id: UUID
    name: str
    description: str
    definition: Definition
    current_version: int | None
    has_changes: bool
    created_at: datetime
    updated_at: datetime


class RecentRunAnswer(Answer):
    id: UUID
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ActivityAnswer(Answer):
    """`runs` are the last twelve, newest first. `armed`: something starts the workflow by itself."""

    runs: list[RecentRunAnswer]
    armed: bool
    next_fire_at: datetime | None


class WorkflowsAnswer(Answer):
    """`activity` is by the id of the workflow, and empty unless asked for. `total` counts what the search finds."""

    workflows: list[WorkflowAnswer]
    activity: dict[UUID, ActivityAnswer]
    total: int
    next_cursor: UUID | None


class ProblemAnswer(Answer):
    field: str
    problem: str


class DraftAnswer(Answer):
    workflow_id: UUID
    definition: Definition
    revision: int
    problems: list[ProblemAnswer]
    updated_at: datetime


async def list_workflows(request: web.Request, query: WorkflowsQuery) -> web.Response:
    """Workflows, newest first."""
    pool = services_of(request).pool
    found, total = await workflows.page(pool, query.cursor, query.limit + 1, query.search.strip())
    page, next_cursor = first_page(found, query.limit)
    known = await activity.of(pool, [each.id for each in page]) if query.activity else {}
    told = {str(workflow_id): each for workflow_id, each in known.items()}
    return answer({"workflows": page, "activity": told, "total": total, "next_cursor": next_cursor})


async def create_workflow(request: web.Request, body: NewWorkflow) -> web.Response:
    """Make a workflow. The definition becomes its draft; nothing is deployed."""
    pool, workflow_id = services_of(request).pool, fresh_id(request)
    made = await workflows.create(pool, body.name, body.description, body.definition, workflow_id)
    return answer(made, 201)


async def get_workflow(request: web.Request) -> web.Response:
    """A workflow with the definition of its draft."""
    return answer(await workflows.get(services_of(request).pool, uuid_in_path(request)))


async def update_workflow(request: web.Request, body: WorkflowChange) -> web.Response:
    """Change a workflow. A definition replaces that of the draft."""
    editor, workflow_id = editor_of(request), uuid_in_path(request)
    return answer(await workflows.update(editor, workflow_id, body.name, body.description, body.definition))


async def delete_workflow(request: web.Request, query: DeleteQuery) -> web.Response:
    """Delete a workflow and disarm its triggers. Runs in flight are a conflict unless they are to be cancelled."""
    services = services_of(request)
    await workflows.delete(services.pool, services.engine, uuid_in_path(request), cancel_runs=query.cancel_runs)
    request.app[WEBHOOKS].forget()
    rooms.deleted(services.engine.broker, uuid_in_path(request))
    return web.Response(status=204)


async def get_draft(request: web.Request) -> web.Response:
    """The draft with its revision, and what would keep it from being deployed."""
    services = services_of(request)
    return answer(await draft_answer(await workflows.get_draft(services.pool, uuid_in_path(request)), services))


async def put_draft(request: web.Request, body: DraftBody) -> web.Response:
    """Replace the draft. A revision that is no longer the latest is a conflict."""
    draft = await workflows.put_draft(editor_of(request), uuid_in_path(request), body.definition, body.revision)
    return answer(await draft_answer(draft, services_of(request)))


async def draft_answer(draft: Draft, services: Services) -> dict[str, Any]:
    definition = decode(draft.definition)
    async with services.pool.acquire() as conn:
        wrong = await wrong_connections(conn, definition, services.registry)
    return {
        "workflow_id": draft.workflow_id,
        "definition": draft.definition,
        "revision": draft.revision,
        "problems": [*problems(definition, services.registry), *wrong],
        "updated_at": draft.updated_at,
    }
