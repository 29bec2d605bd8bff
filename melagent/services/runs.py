"""Runs as people see them: with their values, and each step with the input that its upstream steps stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from melagent.domain.graph import Graph
from melagent.domain.run import RunStatus, StepStatus
from melagent.engine.lifecycle import purge as lifecycle
from melagent.engine.planner import fold
from melagent.services.definitions import decode
from melagent.services.requirements import waiting_for_worker
from melagent.services.workflows import found
from melagent.store import payloads, runs, steps, versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from melagent.domain.definition import Node
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


async def check(pool: Pool, run_id: UUID) -> None:
    """NotFound unless there is such a run."""
    async with pool.acquire() as conn:
        found(await runs.find(conn, run_id), "run")


async def page(pool: Pool, wanted: RunFilter, limit: int) -> list[Run]:
    """The newest runs that fit, without their values."""
    async with pool.acquire() as conn:
        return [stored.run for stored in await runs.page(conn, wanted, limit)]


async def purge(pool: Pool, wanted: Purge, after: UUID, *, dry_run: bool, caller: str) -> tuple[int, UUID | None]:
    """Delete ended runs for a moment, those with ids beyond `after`; how many, and the id to go on from, if any."""
    count, last = await lifecycle.purge(pool, wanted, after, seconds=PURGE_SECONDS, dry_run=dry_run)
    if count and not dry_run:
        log.info("runs purged", count=count, before=wanted.before.isoformat(), caller=caller)
    return count, last


async def steps_page(pool: Pool, run_id: UUID, after: int, limit: int) -> tuple[list[Step], int | None]:
    """Steps recorded after `after`, and the cursor of the next page: null when this was the last.

    A page ends early when its values exceed 16 MiB. The last one ends with the steps that were skipped, which follow
    from the definition and the recorded steps.
    """
    async with pool.acquire() as conn:
        run = found(await runs.find(conn, run_id), "run")
        listed = await steps.page(conn, run_id, after, limit + 1)
        chosen = listed[:limit]
        inputs = await _inputs(conn, run, chosen)
        wanted = [[*inputs[step.record.step_key], Value(step.record.output, step.output_hash)] for step in chosen]
        chosen = chosen[: await _fitting(conn, run_id, wanted)]
        digests = {value.digest for values in wanted[: len(chosen)] for value in values if value.digest}
        values = await payloads.load(conn, run_id, digests)
        if len(listed) > len(chosen):
            return [_step(step, inputs, values) for step in chosen], chosen[-1].record.seq
        return [*(_step(step, inputs, values) for step in chosen), *await _skipped(conn, run)], None


async def _skipped(conn: Connection, run: StoredRun) -> list[Step]:
    definition = decode(found(await versions.definition_of(conn, run.run.version_id), "version"))
    plan = fold(Graph.of(definition), run.entry, await steps.outline(conn, run.run.id))
    nodes = [definition.nodes[index] for index in sorted(plan.skipped)]
    return [_skipped_step(node) for node in nodes]


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
    text = found(await versions.definition_of(conn, run.run.version_id), "version")
    graph = Graph.of(decode(text))
    edges = {step.record.step_key: _edges_into(graph, step.record) for step in chosen}
    sources = {source for incoming in edges.values() for source, _ in incoming}
    known = await steps.find(conn, run.run.id, sources)
    inputs = {
        key: [
            Value(known[source].record.output, known[source].output_hash)
            for source, handle in incoming
            if source in known and known[source].record.handle == handle
        ]
        for key, incoming in edges.items()
    }
    if run.entry in inputs:
        inputs[run.entry] = [Value(run.run.input, run.input_hash)]
    return inputs


def _edges_into(graph: Graph, step: StepRecord) -> list[tuple[str, str]]:
    """Source and handle of each edge into the node of a step; none for a node the version does not have."""
    if step.node_id not in graph.index:
        return []
    edges = [graph.edges[edge] for edge in graph.incoming[graph.index[step.node_id]]]
    return [(edge.source, edge.source_handle) for edge in edges]


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
