"""The witness of a simulation: knows every start of a node and every durable step, and holds the engine to its word.

What must hold is worked out from what is durable, and by other means than the engine's where that is possible.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.definition import OnInterrupted
from melagent.domain.ids import time_of
from melagent.domain.loops import DONE_HANDLE, ITEMS_SUFFIX, LOOP_TYPE, path_of, step_key
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Parent, signal_topic
from melagent.engine.course import Course, Item, fold
from tests.model.run import Reason
from tests.simulation.network import SLOWEST_SECONDS
from tests.simulation.nodes import Await, CallWorkflow, Entry, Nap
from tests.simulation.results import results_of_loop, same

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from melagent.domain.definition import Node
    from melagent.domain.work import Entry as JournalEntry
    from melagent.domain.work import Message, WorkItem
    from melagent.engine.context import Context
    from tests.model.model import Model
    from tests.model.run import ModelRun
    from tests.simulation.loop import VirtualLoop
    from tests.simulation.nodes import Watched
    from tests.simulation.simulation import SimulatedProcess
    from tests.simulation.trace import Trace
    from tests.simulation.workflows import Library

LEASE_SECONDS = 15.0
HEARTBEAT_SECONDS = 5.0
LATEST_HEARTBEAT_SECONDS = HEARTBEAT_SECONDS * 1.1 + 0.6
"""With the loop's jitter, and two quick calls: to be granted the lease, and to be told that it has ended."""

ORPHAN_SECONDS, SOON_SECONDS = 20.0, 2.0
"""A pass that looks for children without a parent comes after the first time at the latest. Mostly they have been ended
long before, some milliseconds after their parent."""

ENDED_BY_ITSELF = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED})


class Witness:
    def __init__(self, loop: VirtualLoop, model: Model, library: Library, trace: Trace) -> None:
        self.model = model
        self._loop = loop
        self.library = library
        self.trace = trace
        self._require = trace.require
        self._signals = count(1)
        self._ends: dict[UUID, tuple[float, tuple[Any, ...]]] = {}
        self._paused_at: dict[UUID, float] = {}
        self._last_start: dict[tuple[UUID, str], float] = {}
        self._once: set[tuple[UUID, str, int, bool]] = set()
        self._taken: set[int] = set()
        self._awaited_at_end: dict[UUID, set[str]] = {}
        self._known: dict[UUID, tuple[Message, ...]] = {}

    def next_signal(self) -> int:
        return next(self._signals)

    def paused(self, run_id: UUID) -> None:
        self._paused_at.setdefault(run_id, self._loop.time())

    def resumed(self, run_id: UUID) -> None:
        self._paused_at.pop(run_id, None)

    def granted(self, item: WorkItem) -> None:
        self._known[item.lease] = item.inbox

    def lease_ends_soon(self, run_id: UUID, lease: UUID, within_seconds: float) -> None:
        """Call when the worker that holds this lease has died."""
        self._loop.call_later(
            within_seconds,
            lambda: self._require(not self.model.holds(run_id, lease), "a dead worker still has a run", run_id),
        )

    # When a node starts.

    def node_started(self, process: SimulatedProcess, disturbed_at: float, node: Watched, context: Context) -> None:
        """`disturbed_at` is when the process was last frozen or cut off."""
        item, key = context._scope.view.item, context.step_key
        self.trace.tell("node", item.run_id, process, node.id, key, f"attempt {context.attempt}", _received(context))
        run = self.model.runs[item.run_id]
        step = run.steps.get(key)
        self._last_start[item.run_id, key] = self._loop.time()
        self._require(step is None or step.status not in ENDED_BY_ITSELF, "a recorded step ran again", step)
        self._require(context.idempotency_key == f"{item.run_id}:{key}", "the key differs", context)
        if run.status.final:
            since = self._ends[item.run_id][0]
            self._require_soon_after(since, disturbed_at, "a node started too long after the end of its run", key)
            return
        self._require(run.lease == item.lease, "a node started without the lease", process, key)
        if item.run_id in self._paused_at:
            since = self._paused_at[item.run_id]
            self._require_soon_after(since, disturbed_at, "a node started in a paused run", key)
        settings = self._node(run, context._scope.place.node_id)
        labels = {*settings.labels, *self.library.of_version(run.new.version_id).definition.settings.labels}
        self._require(process.offered.issuperset(labels), "a node started where its labels are not", key)
        self._require_its_item(run, context)
        if node.id == Await.id and context.received is not None and context.received.timed_out:
            self._require_nothing_came(run, item.lease, key, settings)
        if node.effects:
            self._require_all_before_durable(run, context)
            self._require_at_most_once(settings, item.run_id, context)

    def _require_soon_after(self, since: float, disturbed_at: float, promise: str, key: str) -> None:
        """Workers are told with the next heartbeat; one that is cut off stops when its lease has run out."""
        quiet = disturbed_at < since - HEARTBEAT_SECONDS - SLOWEST_SECONDS
        limit = LATEST_HEARTBEAT_SECONDS if quiet else LEASE_SECONDS
        late = self._loop.time() - since
        self._require(late <= limit, promise, key, late, limit)

    def _require_its_item(self, run: ModelRun, context: Context) -> None:
        place = context._scope.place
        if place.plan.path:
            loop = self.library.of_version(run.new.version_id).regions.loop_of[place.node_id]
            expected = step_key(loop or "", place.plan.path)
            item = context._scope["item"]
            self._require(item == expected, "a node got another item", context.step_key, item)

    def _require_nothing_came(self, run: ModelRun, lease: UUID, key: str, node: Node) -> None:
        """A signal that was there when the run was leased is not passed over because the time is up since."""
        topic = signal_topic(node.config["signal"])
        came = [message for message in self._known[lease] if message.topic == topic and message.id in run.inbox]
        waits = [step for step in run.steps.values() if step.node_type == Await.id and step.step_key != key]
        others = [step for step in waits if step.status is StepStatus.WAITING]
        self._require(len(came) <= len(others), "a wait timed out though its signal was there", run.new.id, came)

    def _require_at_most_once(self, node: Node, run_id: UUID, context: Context) -> None:
        start = (run_id, context.step_key, context.attempt, context.received is None)
        if node.on_interrupted is not OnInterrupted.RETRY:
            self._require(start not in self._once, "an attempt was made twice that must not be", start)
            self._once.add(start)

    def _require_all_before_durable(self, run: ModelRun, context: Context) -> None:
        """The durable steps alone lead to this node, with these inputs; the entry's step follows from the input."""
        course, open_steps = self._course(run)
        begun = {place.key for place in course.ready} | open_steps.keys()
        self._require(context.step_key in begun, "an effect before its cause", context.step_key)
        for source, value in context.inputs.items():
            key = step_key(source, context._scope.place.plan.path)
            if source != run.new.entry and key in run.steps:
                durable = orjson.loads(run.steps[key].output or b"null")
                self._require(durable == value, "an input that is not what was recorded", key, value, durable)

    # When something is about to become durable.

    def about_to_apply(self, run: ModelRun, entry: JournalEntry) -> None:
        self._require(not run.status.final, "an ended run was written", entry)
        if entry.settle is not None and entry.settle.status.final:
            waits = {key for key, step in run.steps.items() if step.status is StepStatus.WAITING}
            waits |= {child.parent.step_key for child in entry.starts if child.parent}
            cancelled = {step.step_key for step in entry.steps if step.status is StepStatus.CANCELLED}
            self._awaited_at_end[run.new.id] = cancelled & waits
        for step in entry.steps:
            known = run.steps.get(step.step_key)
            self._require(known is None or not known.status.final, "a step was recorded twice", known, step)
            if step.node_type == Nap.id and step.status is StepStatus.COMPLETED:
                self._require_slept(run, step)
        for number in entry.taken:
            message = run.inbox.get(number)
            self._require(message is not None and number not in self._taken, "a message was taken twice", number)
            self._taken.add(number)
            if message is not None and message.child_id is None:
                self._require_received(run, entry, message)

    def _require_slept(self, run: ModelRun, step: StepRecord) -> None:
        node = self._node(run, step.node_id)
        started = self._last_start.get((run.new.id, step.step_key))
        if not node.disabled and started is not None:
            slept = self._loop.time() - started
            self._require(slept >= node.config["seconds"] - 1e-6, "a sleep was too short", step, slept)

    def _require_received(self, run: ModelRun, entry: JournalEntry, message: Message) -> None:
        """A signal is the output of the step that took it, and signals of a name are taken in their order."""
        outputs = [step.output for step in entry.steps if step.node_type == Await.id and step.handle == "out"]
        self._require(message.value in outputs, "a signal was taken and led to nothing", message, entry)
        earlier = [m.id for m in run.inbox.values() if m.topic == message.topic and m.id < message.id]
        self._require(set(earlier) <= set(entry.taken), "a signal was taken before an earlier one", message, earlier)

    # After each change, and at the end.

    def look(self) -> None:
        """Note the ends of runs, and count the due ones of limited workflows."""
        due: Counter[UUID] = Counter()
        for run_id, run in self.model.runs.items():
            paused = run.reason is Reason.PAUSED
            self._require(not paused or run_id in self._paused_at, "a run is paused that was told to go on", run_id)
            if run.status.final:
                if run_id not in self._ends:
                    self._ends[run_id] = (self._loop.time(), _final_state(run))
            elif run.new.limit is not None and run.due:
                due[run.new.limit.workflow_id] += 1
                most = run.new.limit.runs
                self._require(due[run.new.limit.workflow_id] <= most, "more runs are due than the limit", run_id, most)

    def look_for_orphans(self, forgot_at: float) -> None:
        """Whoever ends a run ends the children that it waits for, unless it died in between, or `forgot` others.

        Then, and for children that nobody waited for any more, there is a pass.
        """
        for run_id in self.model.live():
            new = self.model.runs[run_id].new
            if new.parent is None or not new.parent.attached:
                continue
            parent = self.model.runs[new.parent.run_id]
            if parent.status.final:
                ended_at = self._ends[new.parent.run_id][0]
                awaited = self._awaited_at_end.get(new.parent.run_id, {new.parent.step_key})
                soon = new.parent.step_key in awaited and forgot_at < ended_at
                late = self._loop.time() - ended_at
                limit = SOON_SECONDS if soon else ORPHAN_SECONDS
                self._require(late <= limit, "a child lives on without its parent", run_id, late, limit)

    def check_at_the_end(self, accepted: Sequence[UUID]) -> None:
        for run_id in accepted:
            self._require(run_id in self.model.runs, "an accepted start has no run", run_id)
        self._require(not self.model.live(), "runs are left live", self.model.live())
        for run_id, run in self.model.runs.items():
            self._require(self._ends[run_id][1] == _final_state(run), "a final state changed", run_id)
            open_steps = [step for step in run.steps.values() if not step.status.final]
            self._require(not open_steps, "a run ended with open steps", run_id, open_steps)
            if run.status is RunStatus.COMPLETED and run.output != b'"stopped"':
                ready = self._course(run)[0].ready
                self._require(not ready, "a run completed before all was done", run_id, ready)
            for step in run.steps.values():
                if step.status is StepStatus.COMPLETED:
                    self._check_completed(run, step)
        self._check_that_children_were_started_once()

    def _check_that_children_were_started_once(self) -> None:
        """An attempt starts its child together with the record that says so."""
        children = Counter(run.new.parent for run in self.model.runs.values() if run.new.parent)
        for parent, started in children.items():
            step = self.model.runs[parent.run_id].steps.get(parent.step_key)
            self._require(step is not None and started <= step.attempt, "a child was started twice", parent)

    def _check_completed(self, run: ModelRun, step: StepRecord) -> None:
        node = self._node(run, step.node_id)
        if node.disabled or step.step_key.endswith(ITEMS_SUFFIX):
            return
        if node.type == LOOP_TYPE and step.handle == DONE_HANDLE:
            self._check_results(run, step)
        elif node.type == LOOP_TYPE or (node.type == CallWorkflow.id and node.config["sync"]):
            self._check_child(run, step)

    def _check_results(self, run: ModelRun, step: StepRecord) -> None:
        spec = orjson.loads(run.steps[step.step_key + ITEMS_SUFFIX].output or b"null")
        workflow = self.library.of_version(run.new.version_id)
        expected = results_of_loop(run, workflow, step.node_id, path_of(step.step_key, step.node_id), spec)
        results = orjson.loads(step.output or b"null")
        right = len(results) == len(expected) and all(map(same, results, expected))
        self._require(right, "the results of a loop are not those of its items", step.step_key, results, expected)

    def _check_child(self, run: ModelRun, step: StepRecord) -> None:
        of_step = Parent(run.new.id, step.step_key, run.new.parent.depth + 1 if run.new.parent else 1, attached=True)
        children = [child for child in self.model.runs.values() if child.new.parent == of_step]
        outputs = [child.output for child in children if child.status is RunStatus.COMPLETED]
        self._require(step.output in outputs, "a call has not the output of its run", run.new.id, step, outputs)

    # What is known of runs.

    def _node(self, run: ModelRun, node_id: str) -> Node:
        node = self.library.of_version(run.new.version_id).definition.node(node_id)
        assert node is not None
        return node

    def _course(self, run: ModelRun) -> tuple[Course, dict[str, StepRecord]]:
        """Where a run stands by its durable steps. Whether that of its entry is among them or not."""
        new, steps = run.new, list(run.steps.values())
        regions = self.library.of_version(new.version_id).regions
        if new.scope is not None:
            value = orjson.dumps(orjson.loads(new.input)["item"])
            return fold(regions, new.entry, steps, Item(new.scope, value, time_of(new.id)))
        if new.entry not in run.steps:
            entry = new.entry
            steps.append(StepRecord(entry, entry, Entry.id, StepStatus.COMPLETED, 1, time_of(new.id), handle="out"))
        return fold(regions, new.entry, steps)


def _received(context: Context) -> str:
    if context.received is None:
        return ""
    return "timed out" if context.received.timed_out else "received"


def _final_state(run: ModelRun) -> tuple[Any, ...]:
    return run.status, run.output, run.error, tuple(sorted(run.steps.items()))
