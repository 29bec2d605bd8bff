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

from melagent.domain.work import Entry, Verdict
from melagent.engine.journal import Journal
from melagent.worker.worker import Worker
from tests.simulation.simulation import Simulation
from tests.simulation.store import Violation, WatchedModel
from tests.simulation.workflows import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from melagent.domain.run import StepRecord
    from tests.model.model import ModelRun

SEEDS = int(os.environ.get("MEL_SIM_SEEDS", "2000"))
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


def story(simulation: Simulation, seed: int) -> str:
    lines = [" ".join(map(str, line)) for line in simulation.trace[-TOLD_LINES:]]
    return "\n".join([*lines, f"Repeat it: MEL_SIM_SEED={seed} make test ARGS=tests/simulation"])


def simulate(seeds: Iterable[int], types: Any, crashes: list[str], model: type[WatchedModel] = WatchedModel) -> None:
    for seed in seeds:
        simulation = Simulation(seed, types, model)
        try:
            simulation.run()
            assert not crashes, crashes
        except Exception as error:
            error.add_note(story(simulation, seed))
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
    for seed in range(300):
        simulation = Simulation(seed, types)
        simulation.run()
        for _, what, *details in simulation.trace:
            met[what] += 1
            met.update(f"{what} {word}" for word in words(what, details))
    for expected in (
        "kill", "freeze", "network down", "drain", "cancel", "unpark", "claim", "start eager", "rescue freed",
        "rescue overdue", "write accepted", "write lease_lost", "write settled pending", "write settled sleeping",
        "write settled completed", "write settled failed", "write step cancelled", "write step pending",
        "write again", "node attempt 2",
    ):  # fmt: skip
        assert met[expected] > 5, f"{expected}: {met}"


def words(what: str, details: list[Any]) -> Iterable[str]:
    """What a line of a story is about, besides its first word."""
    if what == "rescue":
        freed, failed, overdue = details
        yield from ["freed"] * len(freed) + ["lost"] * len(failed) + ["overdue"] * len(overdue)
    elif what == "write":
        _, verdict, _, seq, steps, settle = details
        yield verdict
        yield from (f"step {status}" for _, status in steps)
        if settle:
            yield f"settled {settle.status}"
        if seq > 1:
            yield "again"
    elif what in ("start", "node"):
        yield details[-1]


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
    def extend(self, leases: Mapping[UUID, UUID]) -> set[UUID]:
        super().extend(leases)
        return set()


class SleepsAreCutShort(WatchedModel):
    def _in(self, seconds: float | None) -> float | None:
        return super()._in(seconds and seconds / 2)

    def _record(self, run: ModelRun, step: StepRecord) -> None:
        super()._record(run, replace(step, due_in=step.due_in and step.due_in / 2))


class EndsAreUndone(WatchedModel):
    def unpark_due(self) -> list[UUID]:
        for run in self.runs.values():
            if run.error is not None and run.steps:
                run.error = None
        return super().unpark_due()


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
    ],
)
def test_the_simulation_notices_a_store_in_which(model, promise, types, crashes):
    with pytest.raises(AssertionError, match=promise):
        simulate(range(2_000), types, crashes, model)


def test_the_simulation_notices_effects_that_do_not_wait_for_their_cause(types, crashes, monkeypatch):
    async def at_once(_journal: Journal) -> None:
        pass

    monkeypatch.setattr(Journal, "durable", at_once)
    with pytest.raises(Violation, match="an effect before its cause"):
        simulate(range(2_000), types, crashes)


def test_the_simulation_notices_a_worker_that_does_not_watch_its_leases(types, crashes, monkeypatch):
    monkeypatch.setattr(Worker, "_still_holds", lambda _worker, _held: True)
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
