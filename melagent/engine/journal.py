"""The buffer between a running run and its durable journal: at most one write under way, what gathers goes along."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import ChildCall, Entry, NewRun, Settle, Verdict, WorkItem
from melagent.errors import LeaseLost, MelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from melagent.domain.commands import StepCommand
    from melagent.domain.secrets import Secret
    from melagent.domain.variables import Wanted

FLUSH_SECONDS = 1.0
"""Recorded steps become durable at the latest after this time, even when nothing waits for them."""


MAX_STEPS = 500
"""In one entry; a run with more unwritten ones writes them one part after the other."""


class Sink(Protocol):
    """Where entries go: the database, or an API instance."""

    def submit(self, entry: Entry) -> asyncio.Future[Verdict]:
        """Write an entry; repeats it as long as the answer is unknown. Raises MelError when it gives up."""

    async def child(self, call: ChildCall) -> NewRun:
        """The run that a call would start; nothing is started yet. Raises MelError when it cannot be."""

    async def recorded(self, run_id: UUID, seq: int) -> StepRecord:
        """The step that a run has recorded under a `seq`. Raises MelError."""

    async def variables(self, run_id: UUID, workflow_id: UUID | None, wanted: Wanted) -> dict[str, bytes]:
        """The JSON text of variables that a run of a workflow sees, by key. Raises MelError."""

    async def secret(self, run_id: UUID, lease: UUID, connection_id: UUID) -> Secret:
        """A connection that the definition of a run names, opened for whoever holds its lease. Raises MelError."""


@dataclass(slots=True)
class Kept:
    """A step that is not written yet, with the children, messages and commands that go together with it."""

    step: StepRecord
    starts: tuple[NewRun, ...] = ()
    taken: tuple[int, ...] = ()
    commands: tuple[StepCommand, ...] = ()


class Journal:
    """The journal of one leased run. Order is kept: what was recorded first is durable first.

    Every method that waits raises LeaseLost once the run has passed to somebody else; nothing is written from then on.
    """

    def __init__(self, item: WorkItem, sink: Sink, on_lost: Callable[[], None]) -> None:
        self._run_id: UUID = item.run_id
        self._lease = item.lease
        self._sink = sink
        self._entry_seq = 0
        self.steps = item.next_seq
        """How many records the run has made so far."""
        self._on_lost = on_lost
        self._gathered: dict[str, Kept] = {}
        self._dropped: list[int] = []
        self._owing = False
        self._settling = False
        self._lost: LeaseLost | None = None
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.size = sum(_size(step) for step in item.journal or ()) + len(item.input or b"")

    def record(
        self,
        step: StepRecord,
        *,
        derived: bool = False,
        taken: int | None = None,
        starts: NewRun | None = None,
        command: StepCommand | None = None,
    ) -> StepRecord:
        """Take in a step; the record as it will be stored. A later record of the same step replaces an earlier one.

        A `derived` step follows from what is durable already, so nothing has to wait for its own record. Together with
        the step a message is `taken` from the inbox, a child starts, and a command is executed, whose result is in the
        record only when it is `written`.
        """
        step.seq = self.steps
        self.steps += 1
        kept = self._gathered.get(step.step_key)
        if kept is None:
            kept = self._gathered[step.step_key] = Kept(step)
        else:
            kept.step = step
        if starts is not None:
            kept.starts += (starts,)
        if taken is not None:
            kept.taken += (taken,)
        if command is not None:
            kept.commands += (command,)
        if not derived or command is not None:
            self._owing = True
        self.size += _size(step)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        if len(self._gathered) >= MAX_STEPS:
            self.flush()
        return step

    def take(self, message: int) -> None:
        """Remove a message that leads to nothing, with the next write."""
        self._dropped.append(message)

    def flush(self) -> None:
        """Begin to write what has gathered, unless a write is under way: then it follows by itself."""
        self._stop_timer()
        if self._writing is None and self._gathered and self._lost is None:
            self._writing = asyncio.create_task(self._write_gathered())

    async def durable(self) -> None:
        """Return when everything recorded so far is durable, or follows from what is."""
        while self._owing or self._writing is not None:
            self.flush()
            if self._writing is not None:
                await asyncio.shield(self._writing)
            self._raise_if_lost()

    async def written(self, step: StepRecord) -> StepRecord:
        """A step as it was stored, with the result of its command; returns when that is durable."""
        await self.durable()
        stored = await self._sink.recorded(self._run_id, step.seq)
        self.size += _size(stored)
        return stored

    async def settle(self, settle: Settle) -> None:
        """Write what has gathered together with the end of the lease, after the write under way."""
        self._settling = True
        if self._writing is not None:
            await asyncio.shield(self._writing)
        self._raise_if_lost()
        while len(self._gathered) > MAX_STEPS:
            await self._write(self._take(), None)
        await self._write(self._take(), settle)

    def close(self) -> None:
        """Drop what is not written: for a run whose lease has ended. A write under way ends by itself."""
        self._gathered.clear()
        self._stop_timer()
        self._on_lost = _nobody  # whoever ran this run is done, and need not be kept alive by its journal

    def _take(self) -> list[Kept]:
        """What is written next: the first of what has gathered."""
        kept = list(islice(self._gathered.values(), MAX_STEPS))
        for one in kept:
            del self._gathered[one.step.step_key]
        self._owing = bool(self._gathered)
        self._stop_timer()
        return kept

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    async def _write_gathered(self) -> None:
        """Runs as a task of its own: what goes wrong is kept for whoever waits next, and ends the run's nodes."""
        try:
            while self._gathered and not self._settling:
                await self._write(self._take(), None)
        except LeaseLost as error:
            self._lost = error
            self._on_lost()
        finally:
            self._writing = None

    async def _write(self, kept: list[Kept], settle: Settle | None) -> None:
        verdict = await self._submit(kept, settle)
        if verdict is Verdict.INVALID:
            await self._write_one_by_one(kept)

    async def _submit(self, kept: Sequence[Kept], settle: Settle | None) -> Verdict:
        try:
            verdict = await self._sink.submit(self._entry(kept, settle))
        except Exception as error:  # whatever it is, what was taken is not durable, so nothing may go on
            reason = error.message if isinstance(error, MelError) else type(error).__name__
            raise LeaseLost(f"The journal could not be written: {reason}") from error
        if verdict is Verdict.LEASE_LOST:
            raise LeaseLost
        return verdict

    def _entry(self, kept: Sequence[Kept], settle: Settle | None) -> Entry:
        steps: list[StepRecord] = []
        starts: list[NewRun] = []
        commands: list[StepCommand] = []
        taken, self._dropped = self._dropped, []
        for one in kept:
            steps.append(one.step)
            starts += one.starts
            taken += one.taken
            commands += one.commands
        self._entry_seq += 1
        ids = (self._run_id, self._lease, self._entry_seq)
        return Entry(*ids, tuple(steps), settle, tuple(starts), tuple(taken), tuple(commands))

    async def _write_one_by_one(self, kept: list[Kept]) -> None:
        """Find the step that the database refuses, record it as failed without its values, and fail the run."""
        for one in kept:
            if await self._submit([one], None) is Verdict.INVALID:
                await self._fail(one.step)
                raise LeaseLost("The run failed: one of its values cannot be stored.")
        raise LeaseLost("The run cannot be settled; it will be resumed.")

    async def _fail(self, step: StepRecord) -> None:
        error = {
            "code": "invalid_value",
            "message": "The result of this step cannot be stored.",
            "node_id": step.node_id,
        }
        bare = replace(step, status=StepStatus.FAILED, handle=None, output=None, logs=(), error=error)
        finished = replace(bare, finished_at=step.finished_at or step.started_at, due_in=None)
        if await self._submit([Kept(finished)], Settle(RunStatus.FAILED, error=error)) is Verdict.INVALID:
            await self._submit([], Settle(RunStatus.FAILED, error=error))


def _size(step: StepRecord) -> int:
    """What a step adds to the values of its run: its output, counted once, when it is final."""
    return len(step.output or b"") if step.status.final else 0


def _nobody() -> None:
    """Nobody is left to be told that the lease is lost."""
