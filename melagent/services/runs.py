"""Runs as people see them: with their values, and each step with the input that its upstream steps stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from melagent.domain.loops import ITEM_HANDLE, ITEMS_SUFFIX, Regions, path_of, step_key
from melagent.domain.run import RunStatus, StepStatus
from melagent.engine.course import skipped
from melagent.engine.lifecycle import purge as lifecycle
from melagent.services.definitions import decode
from melagent.services.requirements import waiting_for_worker
from melagent.services.workflows import found
from melagent.store import payloads, runs, steps, triggers, versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.definition import Definition, Edge, Node
    from melagent.domain.run import Purge, Run, StepRecord
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import StoredRun, StoredStep
    from melagent.store.runs import RunFilter

log = structlog.get_logger()

PURGE_SECONDS = 2.0
"""How long one call deletes runs before it says where to go on."""

PAGE_BYTES = 16 * 1024 * 1024
"""A page of steps ends early when its values are larger than this, after at least one step."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its input. `handle` is the output that was taken; `seq` is its place in the journal.

    A skipped step was never started: it has no times, and as nothing is stored of it, no place either (`seq` 0).
    """

    step_key: str
    node_id: str
    node_type: str
    status: StepStatus
    attempt: int
    handle: str | None
    started_at: datetime | None
    finished_at: datetime | None
    input: bytes | None
    output: bytes | None
    error: dict[str, Any] | None
    logs: tuple[dict[str, Any], ...]
    seq: int


@dataclass(frozen=True, slots=True)
class Value:
    """A value in its row (`inline`), or the name of one in payloads, or null when both are null."""

    inline: bytes | None
    digest: bytes | None


async def get(pool: Pool, run_id: UUID) -> Run:
    """A run with its input and output, and what it waits for."""
    async with pool.acquire() as conn:
        stored = found(await runs.find(conn, run_id), "run")
        digests = {digest for digest in (stored.input_hash, stored.output_hash) if digest}
        values = await payloads.load(conn, run_id, digests)
        waiting_for = stored.run.waiting_for
        if stored.run.status is RunStatus.PENDING and waiting_for is None:
            waiting_for = await waiting_for_worker(conn, run_id)
    return replace(
        stored.run,
        waiting_for=waiting_for,
        input=_bytes(Value(stored.run.input, stored.input_hash), values),
        output=_bytes(Value(stored.run.output, stored.output_hash), values),
    )


async def definition(pool: Pool, run_id: UUID) -> Definition:
    """What the run follows: its version, also when that is unlisted, as drafts are when they run."""
    async with pool.acquire() as conn:
        stored = found(await runs.find(conn, run_id), "run")
        return decode(found(await versions.definition_of(conn, stored.run.version_id), "version"))


async def check(pool: Pool, run_id: UUID) -> None:
    """NotFound unless there is such a run."""
    async with pool.acquire() as conn:
        found(await runs.find(conn, run_id), "run")


async def page(pool: Pool, wanted: RunFilter, limit: int) -> list[Run]:
    """The newest runs that fit, without their values."""
    async with pool.acquire() as conn:
        if wanted.trigger_id is not None and wanted.workflow_id is None:  # so that an index leads to them
            wanted = replace(wanted, workflow_id=await triggers.workflow_of(conn, wanted.trigger_id))
        return [stored.run for stored in await runs.page(conn, wanted, limit)]


async def purge(pool: Pool, wanted: Purge, after: UUID, *, dry_run: bool, caller: str) -> tuple[int, UUID | None]:
    """Delete ended runs for a moment, those with ids beyond `after`; how many, and the id to go on from, if any."""
    count, last = await lifecycle.purge(pool, wanted, after, seconds=PURGE_SECONDS, dry_run=dry_run)
    if count and not dry_run:
        log.info("runs purged", count=count, before=wanted.before.isoformat(), caller=caller)
    return count, last


async def steps_page(pool: Pool, run_id: UUID, after: int, limit: int) -> tuple[list[Step], int | None]:
    """Steps recorded after `after`, and the cursor of the next page: null when this was the last.

    A page ends early when its values exceed 16 MiB. Behind the recorded steps come those that were skipped, which
    follow from the definition and the recorded steps; a cursor below zero is a place among them.
    """
    async with pool.acquire() as conn:
        run = found(await runs.find(conn, run_id), "run")
        if after < 0:
            return await _skipped(conn, run, -after - 1, limit)
        listed = await steps.page(conn, run_id, after, limit + 1)
        chosen = listed[:limit]
        inputs = await _inputs(conn, run, chosen)
        wanted = [[*inputs[step.record.step_key], Value(step.record.output, step.output_hash)] for step in chosen]
        chosen = chosen[: await _fitting(conn, run_id, wanted)]
        digests = {value.digest for values in wanted[: len(chosen)] for value in values if value.digest}
        values = await payloads.load(conn, run_id, digests)
        if len(listed) > len(chosen):
            return [_step(step, inputs, values) for step in chosen], chosen[-1].record.seq
        rest, cursor = await _skipped(conn, run, 0, limit - len(chosen))
        return [*(_step(step, inputs, values) for step in chosen), *rest], cursor


async def _skipped(conn: Connection, run: StoredRun, first: int, limit: int) -> tuple[list[Step], int | None]:
    """The skipped steps from the node at this position of the definition on, and the cursor of the next page."""
    regions = Regions.of(decode(found(await versions.definition_of(conn, run.run.version_id), "version")))
    left_out = skipped(regions, run.entry, await steps.outline(conn, run.run.id), run.scope)
    nodes = regions.definition.nodes
    left = [index for index, node in enumerate(nodes) if node.id in left_out and index >= first]
    cursor = -left[limit] - 1 if len(left) > limit else None
    return [_skipped_step(nodes[index]) for index in left[:limit]], cursor


def _skipped_step(node: Node) -> Step:
    return Step(
        step_key=node.id,
        node_id=node.id,
        node_type=node.type,
        status=StepStatus.SKIPPED,
        attempt=0,
        handle=None,
        started_at=None,
        finished_at=None,
        input=None,
        output=None,
        error=None,
        logs=(),
        seq=0,
    )


async def _inputs(conn: Connection, run: StoredRun, chosen: Sequence[StoredStep]) -> dict[str, list[Value]]:
    """The live inputs of each step in edge order: an edge is live when its source took the edge's handle."""
    regions = Regions.of(decode(found(await versions.definition_of(conn, run.run.version_id), "version")))
    edges = {step.record.step_key: _edges_into(regions, step.record) for step in chosen}
    known = await steps.find(conn, run.run.id, {source.key for incoming in edges.values() for source in incoming})
    items = await _items(conn, run, known)
    inputs = {
        key: [value for source in incoming if (value := _given_by(source, known, items)) is not None]
        for key, incoming in edges.items()
    }
    if run.scope is None and run.entry in inputs:
        inputs[run.entry] = [Value(run.run.input, run.input_hash)]
    return inputs


@dataclass(frozen=True, slots=True)
class Source:
    """Where an edge comes from: a step and the handle it must have taken, or an item of the list in a step."""

    key: str
    handle: str
    index: int | None = None


def _edges_into(regions: Regions, step: StepRecord) -> list[Source]:
    """The edges into a step; none for a node the version does not have, and for the items of a loop."""
    path = path_of(step.step_key, step.node_id)
    if step.node_id not in regions.loop_of or len(path) != regions.depth_of(step.node_id):
        return []
    loop, graph = regions.loop_of[step.node_id], regions.graph_of(step.node_id)
    return [_source(graph.edges[edge], loop, path) for edge in graph.incoming[graph.index[step.node_id]]]


def _source(edge: Edge, loop: str | None, path: tuple[int, ...]) -> Source:
    if edge.source == loop:
        return Source(step_key(loop, path[:-1]) + ITEMS_SUFFIX, ITEM_HANDLE, path[-1])
    return Source(step_key(edge.source, path), edge.source_handle)


async def _items(conn: Connection, run: StoredRun, known: dict[str, StoredStep]) -> dict[str, list[Any]]:
    """The lists of items of the loops among these steps."""
    lists = {key: step for key, step in known.items() if key.endswith(ITEMS_SUFFIX)}
    hashes = {step.output_hash for step in lists.values() if step.output_hash}
    values = await payloads.load(conn, run.run.id, hashes)
    texts = {key: _bytes(Value(step.record.output, step.output_hash), values) for key, step in lists.items()}
    return {key: orjson.loads(text or b"{}").get("items", []) for key, text in texts.items()}


def _given_by(source: Source, known: dict[str, StoredStep], items: dict[str, list[Any]]) -> Value | None:
    if source.index is not None:
        listed = items.get(source.key, [])
        return Value(orjson.dumps(listed[source.index]), None) if source.index < len(listed) else None
    step = known.get(source.key)
    return Value(step.record.output, step.output_hash) if step and step.record.handle == source.handle else None


async def _fitting(conn: Connection, run_id: UUID, wanted: Sequence[Sequence[Value]]) -> int:
    """How many of these steps fit on a page."""
    digests = {value.digest for values in wanted for value in values if value.digest}
    sizes = await steps.value_sizes(conn, run_id, digests) if digests else {}
    total = 0
    for position, values in enumerate(wanted):
        total += sum(sizes.get(v.digest, 0) if v.digest else len(v.inline or b"") for v in values)
        if total > PAGE_BYTES and position > 0:
            return position
    return len(wanted)


def _bytes(value: Value, loaded: dict[bytes, bytes]) -> bytes | None:
    return loaded.get(value.digest) if value.digest else value.inline


def _step(step: StoredStep, inputs: dict[str, list[Value]], loaded: dict[bytes, bytes]) -> Step:
    record = step.record
    return Step(
        step_key=record.step_key,
        node_id=record.node_id,
        node_type=record.node_type,
        status=record.status,
        attempt=record.attempt,
        handle=record.handle,
        started_at=record.started_at,
        finished_at=record.finished_at,
        input=_input([_bytes(value, loaded) or b"null" for value in inputs[record.step_key]]),
        output=_bytes(Value(record.output, step.output_hash), loaded),
        error=record.error,
        logs=record.logs,
        seq=record.seq,
    )


def _input(values: list[bytes]) -> bytes | None:
    """What the node saw as `input`: the only live value, or a list of them."""
    if len(values) > 1:
        return orjson.dumps([orjson.Fragment(value) for value in values])
    return values[0] if values else None
