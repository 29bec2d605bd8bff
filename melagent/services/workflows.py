"""Workflows and their drafts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from melagent.errors import Conflict, DraftBehind, NotFound
from melagent.services import drafts
from melagent.store import connections, pinned, runs, triggers, variables, versions, workflows
from melagent.store.ids import new_id
from melagent.store.pool import MAY_PASS, transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.draft_state import DraftState, Operation
    from melagent.engine.engine import Engine
    from melagent.services.drafts import Editor
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Draft, StoredWorkflow, Workflow

T = TypeVar("T")


def found(value: T | None, what: str) -> T:
    """The value, or NotFound when there is none."""
    if value is None:
        raise NotFound(f"There is no such {what}.")
    return value


def not_behind(revision: int, min_revision: int | None) -> None:
    """Raise DraftBehind when a draft has not reached the revision that the caller has seen."""
    if min_revision is not None and revision < min_revision:
        raise DraftBehind(f"The draft is at revision {revision}, and the call needs {min_revision} or later.")


async def create(
    pool: Pool, name: str, description: str, definition: Definition, workflow_id: UUID | None = None
) -> Workflow:
    """Make a workflow whose draft holds the definition. One that has this id already is answered as it is."""
    workflow_id = workflow_id or new_id()
    async with pool.acquire() as conn:
        made = await workflows.insert(conn, workflow_id, name, description, drafts.whole(definition))
        return made or await _found(conn, workflow_id)


async def get(pool: Pool, workflow_id: UUID) -> Workflow:
    async with pool.acquire() as conn:
        return await _found(conn, workflow_id)


async def page(pool: Pool, before: UUID, limit: int) -> tuple[list[Workflow], int]:
    """The newest workflows older than `before`, and how many there are in all."""
    async with pool.acquire() as conn:
        found = await workflows.page(conn, before, limit)
        return await _as_now(conn, found), await workflows.count(conn)


async def update(
    editor: Editor, workflow_id: UUID, name: str, description: str | None, definition: Definition | None
) -> Workflow:
    """Rename a workflow; a null description or definition is left as it is. A definition goes to the draft."""
    edited = None
    async with transaction(editor.pool) as conn:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        await workflows.update(conn, workflow_id, name, description)
        if definition is not None:
            edited = await drafts.edit_within(conn, editor, workflow_id, lambda _: drafts.replacing(definition))
        changed = await _found(conn, workflow_id)
    if edited is not None:
        drafts.tell(editor.broker, edited)
    return changed


async def delete(pool: Pool, engine: Engine, workflow_id: UUID, *, cancel_runs: bool) -> None:
    """Take a workflow out of sight, disarm its triggers, delete its variables and pinned data; the history of its
    runs stays.

    Runs in flight are cancelled when asked for; otherwise they are a Conflict. Another instance may still know a
    webhook of the workflow for a second: a run that it starts within that time goes on.
    """
    if cancel_runs:
        await _cancel_live(pool, engine, workflow_id)
    async with transaction(pool) as conn:
        if not await workflows.lock(conn, workflow_id):
            raise NotFound("There is no such workflow.")
        await triggers.retire_all(conn, workflow_id)  # first: whoever is firing one of them has then started its run
        if not cancel_runs and await runs.live_of_workflow(conn, workflow_id):
            raise Conflict("Runs of this workflow are in flight; wait for them or pass cancel_runs=true.")
        await workflows.mark_deleted(conn, workflow_id)
        await connections.forget_uses_in(conn, workflow_id)
        await pinned.keep(conn, workflow_id, ())
    if cancel_runs:
        await _cancel_live(pool, engine, workflow_id)
    with suppress(
        *MAY_PASS
    ):  # by itself, so that nobody waits for both a workflow and a variable; the next one repeats it
        async with transaction(pool) as conn:
            await variables.drop_of_deleted(conn)


async def _cancel_live(pool: Pool, engine: Engine, workflow_id: UUID) -> None:
    async with pool.acquire() as conn:
        live = await runs.live_of_workflow(conn, workflow_id)
    for run_id in live:
        with suppress(Conflict, NotFound):  # it ended by itself in the meantime
            await engine.cancel(run_id)


async def get_draft(pool: Pool, workflow_id: UUID) -> Draft:
    async with pool.acquire() as conn:
        return await drafts.read(conn, workflow_id)


async def put_draft(editor: Editor, workflow_id: UUID, definition: Definition, revision: int) -> Draft:
    """Replace the draft that the caller has seen. Conflict when it has changed since that revision."""

    def make(state: DraftState) -> list[Operation]:
        if state.seq != revision:
            raise Conflict(
                f"The draft is at revision {state.seq}, not {revision}: read it again and repeat the change."
            )
        return drafts.replacing(definition)

    return (await drafts.edit(editor, workflow_id, make)).draft()


async def _found(conn: Connection, workflow_id: UUID) -> Workflow:
    stored = found(await workflows.find(conn, workflow_id), "workflow")
    return (await _as_now(conn, [stored]))[0]


async def _as_now(conn: Connection, stored: Sequence[StoredWorkflow]) -> list[Workflow]:
    """Workflows with their drafts as they are now: most are where their snapshots are, the others are read."""
    behind = [one.workflow.id for one in stored if one.is_behind]
    if not behind:
        return [one.workflow for one in stored]
    now = {draft.workflow_id: draft.definition for draft in await drafts.read_all(conn, behind)}
    deployed = await versions.current_definitions(conn, behind)
    return [
        replace(one.workflow, definition=text, has_changes=text != deployed.get(one.workflow.id))
        if (text := now.get(one.workflow.id)) is not None
        else one.workflow
        for one in stored
    ]
