"""Expressions tried on real data: on what a run has recorded around a node of the draft, or on data of the caller."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.loops import ITEMS_SUFFIX
from melagent.errors import TooLarge
from melagent.sandbox import expressions
from melagent.services import drafts
from melagent.services.definitions import decode
from melagent.services.surroundings import Output, Place
from melagent.services.workflows import found
from melagent.store import payloads, runs, steps, workflows
from melagent.store.ids import FIRST_ID, LAST_ID
from melagent.store.runs import RunFilter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import StoredRun, StoredStep

MAX_DATA_BYTES = 16 * 1024 * 1024
"""So much of a run is looked at for one preview."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is tried: an expression, or the text of a parameter with templates in it."""

    text: str
    is_expression: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: line and column are counted from 1, and null where no place is known."""

    message: str
    line: int | None
    column: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The value, or the fault; and the run whose data it was tried on, if any."""

    value: Any
    error: Fault | None
    run_id: UUID | None = None


async def preview(pool: Pool, workflow_id: UUID, source: Source, node_id: str | None, run_id: UUID | None) -> Preview:
    """Try an expression where a node of the draft stands, on a run of the workflow, by default the newest.

    Without a node it sees all steps outside of loops, and the input of the run. Without a run there is nothing to see.
    Raises NotFound, and TooLarge when the run has recorded more than 16 MiB there.
    """
    async with pool.acquire() as conn:
        definition = decode((await drafts.read(conn, workflow_id)).definition)
        place = Place(definition, node_id)
        run = await _run(conn, workflow_id, run_id)
        known = await _recorded(conn, run, place.keys()) if run is not None else {}
        run_input = await _value(conn, run) if run is not None else None
    scope = place.scope(known, run, run_input) | _facts(workflow_id, run)
    return await _evaluated(source, orjson.dumps(scope), run.run.id if run is not None else None)


async def preview_on(pool: Pool, workflow_id: UUID, source: Source, data: Mapping[str, Any]) -> Preview:
    """Try an expression of a workflow on data: a value for each name that the expression may see."""
    async with pool.acquire() as conn:
        found(await workflows.find(conn, workflow_id), "workflow")
    return await _evaluated(source, orjson.dumps(data), None)


async def _evaluated(source: Source, scope: bytes, run_id: UUID | None) -> Preview:
    """The limits of expressions allow for half a second of computing, so it is done in a thread, one at a time."""
    value, error = await asyncio.get_running_loop().run_in_executor(_thread(), _try, source, scope)
    return Preview(value, error, run_id)


def _try(source: Source, scope: bytes) -> tuple[Any, Fault | None]:
    evaluate = expressions.evaluate if source.is_expression else expressions.fill
    try:
        return evaluate(source.text, orjson.loads(scope)), None
    except expressions.ExpressionError as error:
        return None, Fault(error.message, *(error.place or (None, None)))


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="preview")


async def _run(conn: Connection, workflow_id: UUID, run_id: UUID | None) -> StoredRun | None:
    """The run that is asked for, or the newest of the workflow. A run of items of a loop stands for its parent."""
    if run_id is None:
        newest = await runs.page(conn, RunFilter(FIRST_ID, LAST_ID, workflow_id), 1)
        run = await runs.find(conn, newest[0].run.id) if newest else None
    else:
        run = await runs.find(conn, run_id)
        if run is None or run.run.workflow_id != workflow_id:
            run = found(None, "run of this workflow")
    while run is not None and run.scope is not None and run.run.parent_run_id is not None:
        run = await runs.find(conn, run.run.parent_run_id)
    return run


async def _recorded(conn: Connection, run: StoredRun, keys: Collection[str]) -> dict[str, Output]:
    """The outputs of those of the steps that have ended well, by key."""
    ended = {key: step for key, step in (await steps.find(conn, run.run.id, keys)).items() if _has_output(step)}
    digests = {step.output_hash for step in ended.values() if step.output_hash}
    inline = sum(len(step.record.output or b"") for step in ended.values())
    if inline + (await payloads.size(conn, run.run.id, digests) if digests else 0) > MAX_DATA_BYTES:
        raise TooLarge(f"The run has more than {MAX_DATA_BYTES:,} bytes of outputs there; give some data instead.")
    values = await payloads.load(conn, run.run.id, digests)
    return {
        key: Output(step.record.handle, values.get(step.output_hash) if step.output_hash else step.record.output)
        for key, step in ended.items()
    }


def _has_output(step: StoredStep) -> bool:
    return step.record.handle is not None or step.record.step_key.endswith(ITEMS_SUFFIX)


async def _value(conn: Connection, run: StoredRun) -> bytes | None:
    """The input of a run."""
    if run.input_hash is None:
        return run.run.input
    return (await payloads.load(conn, run.run.id, {run.input_hash})).get(run.input_hash)


def _facts(workflow_id: UUID, run: StoredRun | None) -> dict[str, Any]:
    workflow = {"id": str(workflow_id)}
    if run is None:
        return {"run": None, "trigger": None, "workflow": workflow}
    trigger = run.run.trigger
    return {
        "run": {
            "id": str(run.run.id),
            "version_id": str(run.run.version_id),
            "demo_url": None,
            "workflow_id": str(workflow_id),
        },
        "trigger": {"type": trigger.type, "id": trigger.id and str(trigger.id), "node_id": trigger.node_id},
        "workflow": workflow,
    }
