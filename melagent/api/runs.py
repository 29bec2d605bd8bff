"""Runs: start by hand, look at, delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, PlainValidator, WithJsonSchema, model_validator

from melagent.api.context import PRINCIPAL, public_url, services_of, uuid_in_path
from melagent.api.idempotency import fresh_id
from melagent.api.wire import Answer, Body, Name, Revision, answer, first_page
from melagent.domain.definition import Definition, Label
from melagent.domain.run import Purge, RunStatus, StepStatus
from melagent.services import rooms, runs
from melagent.services.access import Role
from melagent.services.starts import Start, Starts
from melagent.store.ids import FIRST_ID, LAST_ID, first_id_at
from melagent.store.runs import RunFilter

if TYPE_CHECKING:
    from aiohttp import web

    from melagent.api.context import Services
    from melagent.domain.links import Links
    from melagent.domain.run import Run

MAX_NUMBER = 2**31 - 1
MAX_WAIT_SECONDS = 60


def _which_version(value: Any) -> int | str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_NUMBER
    if not is_number and value not in ("current", "draft"):
        raise ValueError('Input should be a version number, "current" or "draft"')
    return value  # type: ignore[no-any-return]  # one of the two, as just checked


WhichVersion = Annotated[
    int | str,
    PlainValidator(_which_version),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"enum": ["current", "draft"]}]}),
]


class StartBody(Body):
    """`entry` names the trigger to start at; a run that ends within `wait_seconds` is answered with its result."""

    input: Any = None
    entry: str | None = Field(default=None, max_length=100)
    wait_seconds: float = Field(default=0, ge=0, le=MAX_WAIT_SECONDS)
    priority: int | None = Field(default=None, ge=0, le=9)
    labels: tuple[Label, ...] = Field(default=(), max_length=20)

    def start(self, run_id: UUID) -> Start:
        return Start(run_id, self.input, self.entry, self.priority, self.wait_seconds, self.labels)


class ExecuteBody(StartBody):
    """A draft that is started must have reached `min_revision`."""

    version: WhichVersion = "current"
    min_revision: Revision | None = None

    @model_validator(mode="after")
    def _only_a_draft_has_revisions(self) -> Self:
        if self.version != "draft" and self.min_revision is not None:
            raise ValueError('min_revision is about the draft; it needs version "draft"')
        return self


class UnlistedRunBody(StartBody):
    name: Name = "unlisted"
    definition: Definition


class RunsQuery(Body):
    """`since` is included, `until` is not. The cursor is the id of the last run of the page before."""

    workflow_id: UUID | None = None
    status: RunStatus | None = None
    trigger_id: UUID | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: UUID | None = None

    def filter(self) -> RunFilter:
        until = first_id_at(self.until) if self.until else LAST_ID
        return RunFilter(
            since=first_id_at(self.since) if self.since else FIRST_ID,
            until=min(until, self.cursor or LAST_ID),
            workflow_id=self.workflow_id,
            trigger_id=self.trigger_id,
            status=self.status,
        )


class StepsQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: int = Field(default=0, ge=-MAX_NUMBER, le=MAX_NUMBER, description="`next_cursor` of the page before")


class PurgeBody(Body):
    """Which ended runs to delete. The cursor is that of the call before; with `dry_run` they are counted only."""

    before: AwareDatetime = Field(description="Those that ended before")
    status: Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED] | None = None
    workflow_id: UUID | None = None
    dry_run: bool = False
    cursor: UUID = FIRST_ID


class PurgeAnswer(Answer):
    """How many runs this call deleted. There is more to do while there is a `next_cursor`."""

    count: int
    next_cursor: UUID | None


class TriggerOfRun(Answer):
    """`scheduled_for` is the planned moment of a schedule or timer that the run stands for."""

    type: str
    id: UUID | None
    node_id: str | None
    scheduled_for: datetime | None


class RunAnswer(Answer):
    """Lists leave out `input` and `output`: both are null there.

    `workflow_name` is the present one; of a run without a workflow, the name of its unlisted version.
    """

    id: UUID
    workflow_id: UUID | None
    workflow_name: str | None
    version_id: UUID
    version: int | None
    status: RunStatus
    trigger: TriggerOfRun
    input: Any
    output: Any
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    worker_id: str | None
    waiting_for: dict[str, Any] | None
    parent_run_id: UUID | None
    retry_of: UUID | None


class RunsAnswer(Answer):
    runs: list[RunAnswer]
    next_cursor: UUID | None


class RunDefinitionAnswer(Answer):
    definition: Definition


class StepAnswer(Answer):
    step_key: str
    node_id: str
    node_type: str
    status: StepStatus
    attempt: int
    handle: str | None
    started_at: datetime | None
    finished_at: datetime | None
    input: Any
    output: Any
    error: dict[str, Any] | None
    logs: list[dict[str, Any]]
    seq: int


class StepsAnswer(Answer):
    steps: list[StepAnswer]
    next_cursor: int | None


async def execute(request: web.Request, body: ExecuteBody) -> web.Response:
    """Start a workflow by hand: 202 with the run, or 200 when it ended within `wait_seconds`."""
    services, workflow_id, caller = services_of(request), uuid_in_path(request), request[PRINCIPAL].name
    start = body.start(fresh_id(request))
    run_id = await _starts(services).workflow(workflow_id, body.version, start, caller, body.min_revision)
    run = await runs.get(services.pool, run_id)
    frame = {"type": "run_started", "run_id": run_id, "status": run.status}
    rooms.happened(services.engine.broker, workflow_id, frame)
    return await _start_answer(request, run)


async def start_unlisted(request: web.Request, body: UnlistedRunBody) -> web.Response:
    """Start a definition that belongs to no workflow. It is kept as an unlisted version and arms no trigger."""
    services, caller = services_of(request), request[PRINCIPAL].name
    run_id = await _starts(services).unlisted(body.name, body.definition, body.start(fresh_id(request)), caller)
    return await started(request, run_id)


def _starts(services: Services) -> Starts:
    return Starts(services.pool, services.engine, services.registry)


async def started(request: web.Request, run_id: UUID) -> web.Response:
    """The answer to a start: 200 when the run has ended, else 202."""
    return await _start_answer(request, await runs.get(services_of(request).pool, run_id))


async def _start_answer(request: web.Request, run: Run) -> web.Response:
    return answer(await with_links(request, run), 200 if run.status.final else 202)


async def run_answer(request: web.Request, run_id: UUID, status: int = 200) -> web.Response:
    """A run as it is now."""
    return answer(await with_links(request, await runs.get(services_of(request).pool, run_id)), status)


async def with_links(request: web.Request, run: Run) -> Run:
    """The run; to those who may edit, what waits for a signal also has the link that sends it."""
    if run.waiting_for is None or request[PRINCIPAL].role < Role.EDITOR:
        return run
    links = await services_of(request).engine.linker.of(run.id, public_url(request))
    return replace(run, waiting_for=_linked(run.waiting_for, links))


def _linked(waiting_for: Any, links: Links) -> Any:
    """What a run waits for, with links. It was told by a worker, so nothing is taken for granted."""
    match waiting_for:
        case {"type": "signal", "signal": str(signal)}:
            return waiting_for | {"resume_url": links.url(signal)}
        case {"type": "several", "first": list(first)}:
            return waiting_for | {"first": [_linked(each, links) for each in first]}
    return waiting_for


async def list_runs(request: web.Request, query: RunsQuery) -> web.Response:
    """Runs, newest first, without their input and output."""
    found = await runs.page(services_of(request).pool, query.filter(), query.limit + 1)
    page, next_cursor = first_page(found, query.limit)
    shown = [await with_links(request, run) for run in page]
    return answer({"runs": shown, "next_cursor": next_cursor})


async def get_run(request: web.Request) -> web.Response:
    """One run with its input and output."""
    return await run_answer(request, uuid_in_path(request))


async def get_definition(request: web.Request) -> web.Response:
    """The definition that a run follows. It never changes, whatever becomes of the draft."""
    definition = await runs.definition(services_of(request).pool, uuid_in_path(request))
    return answer({"definition": definition.model_dump(mode="json")})


async def list_steps(request: web.Request, query: StepsQuery) -> web.Response:
    """The steps of a run in the order they were recorded, then those that were skipped.

    A page ends early when its values are large. A step that is recorded again while pages are read comes again.
    """
    pool, run_id = services_of(request).pool, uuid_in_path(request)
    steps, next_cursor = await runs.steps_page(pool, run_id, query.cursor, query.limit)
    return answer({"steps": steps, "next_cursor": next_cursor})


async def purge_runs(request: web.Request, body: PurgeBody) -> web.Response:
    """Delete runs that have ended, for a moment: call again with `next_cursor` until it is null."""
    pool, caller = services_of(request).pool, request[PRINCIPAL].name
    wanted = Purge(body.before, body.status, body.workflow_id)
    count, next_cursor = await runs.purge(pool, wanted, body.cursor, dry_run=body.dry_run, caller=caller)
    return answer({"count": count, "next_cursor": next_cursor})
