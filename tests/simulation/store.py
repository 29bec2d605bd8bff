"""The store of a simulation: the reference model, and the witness who checks each thing that happens to it.

The witness keeps to what the engine promises (numbers as in the documentation of guarantees): it knows every start of a
node and every durable step, and it raises no error itself but hands it to the loop, for nodes' errors are caught.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.graph import Graph
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.engine.planner import Plan, fold
from tests.model.model import Model, ModelRun
from tests.simulation.network import SLOWEST_SECONDS
from tests.simulation.workflows import Nap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.domain.work import Entry, NewRun, Verdict, WorkItem
    from melagent.engine.context import Context
    from tests.simulation.loop import Process, VirtualLoop
    from tests.simulation.workflows import Watched

LEASE_SECONDS = 15.0
HEARTBEAT_SECONDS = 5.0
LATEST_HEARTBEAT_SECONDS = HEARTBEAT_SECONDS * 1.1 + 0.6
"""With the loop's jitter, and two quick calls: to be granted the lease, and to be told that it has ended."""

ENDED_BY_ITSELF = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED})


class Violation(AssertionError):
    """A promise was broken."""


class WatchedModel(Model):
    """The model, which is asked about each new entry before it is applied."""

    watch: Callable[[ModelRun, Entry], None]

    def _apply(self, run: ModelRun, entry: Entry) -> None:
        self.watch(run, entry)
        super()._apply(run, entry)


class Store:
    """What the network's calls reach. `trace` tells a failed simulation's story."""

    def __init__(self, loop: VirtualLoop, model: WatchedModel) -> None:
        self.model = model
        self.definitions: dict[UUID, Definition] = {}
        self.trace: list[tuple[Any, ...]] = []
        self._loop = loop
        self._graphs: dict[UUID, Graph] = {}
        self._listeners: list[Callable[[], None]] = []
        self._ends: dict[UUID, tuple[float, tuple[Any, ...]]] = {}
        self._last_start: dict[tuple[UUID, str], float] = {}
        model.watch = self._about_to_apply

    def add_version(self, version_id: UUID, definition: Definition) -> None:
        self.definitions[version_id] = definition
        self._graphs[version_id] = Graph.of(definition)

    def on_work(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    # What processes call.

    def start(self, run: NewRun, eager: int) -> list[WorkItem]:
        items = self.model.start([run], eager)
        self._tell("start", run.id, "eager" if items else "")
        if not items:
            self._hint()
        return items

    def claim(self, limit: int) -> list[WorkItem]:
        items = self.model.claim(limit)
        for item in items:
            self._tell("claim", item.run_id, item.lease)
        return items

    def write(self, entry: Entry) -> Verdict:
        verdict = self.model.write(entry)
        steps = [(step.step_key, step.status.value) for step in entry.steps]
        self._tell("write", entry.run_id, verdict.value, entry.lease, entry.seq, steps, entry.settle)
        self._note_ends()
        if entry.settle is not None and entry.settle.status is RunStatus.PENDING:
            self._hint()
        return verdict

    def extend(self, leases: Mapping[UUID, UUID]) -> set[UUID]:
        return self.model.extend(leases)

    # What instances do by themselves.

    def cancel(self, run_id: UUID) -> None:
        self._tell("cancel", run_id, self.model.cancel(run_id))
        self._note_ends()

    def rescue(self) -> None:
        freed, failed = self.model.take_back_expired()
        overdue = self.model.fail_overdue()
        if freed or failed or overdue:
            self._tell("rescue", freed, failed, overdue)
        self._note_ends()
        if freed:
            self._hint()

    def unpark(self) -> None:
        if woken := self.model.unpark_due():
            self._tell("unpark", woken)
            self._hint()

    # What the witness checks.

    def node_started(self, process: Process, disturbed_at: float, node: Watched, context: Context) -> None:
        """A node of a process begins. `disturbed_at` is when that process was last frozen or cut off."""
        item = context._scope.item
        self._tell("node", item.run_id, process, node.id, context.step_key, f"attempt {context.attempt}")
        run = self.model.runs[item.run_id]
        step = run.steps.get(context.step_key)
        self._last_start[item.run_id, context.step_key] = self._loop.time()
        self._require(step is None or step.status not in ENDED_BY_ITSELF, "a recorded step ran again", step)
        self._require(context.idempotency_key == f"{item.run_id}:{context.step_key}", "the key differs", context)
        if run.status.final:
            self._require_soon_after_end(item.run_id, disturbed_at)
            return
        self._require(run.lease == item.lease, "a node started without the lease", process, context.step_key)
        if node.effects:
            self._require_all_before_durable(run, context)

    def lease_ends_soon(self, run_id: UUID, lease: UUID, within_seconds: float) -> None:
        """Call when the worker that holds this lease has died."""
        self._loop.call_later(
            within_seconds,
            lambda: self._require(not self.model.holds(run_id, lease), "a dead worker still has a run", run_id),
        )

    def check_at_the_end(self, accepted: Sequence[UUID]) -> None:
        for run_id in accepted:
            self._require(run_id in self.model.runs, "an accepted start has no run", run_id)
        self._require(not self.model.live(), "runs are left live", self.model.live())
        for run_id, run in self.model.runs.items():
            self._require(self._ends[run_id][1] == _final_state(run), "a final state changed", run_id)
            open_steps = [step for step in run.steps.values() if not step.status.final]
            self._require(not open_steps, "a run ended with open steps", run_id, open_steps)
            if run.status is RunStatus.COMPLETED and run.output != b'"stopped"':
                plan = self._plan(run)
                self._require(not plan.ready, "a run completed before all was done", run_id, plan.ready)

    def _about_to_apply(self, run: ModelRun, entry: Entry) -> None:
        self._require(not run.status.final, "an ended run was written", entry)
        for step in entry.steps:
            known = run.steps.get(step.step_key)
            self._require(known is None or not known.status.final, "a step was recorded twice", known, step)
            if step.node_type == Nap.id and step.status is StepStatus.COMPLETED and step.node_id:
                self._require_slept(run, step)

    def _require_slept(self, run: ModelRun, step: StepRecord) -> None:
        node = self.definitions[run.new.version_id].node(step.node_id)
        started = self._last_start.get((run.new.id, step.step_key))
        if node is not None and not node.disabled and started is not None:
            slept = self._loop.time() - started
            self._require(slept >= node.config["seconds"] - 1e-6, "a sleep was too short", step, slept)

    def _require_soon_after_end(self, run_id: UUID, disturbed_at: float) -> None:
        ended_at = self._ends[run_id][0]
        quiet = disturbed_at < ended_at - HEARTBEAT_SECONDS - SLOWEST_SECONDS
        limit = LATEST_HEARTBEAT_SECONDS if quiet else LEASE_SECONDS
        late = self._loop.time() - ended_at
        self._require(late <= limit, "a node started too long after the end of its run", run_id, late, limit)

    def _require_all_before_durable(self, run: ModelRun, context: Context) -> None:
        """The durable steps alone lead to this node, with these inputs; the entry's step follows from the input."""
        plan = self._plan(run)
        node = plan.graph.index[context.step_key]
        self._require(node in plan.ready or node in plan.open, "an effect before its cause", context.step_key)
        for source, value in context.inputs.items():
            if source != run.new.entry and source in run.steps:
                durable = orjson.loads(run.steps[source].output or b"null")
                self._require(durable == value, "an input that is not what was recorded", source, value, durable)

    def _plan(self, run: ModelRun) -> Plan:
        entry = run.new.entry
        derived = StepRecord(entry, entry, "sim_entry", StepStatus.COMPLETED, 1, None, handle="out")  # type: ignore[arg-type]  # no time: it is not stored
        graph = self._graphs[run.new.version_id]
        steps = list(run.steps.values())
        return fold(graph, entry, steps if entry in run.steps else [derived, *steps])

    def _note_ends(self) -> None:
        for run_id, run in self.model.runs.items():
            if run.status.final and run_id not in self._ends:
                self._ends[run_id] = (self._loop.time(), _final_state(run))

    def _hint(self) -> None:
        for listener in self._listeners:
            listener()

    def _tell(self, *what: Any) -> None:
        self.trace.append((round(self._loop.time(), 3), *what))

    def _require(self, kept: bool, promise: str, *details: Any) -> None:
        if not kept:
            self._tell("VIOLATION", promise, *details)
            self._loop.faults.append(Violation(f"{promise}: {', '.join(map(str, details))}"))


def _final_state(run: ModelRun) -> tuple[Any, ...]:
    return run.status, run.output, run.error, tuple(sorted(run.steps.items()))
