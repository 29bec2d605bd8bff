"""The store of a simulation: the reference model, and around it what instances do when something was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.requirement import met
from melagent.domain.run import RunStatus, StepStatus, Trigger
from melagent.domain.work import NewRun, Verdict, signal_topic
from melagent.services.starts import facts_of
from tests.model.model import Model
from tests.simulation.nodes import Await

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.domain.work import ChildCall, Entry, Parent, WorkItem
    from melagent.engine.lifecycle.hold import Extended
    from melagent.registry import Registry
    from tests.model.run import ModelRun
    from tests.simulation.network import Network
    from tests.simulation.witness import Witness
    from tests.simulation.workflows import Workflow

PASSES_BETWEEN_ORPHANS = 8


class WatchedModel(Model):
    """The model, which is asked about each new entry before it is applied."""

    watch: Callable[[ModelRun, Entry], None]

    def _apply(self, run: ModelRun, entry: Entry) -> None:
        self.watch(run, entry)
        super()._apply(run, entry)


class Store:
    """What the network's calls reach."""

    def __init__(self, model: WatchedModel, types: Registry, network: Network, witness: Witness) -> None:
        self.model = model
        self.library = witness.library
        self._types = types
        self._network = network
        self._witness = witness
        self._tell = witness.trace.tell
        self._listeners: list[Callable[[], None]] = []
        self._rescues = 0
        model.watch = witness.about_to_apply

    def on_work(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    # What processes call.

    def start(self, run: NewRun, eager: int) -> list[WorkItem]:
        items = self.model.start([run], eager)
        self._tell("start", run.id, "eager" if items else "limited" if run.limit else "")
        for item in items:
            self._witness.granted(item)
        if run.limit is not None:
            self._soon(lambda: self._admit([run.limit.workflow_id]))
        elif not items:
            self._hint()
        return items

    def claim(self, limit: int, offered: frozenset[str]) -> list[WorkItem]:
        free = {run.requires for run in self.model.runs.values() if run.free}
        items = self.model.claim(limit, met(offered, free)) if free else []
        for item in items:
            self._tell("claim", item.run_id, item.lease)
            self._witness.granted(item)
        return items

    def write(self, entry: Entry) -> Verdict:
        verdict = self.model.write(entry)
        steps = [(step.step_key, step.status.value) for step in entry.steps]
        more = [("starts", child.id) for child in entry.starts] + [("takes", number) for number in entry.taken]
        self._tell("write", entry.run_id, verdict.value, entry.lease, entry.seq, steps, entry.settle, more)
        self._witness.look()
        if verdict is Verdict.ACCEPTED:
            self._follow_up(entry)
        return verdict

    def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return self.model.extend(leases)

    def child(self, call: ChildCall) -> NewRun:
        """What `services.calls.Calls.resolve` does."""
        if call.scope is None:
            return self.new_run(call.run_id, self.library.named(call.workflow or ""), call.input, call.parent)
        loop = call.scope.split("[", maxsplit=1)[0]
        priority = self.library.of_version(call.caller.version_id).definition.settings.priority
        return NewRun(
            call.run_id, call.caller.workflow_id, call.caller.version_id, loop, call.input,
            Trigger("for_each", None, loop), priority, requires=call.caller.required, parent=call.parent,
            scope=call.scope,
        )  # fmt: skip  # in the order of the fields

    def new_run(self, run_id: UUID, workflow: Workflow, value: bytes, parent: Parent | None = None) -> NewRun:
        facts = facts_of(workflow.definition, self._types, workflow.id)
        return NewRun(run_id, workflow.id, workflow.version_id, "n0", value, parent=parent, **facts)

    # What people do.

    def cancel(self, run_id: UUID) -> None:
        before = self.model.cancel(run_id)
        self._tell("cancel", run_id, before)
        self._ended_from_outside([run_id] if before is not None and not before.final else [])

    def pause(self, run_id: UUID) -> None:
        before = self.model.pause(run_id)
        self._tell("pause", run_id, before)
        if before is not None and not before.final:
            self._witness.paused(run_id)

    def resume(self, run_id: UUID) -> None:
        resumed = not self.model.runs[run_id].status.final and self.model.resume(run_id)
        self._tell("resume", run_id, resumed)
        if resumed:
            self._witness.resumed(run_id)
            limited_by = self.model.runs[run_id].limited_by
            self._soon(lambda: self._admit([limited_by] if limited_by else []))
            self._hint()

    def signal(self, run_id: UUID, name: str) -> None:
        """The value is a number that no other signal has."""
        number = self._witness.next_signal()
        sent = self.model.send(run_id, signal_topic(name), orjson.dumps(number))
        self._tell("signal", run_id, name, number, "sent" if sent else "refused")
        if sent:
            self._soon(lambda: self._wake([run_id]))

    def answer_everybody(self) -> None:
        """Send a signal to each run with a step that waits for one it does not have, and let the paused ones go on."""
        for run_id in self.model.live():
            run = self.model.runs[run_id]
            if run.pausing or run.status is RunStatus.PAUSED:
                self.resume(run_id)
            wanted = {name for step in run.steps.values() if (name := _signal_of(step))}
            for name in sorted(wanted):
                if not run.has_message_of((signal_topic(name),)):
                    self.signal(run_id, name)

    # What instances do by themselves.

    def rescue(self) -> None:
        self._witness.look_for_orphans(self._network.forgot_at)
        freed, failed = self.model.take_back_expired()
        overdue = self.model.fail_overdue()
        orphans = self.model.cancel_orphans() if self._rescues % PASSES_BETWEEN_ORPHANS == 0 else []
        self._rescues += 1
        if freed or failed or overdue or orphans:
            self._tell("rescue", freed, failed, overdue, orphans)
        self._ended_from_outside([*failed, *overdue, *orphans])
        if freed:
            self._hint()

    def unpark(self) -> None:
        self._wake(self.model.due())
        self._admit(self.model.limited())

    def _follow_up(self, entry: Entry) -> None:
        """What `engine.engine.Engine` does after a write."""
        run, settle = self.model.runs[entry.run_id], entry.settle
        limited = {start.limit.workflow_id for start in entry.starts if start.limit is not None}
        if settle is not None and settle.waits:
            self._soon(lambda: self._wake([entry.run_id]))
        if settle is not None and settle.status.final and run.attached_to is not None:
            self._soon(lambda: self._wake([run.attached_to]))
        if run.limited_by is not None and not run.due:
            limited.add(run.limited_by)
        if limited:
            self._soon(lambda: self._admit(limited))
        if entry.leaves_children:
            self._soon(lambda: self._cancel_children([entry.run_id]))
        if entry.starts or (settle is not None and run.free):
            self._hint()

    def _ended_from_outside(self, run_ids: Sequence[UUID]) -> None:
        self._witness.look()
        runs = [self.model.runs[run_id] for run_id in run_ids]
        parents = [run.attached_to for run in runs if run.attached_to is not None]
        limited = {run.limited_by for run in runs if run.limited_by is not None}
        if runs:
            self._soon(lambda: self._wake(parents))
            self._soon(lambda: self._admit(limited))
            self._soon(lambda: self._cancel_children(run_ids))

    def _cancel_children(self, run_ids: Sequence[UUID]) -> None:
        if cancelled := self.model.cancel_children(run_ids):
            self._tell("cancel children", cancelled)
            self._ended_from_outside(cancelled)

    def _wake(self, run_ids: Iterable[UUID]) -> None:
        if woken := self.model.wake(run_ids):
            self._tell("unpark", woken)
            self._witness.look()
            self._hint()

    def _admit(self, workflow_ids: Iterable[UUID]) -> None:
        if admitted := self.model.admit(workflow_ids):
            self._tell("admit", admitted)
            self._witness.look()
            self._hint()

    def _soon(self, what: Callable[[], None]) -> None:
        self._network.soon(what)

    def _hint(self) -> None:
        for listener in self._listeners:
            listener()


def _signal_of(step: StepRecord) -> str | None:
    """The name of the signal that a step waits for."""
    if step.node_type != Await.id or step.status is not StepStatus.WAITING:
        return None
    name: Any = orjson.loads(step.output or b"{}")["signal"]
    return str(name)
