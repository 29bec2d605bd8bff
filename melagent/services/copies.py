"""New runs that begin with what another has recorded: a retry from the failed steps on, a replay from any step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain import replay
from melagent.domain.graph import Graph
from melagent.domain.loops import ITEMS_SUFFIX, Regions, node_of
from melagent.domain.run import RunStatus
from melagent.domain.work import Copy, NewRun
from melagent.errors import Conflict, Problem, Unprocessable
from melagent.services.definitions import decode
from melagent.services.entries import entry_of
from melagent.services.starts import facts_of
from melagent.services.workflows import found
from melagent.store import payloads, runs, steps, versions, workflows

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.run import StepRecord
    from melagent.engine.engine import Engine
    from melagent.registry import Registry
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import StoredRun

UNSET: Any = object()
"""In place of an input: null is one."""


@dataclass(frozen=True, slots=True)
class Replay:
    """From which step a run is run again, null for its beginning; what the step is given, and under which version."""

    from_step: str | None = None
    input: Any = UNSET
    version: int | str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that is copied from, and the version that the copy runs under."""

    stored: StoredRun
    input: bytes
    priority: int
    labels: tuple[str, ...]
    regions: Regions
    version_id: UUID
    new_regions: Regions


@dataclass(frozen=True, slots=True)
class Copies:
    """Starts copies. Each method answers when the new run is durable; with the same new id it makes nothing again."""

    pool: Pool
    engine: Engine
    registry: Registry

    async def retry(self, run_id: UUID, new_id: UUID) -> None:
        """Run the failed steps of a run again, and what follows from them.

        Conflict unless the run has failed or was cancelled, or when it is the item of a loop.
        """
        async with self.pool.acquire() as conn:
            if await runs.find(conn, new_id) is not None:
                return
            origin = await self._origin(conn, run_id, None)
            if (status := origin.stored.run.status) not in (RunStatus.FAILED, RunStatus.CANCELLED):
                raise Conflict(f"Only a run that failed or was cancelled can be retried; this one is {status}.")
            done = await self._done(conn, origin)
        keys = tuple(step.step_key for step in done)
        await self.engine.copy(Copy(self._run(origin, new_id, origin.input), run_id, keys))

    async def replay(self, run_id: UUID, new_id: UUID, wanted: Replay) -> None:
        """Run a step again, and all behind it, on what was recorded before it.

        Conflict for the item of a loop; Unprocessable when that step cannot be run from, or given this input.
        """
        async with self.pool.acquire() as conn:
            if await runs.find(conn, new_id) is not None:
                return
            origin = await self._origin(conn, run_id, wanted.version)
            kept = await self._before(conn, origin, wanted.from_step) if wanted.from_step is not None else []
        run_input, outputs = origin.input, dict[str, bytes]()
        if wanted.input is not UNSET:
            run_input, outputs = _given(origin, wanted, kept)
        keys = tuple(step.step_key for step in kept)
        await self.engine.copy(Copy(self._run(origin, new_id, run_input), run_id, keys, outputs))

    async def _origin(self, conn: Connection, run_id: UUID, version: int | str | None) -> Origin:
        stored = found(await runs.find(conn, run_id), "run")
        if stored.scope is not None:
            raise Conflict(
                f"The run does one item of a loop of its parent; retry the parent, {stored.run.parent_run_id}."
            )
        if stored.run.workflow_id is not None:
            found(await workflows.find(conn, stored.run.workflow_id), "workflow")
        old = decode(found(await versions.definition_of(conn, stored.run.version_id), "version"))
        version_id, new = stored.run.version_id, old
        if version is not None:
            version_id, new = await self._version(conn, stored.run.workflow_id, version)
            entry_of(new, self.registry, stored.entry)
        priority, requires = found(await runs.asked_of_workers(conn, run_id), "run")
        run_input = stored.run.input
        if stored.input_hash is not None:
            run_input = found((await payloads.load(conn, run_id, [stored.input_hash])).get(stored.input_hash), "run")
        regions = Regions.of(old)
        own = {part for part in requires.split() if not part.startswith("type:")} - set(old.settings.labels)
        return Origin(
            stored=stored,
            input=run_input or b"null",
            priority=priority if priority != old.settings.priority else new.settings.priority,
            labels=tuple(own),
            regions=regions,
            version_id=version_id,
            new_regions=regions if version_id == stored.run.version_id else Regions.of(new),
        )

    async def _version(self, conn: Connection, workflow_id: UUID | None, which: int | str) -> tuple[UUID, Definition]:
        if workflow_id is None:
            raise Unprocessable("The run belongs to no workflow.", [Problem("version", "There are no others.")])
        if isinstance(which, int):
            version = found(await versions.find(conn, workflow_id, which), "version")
        else:
            version = found(await versions.find_current(conn, workflow_id), "version: none is deployed")
        return version.id, decode(version.definition)

    async def _before(self, conn: Connection, origin: Origin, from_step: str) -> list[StepRecord]:
        """The recorded steps that still hold when everything from a step on is run again."""
        regions = origin.new_regions
        node_id = node_of(from_step)
        if node_id not in regions.loop_of:
            raise Unprocessable("The run cannot be replayed.", [Problem("from_step", "There is no such node.")])
        again = replay.behind(Graph.of(regions.definition), [replay.unit_of(regions, node_id)])
        same = origin.version_id == origin.stored.run.version_id
        hold = regions.loop_of.keys() if same else replay.unchanged(origin.regions, regions, origin.stored.entry)
        kept = hold - again
        return [step for step in await self._done(conn, origin) if step.node_id in kept]

    async def _done(self, conn: Connection, origin: Origin) -> list[StepRecord]:
        recorded = await steps.outline(conn, origin.stored.run.id)
        lenient = await _lenient(conn, origin, replay.unsaved_in_loops(recorded, origin.regions))
        error = origin.stored.run.error or {}
        ended_by = error.get("node_id") if error.get("code") == "stopped" else None
        return replay.Journal(recorded, lenient, ended_by).done(origin.regions)

    def _run(self, origin: Origin, new_id: UUID, run_input: bytes) -> NewRun:
        run = origin.stored.run
        new = NewRun(
            id=new_id,
            workflow_id=run.workflow_id,
            version_id=origin.version_id,
            entry=origin.stored.entry,
            input=run_input,
            trigger=run.trigger,
            retry_of=run.id,
            **facts_of(origin.new_regions.definition, self.registry, run.workflow_id, origin.labels),
        )
        return replace(new, priority=origin.priority)


async def _lenient(conn: Connection, origin: Origin, loops: set[str]) -> frozenset[str]:
    """Those of the loops that go on when an item fails; how each was opened says so."""
    opened = await steps.find(conn, origin.stored.run.id, [loop + ITEMS_SUFFIX for loop in loops])
    values = await payloads.load(
        conn, origin.stored.run.id, {step.output_hash for step in opened.values() if step.output_hash}
    )
    texts = {
        key: values.get(step.output_hash) if step.output_hash else step.record.output for key, step in opened.items()
    }
    return frozenset(
        key.removesuffix(ITEMS_SUFFIX)
        for key, text in texts.items()
        if orjson.loads(text or b"{}").get("on_item_error", "fail") != "fail"
    )


def _given(origin: Origin, wanted: Replay, kept: list[StepRecord]) -> tuple[bytes, dict[str, bytes]]:
    """The input of the new run, and what steps before the one to run from are to have given, so that it gets this."""
    text = orjson.dumps(wanted.input)
    if wanted.from_step is None or node_of(wanted.from_step) == origin.stored.entry:
        return text, {}
    node_id = replay.unit_of(origin.new_regions, node_of(wanted.from_step))
    sources = replay.live_sources(origin.new_regions, node_id, kept)
    if len(sources) == 1:
        return origin.input, {sources[0]: text}
    names = ", ".join(sources)
    if not sources:
        raise _no_input("No recorded step leads to it, so it cannot be given anything.")
    if not isinstance(wanted.input, dict) or not wanted.input.keys() <= set(sources):
        raise _no_input(f"Several steps lead to it: give an object whose names are among {names}.")
    return origin.input, {source: orjson.dumps(value) for source, value in wanted.input.items()}


def _no_input(problem: str) -> Unprocessable:
    return Unprocessable("The step cannot be given this input.", [Problem("input", problem)])
