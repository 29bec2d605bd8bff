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
from uuid import UUID

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
from melagent.domain.work import Entry, Limit, NewRun, Parent, Settle, WorkItem, signal_topic
from melagent.engine.lifecycle import rescue, wake
from melagent.engine.lifecycle.cancel import cancel_children, cancel_orphans
from melagent.engine.lifecycle.signal import unread
from melagent.store import finals, inbox, journal, limits, parked
from tests.builders import VERSION, misplaced
from tests.model.model import Model
from tests.model.postgres import (
    LEASE,
    NOBODY,
    Database,
    comparable,
    durations,
    in_order,
    moments_of_model,
    moments_of_row,
    state_of_model,
    state_of_row,
    stored_states,
)
from tests.model.run import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.engine.lifecycle.hold import Extended
    from tests.model.run import ModelRun

SLEEP, DEADLINE, TICK = 500.0, 1300.0, 350.0
SLACK = 30.0
MAX_LIVE, MAX_RUNS = 5, 15
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
    Settle(RunStatus.PENDING, requires="gpu=1"),
    Settle(RunStatus.SLEEPING, wake_in=SLEEP),
    Settle(RunStatus.WAITING, waits=(signal_topic("go"),), waiting_for={"signal": "go"}),
    Settle(RunStatus.WAITING, wake_in=SLEEP, waits=("child", signal_topic("come"))),
    Settle(RunStatus.PAUSED),
)
settles = st.sampled_from(SETTLES)
requirements = st.sampled_from(["", "", "gpu=1"])
WORKFLOW = UUID(int=9)
limits_of_runs = st.sampled_from([None, None, Limit(WORKFLOW, 1), Limit(WORKFLOW, 2)])


@dataclass(frozen=True, slots=True)
class Granted:
    """The same lease in the model and in the database, which made tokens of their own."""

    model: WorkItem
    stored: WorkItem


@dataclass(frozen=True, slots=True)
class More:
    """What an entry does besides recording and settling: it takes in so many messages, and starts so many children."""

    takes: int = 0
    starts: int = 0
    attached: bool = True
    limit: Limit | None = None


mores = st.builds(
    More, st.integers(0, 2), st.integers(0, 2), attached=st.sampled_from([True, True, False]), limit=limits_of_runs
)


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
        self.deadly = self.hurried = False

    def teardown(self) -> None:
        self.database.forget()

    @property
    def good_grants(self) -> list[Granted]:
        return [grant for grant in self.grants if self.model.holds(grant.model.run_id, grant.model.lease)]

    @initialize(deadly=st.booleans(), hurried=st.booleans(), runs=st.integers(1, 3), eager=st.integers(0, 2))
    def begin(self, deadly: bool, hurried: bool, runs: int, eager: int) -> None:
        self.deadly, self.hurried = deadly, hurried
        self.start(runs, eager, 5, "", None)

    @property
    def has_room(self) -> bool:
        return len(self.model.live()) < MAX_LIVE and len(self.model.runs) < MAX_RUNS

    @precondition(lambda self: self.has_room)
    @rule(
        runs=st.integers(1, 3),
        eager=st.integers(0, 2),
        priority=st.sampled_from([1, 5]),
        requires=requirements,
        limit=limits_of_runs,
    )
    def start(self, runs: int, eager: int, priority: int, requires: str, limit: Limit | None) -> None:
        """Only runs that require nothing start eagerly here."""
        new = NewRun(
            NOBODY, None, VERSION, "start", b"", priority=priority, requires=requires, limit=limit,
            deadline_in=DEADLINE if self.hurried else None,
        )  # fmt: skip
        self._start(
            [replace(new, id=_run_id(), input=VALUES[n % 3]) for n in range(runs)], 0 if requires or limit else eager
        )

    @precondition(lambda self: self.model.runs)
    @rule(which=some, eager=st.integers(0, 1))
    def repeat_a_start(self, which: int, eager: int) -> None:
        new = _pick(list(self.model.runs.values()), which).new
        self._start([new], 0 if new.requires else eager)

    @rule(limit=st.integers(1, 3), wanted=st.sampled_from([("",), ("",), ("gpu=1",), ("", "gpu=1")]))
    def claim(self, limit: int, wanted: tuple[str, ...]) -> None:
        self._note(self.model.claim(limit, wanted), self.database.claim(limit, wanted))

    @precondition(lambda self: self.good_grants)
    @rule(which=st.lists(some, min_size=1, max_size=3), statuses=st.lists(statuses, min_size=1, max_size=2), key=some)
    def record(self, which: list[int], statuses: list[StepStatus], key: int) -> None:
        self._send(self._some_of(self.good_grants, which), statuses, key, None)

    @precondition(lambda self: self.good_grants and self.has_room)
    @rule(which=some, statuses=st.lists(statuses, max_size=2), more=mores, settle=st.one_of(st.none(), settles))
    def record_more(self, which: int, statuses: list[StepStatus], more: More, settle: Settle | None) -> None:
        """Children start and messages are taken in together with steps."""
        grants = self._some_of(self.good_grants, [which, which + 1])
        self._send(grants, statuses, which, settle, more)

    @precondition(lambda self: self.good_grants)
    @rule(which=st.lists(some, min_size=1, max_size=2), statuses=st.lists(statuses, max_size=2), key=some,
          settle=settles)  # fmt: skip
    def settle(self, which: list[int], statuses: list[StepStatus], key: int, settle: Settle) -> None:
        self._send(self._some_of(self.good_grants, which), statuses, key, settle)

    @precondition(lambda self: len(self.grants) > len(self.good_grants))
    @rule(
        which=st.lists(some, min_size=1, max_size=3),
        statuses=st.lists(statuses, max_size=2),
        settle=st.one_of(st.none(), settles),
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
        here = self.model.extend({run_id: grant.model.lease for run_id, grant in grants.items()})
        there = self.database.extend({run_id: grant.stored.lease for run_id, grant in grants.items()})
        for grant in grants.values():
            assert _said_of(grant.model.lease, here) == _said_of(grant.stored.lease, there)

    @precondition(lambda self: self.model.runs)
    @rule(which=some)
    def cancel(self, which: int) -> None:
        run_id = _pick(list(self.model.runs), which)
        before = self.model.cancel(run_id)
        assert before is not None
        assert self.database.cancel(run_id) == ("conflict" if before.final else "done")

    @precondition(lambda self: not self.model.runs)
    @rule()
    def ask_for_what_is_not_there(self) -> None:
        run_id = _run_id()
        assert self.model.cancel(run_id) is None
        assert self.model.pause(run_id) is None
        for answer in (self.database.cancel, self.database.pause, self.database.resume):
            assert answer(run_id) == "not_found"
        assert self.database.send(run_id, "go", b"1") == "not_found"

    @precondition(lambda self: any(run.new.parent for run in self.model.runs.values()))
    @rule(which=some, orphans=st.booleans())
    def cancel_children(self, which: int, orphans: bool) -> None:
        """Of some ended run, or of all."""
        ended = [run_id for run_id, run in self.model.runs.items() if run.status.final]
        chosen = [_pick(ended, which)] if ended else []
        cancelled = self.model.cancel_orphans() if orphans else self.model.cancel_children(chosen)
        pool = self.database.pool
        if orphans:
            there, _ = self.database.wait(cancel_orphans(pool, None))
        else:
            there = self.database.wait(cancel_children(pool, chosen))
        assert there.keys() == set(cancelled)

    @precondition(lambda self: self.model.runs)
    @rule(which=some, name=st.sampled_from(["go", "come"]), value=st.sampled_from(VALUES))
    def send(self, which: int, name: str, value: bytes) -> None:
        run_id = _pick(list(self.model.runs), which)
        sent = self.model.send(run_id, signal_topic(name), value)
        assert self.database.send(run_id, name, value) == ("done" if sent else "conflict")

    @precondition(lambda self: self.model.runs)
    @rule(which=st.lists(some, min_size=1, max_size=3))
    def wake(self, which: list[int]) -> None:
        run_ids = sorted({_pick(list(self.model.runs), number) for number in which})
        woken = self.database.wait(wake.wake(self.database.pool, run_ids))
        assert set(self.model.wake(run_ids)) == set(woken)

    @precondition(lambda self: self.model.live())
    @rule(which=some)
    def pause(self, which: int) -> None:
        run_id = _pick(list(self.model.runs), which)
        before = self.model.pause(run_id)
        assert before is not None
        assert self.database.pause(run_id) == ("conflict" if before.final else "done")

    @precondition(lambda self: any(_is_paused(run) for run in self.model.runs.values()))
    @rule(which=some, paused=st.booleans())
    def resume(self, which: int, paused: bool) -> None:
        runs = [run for run in self.model.runs.values() if _is_paused(run) or not paused]
        run_id = _pick(runs, which).new.id
        assert self.database.resume(run_id) == ("done" if self.model.resume(run_id) else "conflict")

    @precondition(lambda self: self.model.limited())
    @rule()
    def admit(self) -> None:
        admitted = self.model.admit(self.model.limited())
        there = self.database.wait(wake.admit_all(self.database.pool))
        assert sorted(there) == sorted(self.model.runs[run_id].requires for run_id in admitted)

    @precondition(lambda self: self.good_grants)
    @rule()
    def take_back_expired(self) -> None:
        freed, failed = self.model.take_back_expired()
        freed_there, failed_there = self.database.wait(rescue.take_back_expired(self.database.pool))
        assert (set(freed_there), set(failed_there)) == (set(freed), set(failed))

    @precondition(lambda self: self.hurried)
    @rule()
    def fail_overdue(self) -> None:
        assert set(self.model.fail_overdue()) == set(self.database.wait(rescue.fail_overdue(self.database.pool)))

    @precondition(lambda self: any(run.reason for run in self.model.runs.values()))
    @rule()
    def wake_what_is_due(self) -> None:
        woken = self.database.wait(wake.wake_due(self.database.pool, thorough=True))
        assert set(self.model.wake(self.model.due())) == set(woken)

    @precondition(lambda self: self.model.runs)
    @rule(ticks=st.sampled_from([1, 1, 2, 3]))
    def time_passes(self, ticks: int) -> None:
        self.now += ticks * TICK
        self.database.let_pass(ticks * TICK, self.model.runs)

    @precondition(lambda self: len(self.model.live()) >= MAX_LIVE)
    @rule()
    def cancel_everything(self) -> None:
        for run_id in self.model.live():
            self.cancel(list(self.model.runs).index(run_id))

    # What chance alone rarely leads to.

    @precondition(lambda self: self.deadly and any(run.free for run in self.model.runs.values()))
    @rule()
    def a_worker_dies_with_what_is_free(self) -> None:
        """Claim, let the lease expire, take back: five times in a row ends a run."""
        self.claim(3, ("", "gpu=1"))
        self.time_passes(3)
        self.take_back_expired()

    @precondition(lambda self: self.good_grants)
    @rule(which=some, takes=st.integers(1, 2))
    def a_signal_comes_and_is_taken_in(self, which: int, takes: int) -> None:
        run_id = _pick(self.good_grants, which).model.run_id
        self.send(list(self.model.runs).index(run_id), "go", VALUES[0])
        self._send(self._some_of(self.good_grants, [which]), [StepStatus.COMPLETED], which, None, More(takes))

    @precondition(lambda self: self.good_grants)
    @rule(which=some, settle=settles)
    def a_run_is_paused_while_it_works(self, which: int, settle: Settle) -> None:
        grants = self._some_of(self.good_grants, [which])
        self.pause(list(self.model.runs).index(next(iter(grants))))
        self._send(grants, [], which, settle)

    @precondition(lambda self: self.good_grants and self.has_room)
    @rule(which=some, attached=st.booleans())
    def a_parent_ends_before_its_child(self, which: int, attached: bool) -> None:
        grants = self._some_of(self.good_grants, [which])
        self._send(grants, [], which, SETTLES[0], More(starts=1, attached=attached))
        ended = [run_id for run_id, run in self.model.runs.items() if run.status.final]
        self.cancel_children(ended.index(next(iter(grants))), orphans=False)

    @precondition(lambda self: any(self.model.runs[run_id].new.parent for run_id in self.model.live()))
    @rule(which=some, settle=st.sampled_from(SETTLES[:3]))
    def a_child_ends(self, which: int, settle: Settle) -> None:
        self.claim(3, ("", "gpu=1"))
        children = [n for n, grant in enumerate(self.good_grants) if self.model.runs[grant.model.run_id].new.parent]
        if children:
            self._send(self._some_of(self.good_grants, [_pick(children, which)]), [], which, settle)

    @precondition(lambda self: self.has_room)
    @rule(settle=st.sampled_from(SETTLES[4:]))
    def a_limited_run_gives_its_place_to_another(self, settle: Settle) -> None:
        self.start(2, 0, 1, "", Limit(WORKFLOW, 1))
        self.admit()
        self.claim(3, ("",))
        limited = [n for n, grant in enumerate(self.good_grants) if self.model.runs[grant.model.run_id].new.limit]
        if limited:
            self._send(self._some_of(self.good_grants, limited[-1:]), [], 0, settle)
            self.admit()
            self.time_passes(2)
            self.wake_what_is_due()

    @invariant()
    def is_like_the_model(self) -> None:
        rows = self.database.wait(stored_states(self.database.pool, list(self.model.runs)))
        tokens = {grant.stored.lease: grant.model.lease for grant in self.grants}
        for run_id, run in self.model.runs.items():
            row = rows[run_id]
            assert state_of_row(row, tokens) == state_of_model(run, self.model.unread(run_id))
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
        """Grants of different runs, none of which is a child of another: what they do could meet in one statement."""
        chosen = {grant.model.run_id: grant for grant in (_pick(grants, number) for number in which)}
        return {run_id: grant for run_id, grant in chosen.items() if self.model.runs[run_id].attached_to not in chosen}

    def _send(
        self,
        grants: dict[UUID, Granted],
        statuses: list[StepStatus],
        key: int,
        settle: Settle | None,
        more: More = More(),
    ) -> None:
        sent = [self._entry(grant, statuses, key, settle, more) for grant in grants.values()]
        self.sent.extend(sent)
        self._write(sent)

    def _entry(
        self,
        grant: Granted,
        statuses: list[StepStatus],
        key: int,
        settle: Settle | None,
        more: More = More(),
    ) -> Sent:
        run_id = grant.model.run_id
        seq = self.seqs[grant.model.lease] = self.seqs.get(grant.model.lease, 0) + 1
        steps = tuple(_step(f"n{(key + n) % 4}", status, key) for n, status in enumerate(statuses))
        parent = Parent(run_id, "n0", 1, attached=more.attached)
        starts = tuple(
            NewRun(_run_id(), None, VERSION, "start", b"1", parent=parent, limit=more.limit) for _ in range(more.starts)
        )
        taken, taken_there = self._taken(run_id, more.takes)
        model = Entry(run_id, grant.model.lease, seq, steps, settle, starts, taken)
        return Sent(model, replace(model, lease=grant.stored.lease, taken=taken_there))

    def _taken(self, run_id: UUID, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The numbers of the same messages, here and there."""
        if not count:
            return (), ()
        here = in_order(self.model.unread(run_id))
        there = in_order(self.database.wait(unread(self.database.pool, run_id)))
        return tuple(m.id for m in here[:count]), tuple(m.id for m in there[:count])

    def _write(self, sent: list[Sent]) -> None:
        verdicts = [self.model.write(entry.model) for entry in sent]
        assert self.database.write([entry.stored for entry in sent]) == verdicts


def _run_id() -> UUID:
    """Ids are never used twice, and later ones are greater."""
    return uuid7(time.time_ns() // 1_000_000 - 1_000, next(numbers).to_bytes(10, "big"))


def _pick(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]


def _is_paused(run: ModelRun) -> bool:
    return run.pausing or run.reason is Reason.PAUSED


def _said_of(lease: UUID, extended: Extended) -> dict[str, bool]:
    return {name: lease in getattr(extended, name) for name in ("lost", "cancelled", "paused", "mail")}


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


SLEEPING, WAITING = SETTLES[5], SETTLES[6]
STORIES: tuple[tuple[tuple[str, dict[str, Any]], ...], ...] = ((
    ("begin", {"deadly": False, "hurried": False, "runs": 1, "eager": 1}),
    ("record", {"which": [0], "statuses": [StepStatus.COMPLETED], "key": 0}),
    ("record", {"which": [0], "statuses": [StepStatus.FAILED], "key": 0}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": SETTLES[4]}),
    ("claim", {"limit": 1, "wanted": ("gpu=1",)}),
    ("record_more", {"which": 0, "statuses": [], "more": More(starts=1, attached=False), "settle": None}),
    ("a_child_ends", {"which": 0, "settle": SETTLES[0]}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": SETTLES[0]}),
    ("send", {"which": 0, "name": "go", "value": VALUES[0]}),
), (
    ("begin", {"deadly": False, "hurried": True, "runs": 3, "eager": 1}),
    ("claim", {"limit": 3, "wanted": ("",)}),
    ("record", {"which": [0, 1], "statuses": [StepStatus.COMPLETED, StepStatus.SLEEPING], "key": 1}),
    ("write_without_a_lease", {"which": 0}),
    ("a_signal_comes_and_is_taken_in", {"which": 0, "takes": 1}),
    ("a_run_is_paused_while_it_works", {"which": 0, "settle": SLEEPING}),
    ("time_passes", {"ticks": 2}),
    ("wake_what_is_due", {}),
    ("resume", {"which": 0, "paused": True}),
    ("send", {"which": 1, "name": "come", "value": VALUES[1]}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": WAITING}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": WAITING}),
    ("send", {"which": 2, "name": "come", "value": VALUES[1]}),
    ("send", {"which": 1, "name": "go", "value": VALUES[0]}),
    ("wake", {"which": [0, 1, 2]}),
    ("claim", {"limit": 3, "wanted": ("",)}),
    ("a_run_is_paused_while_it_works", {"which": 0, "settle": SETTLES[8]}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": SETTLES[8]}),
    ("start", {"runs": 2, "eager": 0, "priority": 1, "requires": "gpu=1", "limit": None}),
    ("pause", {"which": 3}),
    ("claim", {"limit": 3, "wanted": ("", "gpu=1")}),
    ("settle", {"which": [0], "statuses": [], "key": 0, "settle": SETTLES[4]}),
    ("claim", {"limit": 1, "wanted": ("gpu=1",)}),
    ("record_more", {"which": 0, "statuses": [], "more": More(starts=2), "settle": None}),
    ("record_more", {"which": 0, "statuses": [], "more": More(starts=1, attached=False), "settle": None}),
    ("a_child_ends", {"which": 0, "settle": SETTLES[0]}),
    ("a_child_ends", {"which": 0, "settle": SETTLES[2]}),
    ("a_child_ends", {"which": 0, "settle": SETTLES[0]}),
    ("a_parent_ends_before_its_child", {"which": 0, "attached": False}),
    ("repeat_a_write", {"which": 0, "latest": True}),
    ("a_parent_ends_before_its_child", {"which": 0, "attached": True}),
), (
    ("begin", {"deadly": False, "hurried": False, "runs": 2, "eager": 2}),
    ("a_limited_run_gives_its_place_to_another", {"settle": SLEEPING}),
    ("a_limited_run_gives_its_place_to_another", {"settle": WAITING}),
    ("admit", {}),
    ("cancel_everything", {}),
))  # fmt: skip


def tell_stories(url: str) -> None:
    """What each statement is for, once: whoever breaks one is noticed without much luck."""
    with asyncio.Runner() as runner:
        Lifecycle.database = Database(runner, url)
        try:
            for story in STORIES:
                tell(Lifecycle(), story)
        finally:
            Lifecycle.database.close()


def tell(machine: Lifecycle, story: Sequence[tuple[str, dict[str, Any]]]) -> None:
    for name, arguments in story:
        getattr(machine, name)(**arguments)
        machine.is_like_the_model()
        machine.every_live_run_is_in_one_place_and_an_ended_one_in_none()
    machine.teardown()


def test_stories_in_which_everything_happens_are_told_alike(database_url):
    tell_stories(database_url)


def test_postgresql_answers_and_ends_up_like_the_model(database_url):
    explore(database_url, examples=400)


@pytest.mark.prove
def test_postgresql_is_like_the_model_for_a_long_time(database_url):
    explore(database_url, examples=5_000, derandomize=False)


MUTATIONS = {
    "any token may write": (journal, "WRITE", "AND w.lease = e.lease", ""),
    "final steps are overwritten": (
        journal, "WRITE", "WHERE steps.status IN ('pending', 'running', 'sleeping', 'waiting')", "",
    ),
    "a repeated settle is not known": (journal, "SETTLED_BY", "e.seq = r.settled_seq", "false"),
    "a deadline does not wake": (journal, "WRITE", "secs => wake_in) END, deadline_at)", "secs => wake_in) END)"),
    "a run parks though its message is there": (journal, "WRITE", "THEN 'pending'", "THEN e.status"),
    "a run sleeps though it is to be paused": (journal, "WRITE", "WHEN h.pausing AND", "WHEN false AND"),
    "a run is paused that was told to go on": (journal, "WRITE", "AND NOT h.pausing THEN", "AND false THEN"),
    "a paused run is due when its timer is": (
        journal, "WRITE", "CASE WHEN status <> 'paused' THEN now() + make_interval(secs => wake_in) END",
        "now() + make_interval(secs => wake_in)",
    ),
    "what a released run requires is forgotten": (journal, "WRITE", "requires = f.requires", "requires = w.requires"),
    "parents are not told": (journal, "WRITE", "WHERE parent IS NOT NULL", "WHERE false"),
    "detached children tell": (journal, "WRITE", "WHEN r.attached AND", "WHEN"),
    "messages are not taken": (inbox, "TAKE", "WHERE", "WHERE false AND"),
    "ended runs take signals": (inbox, "SEND", "AND status NOT IN ('completed', 'failed', 'cancelled')", ""),
    "any message wakes": (parked, "UNPARK", "AND i.topic = ANY(p.waits)", ""),
    "a woken limited run passes by the others": (parked, "UNPARK", "WHERE limited_by IS NULL", ""),
    "a free run cannot be paused": (parked, "PAUSE_FREE", "AND lease IS NULL", "AND false"),
    "one more than the limit is admitted": (limits, "ADMIT", "+ next.place <=", "+ next.place - 1 <="),
    "a cancelled child does not tell": (
        finals, "TELL", "VALUES ($1, $2, $3)", "SELECT $1::uuid, $2::text, $3::uuid WHERE false",
    ),
    "children are left alone": (finals, "LIVE_CHILDREN", "AND attached", "AND NOT attached"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_comparison_notices_when(mutation, database_url, monkeypatch):
    module, name, right, wrong = MUTATIONS[mutation]
    statement = getattr(module, name)
    assert right in statement
    monkeypatch.setattr(module, name, statement.replace(right, wrong))
    with pytest.raises((AssertionError, ExceptionGroup)):
        tell_stories(database_url)
