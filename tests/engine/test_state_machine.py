"""Whatever is done to runs, in whatever order, PostgreSQL answers and ends up like the model.

Every rule does the same to both and compares the answers; after each rule the whole state is compared. Time passes by
moving the stored moments back. All durations are such that no moment ever comes within 30 s of a limit, so that the
seconds a test really takes do not matter.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from melagent.domain.ids import uuid7
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import Entry, NewRun, Settle, WorkItem
from melagent.engine.lifecycle import rescue, wake
from melagent.store import journal
from tests.builders import VERSION, claimed, extended, misplaced
from tests.model.model import PARKED, Model
from tests.model.postgres import (
    LEASE,
    NOBODY,
    Database,
    comparable,
    durations,
    moments_of_model,
    moments_of_row,
    state_of_model,
    state_of_row,
    stored_states,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

SLEEP, DEADLINE, TICK = 500.0, 1300.0, 350.0
SLACK = 30.0
MAX_LIVE, MAX_RUNS = 4, 15
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = (b"1", rb'"a\u0000b"', b'"' + b"x" * 9_000 + b'"')
ERROR = {"code": "boom", "message": "it broke \x00"}

numbers = count(1)
some = st.integers(0, 10_000)

STEPS = {
    StepStatus.COMPLETED: {"handle": "out", "finished_at": NOW},
    StepStatus.FAILED: {"error": ERROR, "finished_at": NOW},
    StepStatus.PENDING: {"error": ERROR, "due_in": SLEEP},
    StepStatus.SLEEPING: {"due_in": SLEEP},
}
statuses = st.sampled_from(list(STEPS))
SETTLES = (
    Settle(RunStatus.COMPLETED, output=VALUES[0]),
    Settle(RunStatus.COMPLETED, output=VALUES[2]),
    Settle(RunStatus.FAILED, error=ERROR),
    Settle(RunStatus.PENDING),
    Settle(RunStatus.SLEEPING, wake_in=SLEEP),
    Settle(RunStatus.WAITING, waiting_for={"signal": "go"}),
)


@dataclass(frozen=True, slots=True)
class Granted:
    """The same lease in the model and in the database, which made tokens of their own."""

    model: WorkItem
    stored: WorkItem


@dataclass(frozen=True, slots=True)
class Sent:
    """The same entry for the model and for the database."""

    model: Entry
    stored: Entry


class Lifecycle(RuleBasedStateMachine):
    """The rules: everything that can happen to runs, by workers that hold, lost or never had their leases."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.model = Model(lambda: self.now, lease_seconds=LEASE)
        self.grants: list[Granted] = []
        self.sent: list[Sent] = []
        self.seqs: dict[UUID, int] = {}
        self.deadly = self.limited = False

    def teardown(self) -> None:
        self.database.forget()

    @property
    def good_grants(self) -> list[Granted]:
        return [grant for grant in self.grants if self.model.holds(grant.model.run_id, grant.model.lease)]

    @initialize(deadly=st.booleans(), limited=st.booleans(), runs=st.integers(1, 3), eager=st.integers(0, 2))
    def begin(self, deadly: bool, limited: bool, runs: int, eager: int) -> None:
        self.deadly, self.limited = deadly, limited
        self.start(runs, eager, 5)

    @precondition(lambda self: len(self.model.live()) < MAX_LIVE and len(self.model.runs) < MAX_RUNS)
    @rule(runs=st.integers(1, 3), eager=st.integers(0, 2), priority=st.sampled_from([1, 5]))
    def start(self, runs: int, eager: int, priority: int) -> None:
        deadline = DEADLINE if self.limited else None
        self._start(
            [
                NewRun(_run_id(), None, VERSION, "start", VALUES[n % 3], priority=priority, deadline_in=deadline)
                for n in range(runs)
            ],
            eager,
        )

    @precondition(lambda self: self.model.runs)
    @rule(which=some, eager=st.integers(0, 1))
    def repeat_a_start(self, which: int, eager: int) -> None:
        self._start([_pick(list(self.model.runs.values()), which).new], eager)

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        self._note(self.model.claim(limit), self.database.wait(claimed(self.database.pool, "worker", limit, LEASE)))

    @precondition(lambda self: self.good_grants)
    @rule(which=st.lists(some, min_size=1, max_size=3), statuses=st.lists(statuses, min_size=1, max_size=2), key=some)
    def record(self, which: list[int], statuses: list[StepStatus], key: int) -> None:
        self._send(self._some_of(self.good_grants, which), statuses, key, None)

    @precondition(lambda self: self.good_grants)
    @rule(
        which=st.lists(some, min_size=1, max_size=2),
        statuses=st.lists(statuses, max_size=2),
        key=some,
        settle=st.sampled_from(SETTLES),
    )
    def settle(self, which: list[int], statuses: list[StepStatus], key: int, settle: Settle) -> None:
        self._send(self._some_of(self.good_grants, which), statuses, key, settle)

    @precondition(lambda self: len(self.grants) > len(self.good_grants))
    @rule(
        which=st.lists(some, min_size=1, max_size=3),
        statuses=st.lists(statuses, max_size=2),
        settle=st.one_of(st.none(), st.sampled_from(SETTLES)),
    )
    def write_perhaps_too_late(self, which: list[int], statuses: list[StepStatus], settle: Settle | None) -> None:
        self._send(self._some_of(self.grants, which), statuses, which[0], settle)

    @precondition(lambda self: self.sent)
    @rule(which=some, latest=st.booleans())
    def repeat_a_write(self, which: int, latest: bool) -> None:
        self._write([self.sent[-1] if latest else _pick(self.sent, which)])

    @precondition(lambda self: self.good_grants)
    @rule(which=some)
    def write_without_a_lease(self, which: int) -> None:
        entry = self._entry(_pick(self.good_grants, which), [StepStatus.COMPLETED], which, SETTLES[0])
        self._write([Sent(replace(entry.model, lease=NOBODY), replace(entry.stored, lease=NOBODY))])

    @precondition(lambda self: self.grants)
    @rule(which=st.lists(some, min_size=1, max_size=3))
    def extend(self, which: list[int]) -> None:
        grants = self._some_of(self.grants, which)
        lost = self.model.extend({run_id: grant.model.lease for run_id, grant in grants.items()})
        leases = {run_id: grant.stored.lease for run_id, grant in grants.items()}
        lost_there = self.database.wait(extended(self.database.pool, leases, LEASE))
        assert lost_there == {grant.stored.lease for grant in grants.values() if grant.model.lease in lost}

    @precondition(lambda self: self.model.runs)
    @rule(which=some)
    def cancel(self, which: int) -> None:
        run_id = _pick(list(self.model.runs), which)
        before = self.model.cancel(run_id)
        assert before is not None
        assert self.database.cancel(run_id) == ("conflict" if before.final else "cancelled")

    @precondition(lambda self: not self.model.runs)
    @rule()
    def cancel_what_is_not_there(self) -> None:
        run_id = _run_id()
        assert self.model.cancel(run_id) is None
        assert self.database.cancel(run_id) == "not_found"

    @precondition(lambda self: self.good_grants)
    @rule()
    def take_back_expired(self) -> None:
        freed, failed = self.model.take_back_expired()
        freed_there, failed_there = self.database.wait(rescue.take_back_expired(self.database.pool))
        assert (set(freed_there), set(failed_there)) == (set(freed), set(failed))

    @precondition(lambda self: self.limited)
    @rule()
    def fail_overdue(self) -> None:
        assert set(self.model.fail_overdue()) == set(self.database.wait(rescue.fail_overdue(self.database.pool)))

    @precondition(lambda self: any(run.status in PARKED for run in self.model.runs.values()))
    @rule()
    def unpark(self) -> None:
        assert set(self.model.unpark_due()) == set(self.database.wait(wake.wake_due(self.database.pool, thorough=True)))

    @precondition(lambda self: self.model.runs)
    @rule(ticks=st.sampled_from([1, 1, 2, 3]))
    def time_passes(self, ticks: int) -> None:
        self.now += ticks * TICK
        self.database.let_pass(ticks * TICK, self.model.runs)

    @precondition(lambda self: self.deadly and any(run.free for run in self.model.runs.values()))
    @rule()
    def a_worker_dies_with_what_is_free(self) -> None:
        """Claim, let the lease expire, take back: five times in a row ends a run, which chance alone rarely does."""
        self.claim(3)
        self.time_passes(3)
        self.take_back_expired()

    @invariant()
    def is_like_the_model(self) -> None:
        rows = self.database.wait(stored_states(self.database.pool, list(self.model.runs)))
        tokens = {grant.stored.lease: grant.model.lease for grant in self.grants}
        for run_id, run in self.model.runs.items():
            row = rows[run_id]
            assert state_of_row(row, tokens) == state_of_model(run)
            assert moments_of_row(row) == pytest.approx(moments_of_model(run, self.now), abs=SLACK), run_id

    @invariant()
    def every_live_run_is_in_one_place_and_an_ended_one_in_none(self) -> None:
        assert not self.database.wait(misplaced(self.database.pool))

    def _start(self, runs: list[NewRun], eager: int) -> None:
        self._note(self.model.start(runs, eager), self.database.start(runs, eager))

    def _note(self, granted: list[WorkItem], stored: list[WorkItem]) -> None:
        there = {item.run_id: item for item in stored}
        assert there.keys() == {item.run_id for item in granted}
        for item in granted:
            other = there[item.run_id]
            assert comparable(other) == comparable(item)
            assert durations(other) == pytest.approx(durations(item), abs=SLACK)
            self.grants.append(Granted(item, other))

    def _some_of(self, grants: list[Granted], which: list[int]) -> dict[UUID, Granted]:
        """Grants of different runs."""
        return {grant.model.run_id: grant for grant in (_pick(grants, number) for number in which)}

    def _send(self, grants: dict[UUID, Granted], statuses: list[StepStatus], key: int, settle: Settle | None) -> None:
        sent = [self._entry(grant, statuses, key, settle) for grant in grants.values()]
        self.sent.extend(sent)
        self._write(sent)

    def _entry(self, grant: Granted, statuses: list[StepStatus], key: int, settle: Settle | None) -> Sent:
        seq = self.seqs[grant.model.lease] = self.seqs.get(grant.model.lease, 0) + 1
        steps = tuple(_step(f"n{(key + n) % 4}", status, key) for n, status in enumerate(statuses))
        model = Entry(grant.model.run_id, grant.model.lease, seq, steps, settle)
        return Sent(model, replace(model, lease=grant.stored.lease))

    def _write(self, sent: list[Sent]) -> None:
        verdicts = [self.model.write(entry.model) for entry in sent]
        assert self.database.write([entry.stored for entry in sent]) == verdicts


def _run_id() -> UUID:
    """Ids are never used twice, and later ones are greater."""
    return uuid7(time.time_ns() // 1_000_000 - 1_000, next(numbers).to_bytes(10, "big"))


def _pick(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def _step(key: str, status: StepStatus, number: int) -> StepRecord:
    record = StepRecord(key, key, "noop", status, number % 5 + 1, NOW, output=_pick(VALUES, number), seq=number)
    return replace(record, **STEPS[status])


def explore(url: str, *, examples: int, derandomize: bool = True, phases: Sequence[Phase] = tuple(Phase)) -> None:
    with asyncio.Runner() as runner:
        Lifecycle.database = Database(runner, url)
        try:
            run_state_machine_as_test(
                Lifecycle,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=40,
                    derandomize=derandomize,
                    phases=phases,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            Lifecycle.database.close()


def test_postgresql_answers_and_ends_up_like_the_model(database_url):
    explore(database_url, examples=500)


@pytest.mark.prove
def test_postgresql_is_like_the_model_for_a_long_time(database_url):
    explore(database_url, examples=5_000, derandomize=False)


MUTATIONS = {
    "any token may write": ("WRITE", "AND w.lease = e.lease", ""),
    "final steps are overwritten": ("WRITE", "WHERE steps.status IN ('pending', 'running', 'sleeping', 'waiting')", ""),
    "a repeated settle is not known": ("SETTLED_BY", "e.seq = r.settled_seq", "false"),
    "a deadline does not wake": ("WRITE", "least(now() + make_interval(secs => wake_in), deadline_at)", "NULL"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_comparison_notices_when(mutation, database_url, monkeypatch):
    name, right, wrong = MUTATIONS[mutation]
    statement = getattr(journal, name)
    assert right in statement
    monkeypatch.setattr(journal, name, statement.replace(right, wrong))
    with pytest.raises((AssertionError, ExceptionGroup)):
        explore(database_url, examples=350, phases=[Phase.generate])
