"""Thousands of small disasters, each from a seed, and after each the promises of the engine.

The real worker, executor and planner run on a virtual clock over the reference model. A failure names its seed:
`MEL_SIM_SEED=17 make test ARGS=tests/simulation` repeats it, `MEL_SIM_SEEDS=10000` tries that many.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Entry, Message, NewRun, Settle, Verdict, WorkItem
from melagent.engine.course import Loop
from melagent.engine.journal import Journal
from melagent.engine.open_steps import OpenSteps
from melagent.worker.worker import Held, Worker
from tests.simulation import simulation
from tests.simulation.nodes import CallWorkflow, registry
from tests.simulation.simulation import Simulation
from tests.simulation.store import WatchedModel
from tests.simulation.trace import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from melagent.engine.lifecycle.hold import Extended
    from tests.model.run import ModelRun

SEEDS = int(os.environ.get("MEL_SIM_SEEDS", "3000"))
BLOCKS = 10
TOLD_LINES = 60

BLOCK_SEEDS = [range(block * SEEDS // BLOCKS, (block + 1) * SEEDS // BLOCKS) for block in range(BLOCKS)]
if "MEL_SIM_SEED" in os.environ:
    BLOCK_SEEDS = [range(int(os.environ["MEL_SIM_SEED"]), int(os.environ["MEL_SIM_SEED"]) + 1)]


@pytest.fixture(scope="module")
def types():
    return registry()


@pytest.fixture(autouse=True)
def crashes():
    """What the engine logged as a crash: nodes of a simulation fail, but neither they nor the engine crash."""
    before, dice = structlog.get_config(), random.getstate()
    found: list[str] = []

    def note(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
        if event["event"] in ("run crashed", "node crashed"):
            found.append(f"{event['event']}: {sys.exc_info()[1]!r}")
        raise structlog.DropEvent

    structlog.configure(processors=[note], wrapper_class=structlog.make_filtering_bound_logger(40))
    yield found
    structlog.configure(**before)
    random.setstate(dice)


def story(told: Simulation, seed: int) -> str:
    lines = [" ".join(map(str, line)) for line in told.trace[-TOLD_LINES:]]
    return "\n".join([*lines, f"Repeat it: MEL_SIM_SEED={seed} make test ARGS=tests/simulation"])


def simulate(seeds: Iterable[int], types: Any, crashes: list[str], model: type[WatchedModel] = WatchedModel) -> None:
    for seed in seeds:
        one = Simulation(seed, types, model)
        try:
            one.run()
            assert not crashes, crashes
        except Exception as error:
            error.add_note(story(one, seed))
            raise


@pytest.mark.parametrize("seeds", BLOCK_SEEDS, ids=str)
def test_the_promises_hold_whatever_happens(seeds, types, crashes):
    simulate(seeds, types, crashes)


@pytest.mark.prove
def test_the_promises_hold_over_very_many_seeds(types, crashes):
    simulate(range(1_000_000, 1_000_000 + int(os.environ.get("MEL_SIM_SEEDS", "100000"))), types, crashes)


def test_a_seed_always_tells_the_same_story(types):
    for seed in range(20):
        one, other = Simulation(seed, types), Simulation(seed, types)
        one.run()
        other.run()
        assert list(map(str, one.trace)) == list(map(str, other.trace))
        assert one.seconds == other.seconds


def test_the_simulation_meets_every_kind_of_trouble(types):
    met: Counter[str] = Counter()
    for seed in range(500):
        one = Simulation(seed, types)
        one.run()
        for _, what, *details in one.trace:
            met[what] += 1
            met.update(f"{what} {word}" for word in words(what, details))
    for expected in (
        "kill", "freeze", "network down", "drain", "cancel", "unpark", "claim", "admit", "cancel children",
        "start eager", "start limited", "pause pending", "pause waiting", "pause sleeping", "resume True",
        "signal sent", "rescue freed", "rescue overdue", "rescue orphan",
        "write accepted", "write lease_lost", "write settled pending", "write settled sleeping",
        "write settled waiting", "write settled paused", "write settled completed", "write settled failed",
        "write step cancelled", "write step pending", "write step waiting", "write step running", "write step skipped",
        "write again", "write starts", "write takes", "write requires", "write item", "write item of an item",
        "node attempt 2", "node received", "node timed out", "node sim_call received", "node sim_wait received",
    ):  # fmt: skip
        assert met[expected] > 5, f"{expected}: {met}"


def words(what: str, details: list[Any]) -> Iterable[str]:
    """What a line of a story is about, besides its first word."""
    if what == "rescue":
        freed, failed, overdue, orphans = details
        yield from ["freed"] * len(freed) + ["lost"] * len(failed)
        yield from ["overdue"] * len(overdue) + ["orphan"] * len(orphans)
    elif what == "write":
        yield from words_of_write(*details)
    elif what == "node":
        _, _, kind, _, attempt, received = details
        yield from (attempt, received, f"{kind} {received}")
    elif what in ("start", "signal", "pause", "resume"):
        yield str(details[-1])


def words_of_write(_run: Any, verdict: str, _lease: Any, seq: int, steps: Any, settle: Any, more: Any) -> Iterable[str]:
    yield verdict
    for key, status in steps:
        yield f"step {status}"
        yield "item" + " of an item" * (key.count("[") - 1) if "[" in key else ""
    if settle:
        yield f"settled {settle.status}"
        yield "requires" if settle.requires else ""
    yield from (kind for kind, _ in more)
    if seq > 1:
        yield "again"


# The simulation can fail: each of these breaks one rule, and is caught by the promise that rests on it.


class AnyTokenWrites(WatchedModel):
    def write(self, entry: Entry) -> Verdict:
        run = self.runs[entry.run_id]
        return super().write(entry if run.lease is None else replace(entry, lease=run.lease, seq=run.lease_seq + 1))


class RepeatsAreApplied(WatchedModel):
    def is_new(self, run: ModelRun, entry: Entry) -> bool:
        return True


class SettlesAreForgotten(WatchedModel):
    def write(self, entry: Entry) -> Verdict:
        if entry.settle is not None and entry.settle.status.final and self.holds(entry.run_id, entry.lease):
            self.runs[entry.run_id].lease = None
            return Verdict.ACCEPTED
        return super().write(entry)


class JournalIsLost(WatchedModel):
    def _journal(self, run: ModelRun) -> tuple[StepRecord, ...]:
        return ()


class NobodyRescues(WatchedModel):
    def take_back_expired(self) -> tuple[list[UUID], list[UUID]]:
        return [], []


class NobodyTellsTheWorker(WatchedModel):
    def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return replace(super().extend(leases), lost=frozenset())


class NobodySaysPause(WatchedModel):
    def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        return replace(super().extend(leases), paused=frozenset())


class ResumedRunsPause(WatchedModel):
    def _status_after(self, run: ModelRun, settle: Settle) -> RunStatus:
        return settle.status if settle.status is RunStatus.PAUSED else super()._status_after(run, settle)


class MessagesStay(WatchedModel):
    def _apply(self, run: ModelRun, entry: Entry) -> None:
        inbox = dict(run.inbox)
        super()._apply(run, entry)
        run.inbox.update(inbox)


class SignalsChange(WatchedModel):
    def _message(self, message: Message) -> Message:
        message = super()._message(message)
        return message if message.child_id else replace(message, value=b'"another"')


class NewestSignalFirst(WatchedModel):
    def unread(self, run_id: UUID) -> tuple[Message, ...]:
        newest = {message.child_id or message.topic: message for message in super().unread(run_id)}
        return tuple(newest.values())


class NobodyLooksIntoTheInbox(WatchedModel):
    def _may_wake(self, run: ModelRun) -> bool:
        return run.wake_at is not None and super()._may_wake(run)


class ParentsAreNotTold(WatchedModel):
    def _tell_of_end(self, run: ModelRun) -> None:
        pass


class ChildrenAreLeftAlone(WatchedModel):
    def cancel_children(self, run_ids: Iterable[UUID]) -> list[UUID]:
        return []


class ChildrenStartBeforeTheirStep(WatchedModel):
    def write(self, entry: Entry) -> Verdict:
        self.start(entry.starts)
        return super().write(entry)


class WokenRunsTakeAPlace(WatchedModel):
    def _wake(self, run: ModelRun) -> None:
        run.status = RunStatus.PENDING
        run.make_due()


class LabelsAreForgotten(WatchedModel):
    def start(self, runs: Sequence[NewRun], eager: int = 0) -> list[WorkItem]:
        return super().start([replace(run, requires="") for run in runs], eager)


class BegunStepsAreForgotten(WatchedModel):
    def _journal(self, run: ModelRun) -> tuple[StepRecord, ...]:
        return tuple(step for step in super()._journal(run) if step.status is not StepStatus.RUNNING)


class SleepsAreCutShort(WatchedModel):
    def _in(self, seconds: float | None) -> float | None:
        return super()._in(seconds and seconds / 2)

    def _record(self, run: ModelRun, step: StepRecord) -> None:
        super()._record(run, replace(step, due_in=step.due_in and step.due_in / 2))


class EndsAreUndone(WatchedModel):
    def due(self) -> list[UUID]:
        for run in self.runs.values():
            if run.error is not None and run.steps:
                run.error = None
        return super().due()


@pytest.mark.parametrize(
    ("model", "promise"),
    [
        (AnyTokenWrites, "recorded twice|ran again"),
        (RepeatsAreApplied, "recorded twice"),
        (SettlesAreForgotten, "ran again|still live|recorded twice"),
        (JournalIsLost, "ran again"),
        (NobodyRescues, "a dead worker still has a run|still live"),
        (NobodyTellsTheWorker, "too long after the end"),
        (SleepsAreCutShort, "sleep was too short"),
        (EndsAreUndone, "a final state changed"),
        (NobodySaysPause, "a node started in a paused run"),
        (ResumedRunsPause, "a run is paused that was told to go on"),
        (MessagesStay, "a message was taken twice"),
        (SignalsChange, "a signal was taken and led to nothing"),
        (NewestSignalFirst, "a signal was taken before an earlier one"),
        (NobodyLooksIntoTheInbox, "still live"),
        (ParentsAreNotTold, "still live"),
        (ChildrenAreLeftAlone, "a child lives on without its parent"),
        (ChildrenStartBeforeTheirStep, "a child was started twice|a child lives on without its parent"),
        (WokenRunsTakeAPlace, "more runs are due than the limit"),
        (LabelsAreForgotten, "where its labels are not"),
        (BegunStepsAreForgotten, "an attempt was made twice"),
    ],
)
def test_the_simulation_notices_a_store_in_which(model, promise, types, crashes, monkeypatch):
    monkeypatch.setattr(simulation, "LONGEST_SECONDS", 250.0)  # what never ends need not be waited for so long
    with pytest.raises(AssertionError, match=promise):
        simulate(range(2_000), types, crashes, model)


def test_the_simulation_notices_effects_that_do_not_wait_for_their_cause(types, crashes, monkeypatch):
    async def at_once(_journal: Journal) -> None:
        pass

    monkeypatch.setattr(Journal, "durable", at_once)
    with pytest.raises(Violation, match=r"an effect before its cause|an attempt was made twice"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_results_in_the_order_of_their_arrival(types, crashes, monkeypatch):
    def as_they_came(loop: Loop) -> bytes:
        return b"[" + b",".join(result for result in loop.results.values() if result is not None) + b"]"

    monkeypatch.setattr(Loop, "output", as_they_came)
    with pytest.raises(Violation, match="the results of a loop are not those of its items"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_a_call_that_answers_for_another(types, crashes, monkeypatch):
    monkeypatch.setattr(CallWorkflow, "after_wait", lambda _node, _params, _ctx: "what the child did not say")
    with pytest.raises(Violation, match="a call has not the output of its run"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_a_signal_that_the_time_out_passes_over(types, crashes, monkeypatch):
    resume = OpenSteps.resume

    def timers_first(steps: OpenSteps) -> None:
        resume(steps)
        steps.fire_timers()

    monkeypatch.setattr(OpenSteps, "resume", timers_first)
    with pytest.raises(Violation, match="a wait timed out though its signal was there"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_a_worker_that_does_not_watch_its_leases(types, crashes, monkeypatch):
    monkeypatch.setattr(Held, "lasts", lambda _held: True)
    with pytest.raises(Violation, match=r"without the lease|too long after the end"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_a_drain_that_keeps_its_runs(types, crashes, monkeypatch):
    async def stop_asking(worker: Worker) -> None:
        await worker.stop_claiming()
        await worker._heartbeat.stop()
        await worker._watchdog.stop()

    monkeypatch.setattr(Worker, "drain", stop_asking)
    with pytest.raises(AssertionError, match="ended with runs in hand"):
        simulate(range(2_000), types, crashes)
