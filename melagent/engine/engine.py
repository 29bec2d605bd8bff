"""The engine as the rest of the program sees it: start a run, wait for it, watch it, cancel it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from melagent.domain.run import RunStatus, StepStatus
from melagent.domain.work import Entry, NewRun, RunEnd
from melagent.engine import metrics
from melagent.engine.desk import Desk
from melagent.engine.lifecycle.cancel import cancel, cancel_children
from melagent.engine.lifecycle.claim import claim, load, read_variables, recorded, steps_after
from melagent.engine.lifecycle.copy import copy
from melagent.engine.lifecycle.fire import fire
from melagent.engine.lifecycle.hold import Extended, Holder, give_back, release_workers
from melagent.engine.lifecycle.pause import pause, resume
from melagent.engine.lifecycle.record import Aftermath, Recorder
from melagent.engine.lifecycle.signal import send, send_once, unread, was_sent
from melagent.engine.lifecycle.start import Starter
from melagent.engine.lifecycle.wake import Waker
from melagent.engine.linker import Linker
from melagent.engine.live import Live
from melagent.engine.waiters import Waiters, let_go
from melagent.errors import MelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from melagent.broker import Broker
    from melagent.domain.run import StepRecord
    from melagent.domain.variables import Wanted
    from melagent.domain.work import Copy, Final, Message, WorkItem
    from melagent.engine.lifecycle.fire import Due, Prepare
    from melagent.engine.slots import Slots
    from melagent.store.pool import Pool

log = structlog.get_logger()

WORK = "work"
"""Topic: there are free runs with this requirement."""

UNKNOWN = "?"
"""In place of a requirement: whoever hears it looks."""

RUNS = "runs"
"""Topic: the run with this id has changed."""

TRIGGERS = "triggers"
"""Topic: triggers have changed."""


class Engine:
    """One per process. `start` it before use and `stop` it last: it writes what is under way before it returns."""

    def __init__(
        self,
        pool: Pool,
        broker: Broker,
        *,
        answering: Iterable[str] = (),
        lease_seconds: float = 15.0,
        public_url: str | None = None,
    ) -> None:
        """Links that runs give away begin with `public_url`; without one they are paths."""
        self.pool = pool
        self.broker = broker
        self.lease_seconds = lease_seconds
        self.linker = Linker(pool, public_url or "")
        self.waiters = Waiters(pool, frozenset(answering))
        self.recorder = Recorder(pool, lease_seconds=lease_seconds, on_recorded=self._recorded)
        self.desk = Desk(pool, lease_seconds=lease_seconds, give_back=self._give_back_soon)
        self.waker = Waker(pool, self._woken)
        self._starter = Starter(
            pool,
            lease_seconds=lease_seconds,
            offer=self._offer,
            on_queued=self.work_queued,
            on_limited=lambda workflows: self.waker.wake((), workflows),
            links=self.linker.known,
        )
        self.live = Live(broker)
        self._holder = Holder(pool, lease_seconds=lease_seconds)
        self._slots: Slots | None = None
        self._work_listeners: list[Callable[[], None]] = []
        self._in_background: set[asyncio.Task[None]] = set()
        self._failure_listeners: list[Callable[[], None]] = []
        self._trigger_listeners: list[Callable[[], None]] = []
        broker.subscribe(WORK, lambda required: self._hint(None if required == UNKNOWN else [required]))
        broker.subscribe(RUNS, lambda run_id: self.waiters.hinted([UUID(run_id)]))
        broker.subscribe(TRIGGERS, lambda _: self._triggers_changed())
        broker.on_gap(lambda: self._hint(None))
        broker.on_gap(self.waiters.loop.wake)

    async def open(self) -> None:
        self.waiters.loop.start()
        self.desk.loop.start()

    async def close(self) -> None:
        """Finish the writes under way. Close the worker of this process first."""
        self.desk.dismiss()
        await self.desk.loop.stop()
        await self._starter.drain()
        await self.recorder.drain()
        await self._holder.drain()
        await asyncio.gather(*self._in_background)
        await self.waker.drain()
        await self.waiters.loop.stop()

    def use_slots(self, slots: Slots) -> None:
        """Start runs right here while this worker has free places and nothing due waits before them."""
        self._slots = slots

    def on_work(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever there may be free runs."""
        self._work_listeners.append(listener)

    async def start(self, run: NewRun) -> None:
        """Start a run. It is durable when this returns; Unavailable leaves open whether it is there."""
        await self._starter.start(run)

    async def start_and_wait(self, run: NewRun, seconds: float, *, until_answer: bool = False) -> RunEnd | None:
        """Start a run and wait for its end; null when it takes longer, or this process stops, and then it goes on.

        With `until_answer` an answer that a node gives before the end is enough.
        """
        with self.waiters.expecting(run.id, until_answer=until_answer) as end:
            await self.start(run)
            timer = asyncio.get_running_loop().call_later(seconds, let_go, end)
            try:
                return await end
            finally:
                timer.cancel()

    async def copy(self, wanted: Copy) -> None:
        """Start a run that begins with recorded steps of another. Durable when it returns; may be repeated."""
        await copy(self.pool, wanted)
        if wanted.run.limit is None:
            self.work_queued([wanted.run.requires])
        else:
            self.waker.wake((), [wanted.run.limit.workflow_id])

    async def fire(self, without: Collection[UUID], due: Due, prepare: Prepare) -> None:
        """Fire due triggers, but for some, as `prepare` says; see `lifecycle.fire`."""
        self._started(await fire(self.pool, without, due, prepare))

    def triggers_changed(self) -> None:
        """Tell everybody that triggers were deployed, made, changed or deleted."""
        self._triggers_changed()
        self.broker.publish(TRIGGERS, "changed")

    def on_triggers_changed(self, listener: Callable[[], None]) -> None:
        """Call `listener` when triggers may have changed, here or elsewhere."""
        self._trigger_listeners.append(listener)

    def dismiss_callers(self) -> None:
        """Let those who wait for a run go without an answer."""
        self.waiters.dismiss()

    async def cancel(self, run_id: UUID) -> None:
        """End a run in whatever state it is, and its children. NotFound; Conflict when it has ended already."""
        self.ended_from_outside({run_id: await cancel(self.pool, run_id)}, RunStatus.CANCELLED, None)

    async def pause(self, run_id: UUID) -> None:
        """Start no further node of a run until it is resumed. NotFound; Conflict when it has ended."""
        await pause(self.pool, run_id)
        self.runs_changed([run_id])

    async def resume(self, run_id: UUID) -> None:
        """Let a paused run go on. NotFound; Conflict when it is not paused."""
        limited_by = await resume(self.pool, run_id)
        self.runs_changed([run_id])
        if limited_by is None:
            self.work_queued(None)
        else:
            self.waker.wake((), [limited_by])

    async def signal(self, run_id: UUID, name: str, value: bytes) -> None:
        """Leave a signal for a run: it wakes the run, or is there when the run comes to wait for it.

        NotFound; Conflict when the run has ended.
        """
        await send(self.pool, run_id, name, value)
        self.waker.wake([run_id])

    async def signal_once(self, run_id: UUID, name: str, value: bytes, *, scope: str, key: str) -> bool:
        """The same under a key, of which a scope has each once: false, and nothing is left, when it was used before."""
        sent = await send_once(self.pool, run_id, name, value, scope=scope, key=key)
        self.waker.wake([run_id])
        return sent

    async def was_signalled(self, scope: str, key: str) -> bool:
        """Whether a signal was left under a key."""
        return await was_sent(self.pool, scope, key)

    def ended_from_outside(self, ends: Mapping[UUID, Final], status: RunStatus, error: dict[str, Any] | None) -> None:
        """Runs were ended without their worker: tell everybody, and see to what follows from it."""
        if not ends:
            return
        for run_id in ends:
            metrics.RUNS_ENDED.labels(status).inc()
            self.run_ended(RunEnd(run_id, status, None, error))
        finals = ends.values()
        self.waker.wake((f.parent for f in finals if f.parent), {f.limited_by for f in finals if f.limited_by})
        self._run_failed(status is RunStatus.FAILED)
        self._soon(self._cancel_children(list(ends)))

    def on_failure(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a run may have failed that names a workflow for that."""
        self._failure_listeners.append(listener)

    def changes(self, run_id: UUID) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever the run may have changed, at least once a second."""
        return self.waiters.changes(run_id)

    def run_ended(self, end: RunEnd) -> None:
        """Tell everybody, here and elsewhere, that a run has ended."""
        self.waiters.ended(end)
        self.runs_changed([end.run_id])

    def runs_changed(self, run_ids: Sequence[UUID]) -> None:
        self.waiters.changed(run_ids)
        self._tell_others(run_ids)

    async def claim(self, worker_id: str, offered: frozenset[str], limit: int) -> list[WorkItem]:
        """Lease up to `limit` free runs to a worker of this process; does not wait for any."""
        wanted = self.desk.wanted(offered)
        return [item for _, item in await claim(self.pool, [worker_id] * limit, wanted, self.lease_seconds)]

    def load(self) -> dict[str, Any]:
        """What this process does right now: callers and streams that wait for runs, and workers that wait for work."""
        return {**self.waiters.load(), "asks": self.desk.waiting}

    async def loaded(self, item: WorkItem) -> WorkItem:
        """The item with its journal, its input and what makes its links."""
        return await self.linked(await load(self.pool, item))

    async def linked(self, item: WorkItem) -> WorkItem:
        """The item with what makes its links."""
        if item.links is None:
            item.links = await self.linker.of(item.run_id)
        return item

    async def unread(self, run_id: UUID) -> tuple[Message, ...]:
        """The messages that a run has not taken in."""
        return await unread(self.pool, run_id)

    async def steps_after(self, run_id: UUID, seq: int, limit: int) -> list[tuple[StepRecord, bytes | None]]:
        """Recorded steps after a `seq`; where an output is a large value, its hash stands for it."""
        return await steps_after(self.pool, run_id, seq, limit)

    async def recorded(self, run_id: UUID, seq: int) -> StepRecord:
        """The step that was recorded under a `seq`, with its output however large."""
        return await recorded(self.pool, run_id, seq)

    async def variables(self, workflow_id: UUID | None, wanted: Wanted) -> dict[str, bytes]:
        """The JSON text of variables that a run of a workflow sees, by key. TooLarge above 16 MiB in all."""
        return await read_variables(self.pool, workflow_id, wanted)

    async def extend(self, leases: Mapping[UUID, UUID]) -> Extended:
        """Keep leases, given by run, for another lease time; calls of many workers share a statement."""
        return await self._holder.extend(leases)

    async def give_back(self, leases: Mapping[UUID, UUID]) -> None:
        """Free runs, given with their leases, that nobody has begun."""
        if await give_back(self.pool, leases):
            self.work_queued(None)

    async def release_workers(self, granted_before: Mapping[str, datetime | None], kept: Collection[UUID] = ()) -> int:
        """Free runs that workers have let go: all but those under `kept` leases, or granted since the worker's moment.

        Null for a moment frees whatever the worker has.
        """
        count = await release_workers(self.pool, granted_before, kept)
        if count:
            self.work_queued(None)
        return count

    def work_queued(self, requirements: Iterable[str] | None) -> None:
        """Tell everybody that there are free runs, and what they require if that is known."""
        self._hint(requirements)
        for required in [UNKNOWN] if requirements is None else requirements:
            self.broker.publish(WORK, required)

    def _tell_others(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            self.broker.publish(RUNS, str(run_id))

    def _hint(self, requirements: Iterable[str] | None) -> None:
        self.desk.hint(requirements)
        for listener in self._work_listeners:
            listener()

    def _offer(self, required: str) -> Slots | None:
        """A reserved place for a run that starts here: with the worker of this process, else with one that waits."""
        if self._slots is not None and self._slots.meets(required) and self._slots.reserve(1):
            return self._slots
        return self.desk.offer(required)

    def _give_back_soon(self, leases: Mapping[UUID, UUID]) -> None:
        """For those who cannot wait. When it fails the leases simply run out."""
        self._soon(self._give_back_or_log(leases))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._in_background.add(task)
        task.add_done_callback(self._in_background.discard)

    async def _cancel_children(self, run_ids: list[UUID]) -> None:
        """What fails here the rescue pass does."""
        try:
            gone = await cancel_children(self.pool, run_ids)
        except MelError as error:
            log.warning("children not cancelled yet", runs=[str(run_id) for run_id in run_ids], error=error.message)
            return
        for run_id in gone:
            metrics.RUNS_ENDED.labels(RunStatus.CANCELLED).inc()
            self.run_ended(RunEnd(run_id, RunStatus.CANCELLED, None, None))

    def _woken(self, run_ids: Sequence[UUID], requirements: Collection[str] | None) -> None:
        if run_ids:
            self.runs_changed(run_ids)
        self.work_queued(requirements)

    def _run_failed(self, failed: bool) -> None:
        if failed:
            for listener in self._failure_listeners:
                listener()

    async def _give_back_or_log(self, leases: Mapping[UUID, UUID]) -> None:
        try:
            await self.give_back(leases)
        except MelError as error:
            log.warning("leases not given back", count=len(leases), error=error.message)

    def _recorded(self, entries: Sequence[Entry], aftermath: Aftermath) -> None:
        """Entries have become durable: answer callers, who are not kept waiting by what else there is to do."""
        unanswered = [e.run_id for e in entries if not ((end := self._end(e)) and self.waiters.ended(end))]
        asyncio.get_running_loop().call_soon(self._see_to, entries, aftermath, unanswered)

    def _see_to(self, entries: Sequence[Entry], aftermath: Aftermath, unanswered: Sequence[UUID]) -> None:
        """Wake streams, tell other instances of what is `unanswered`, and see to what can go on now.

        A run whose caller waited here is of no interest elsewhere but to streams, and those look once a second.
        """
        self.waiters.changed(entry.run_id for entry in entries)
        self._tell_others(unanswered)
        metrics.STEPS_RECORDED.inc(sum(len(entry.steps) for entry in entries))
        ends = {str(e.run_id): e.settle.status for e in entries if e.settle and e.settle.status.final}
        if ends:
            log.info("completed work", count=len(ends), runs=list(ends))
        for status, count in Counter(ends.values()).items():
            metrics.RUNS_ENDED.labels(status).inc(count)
        if any(entry.settle and entry.settle.status is RunStatus.PENDING for entry in entries):
            self.work_queued(None)
        self._follow_up(entries, aftermath)

    def _triggers_changed(self) -> None:
        for listener in self._trigger_listeners:
            listener()

    def _started(self, runs: Sequence[NewRun]) -> None:
        """Runs were started in the transaction of something else, and wait for a worker or for a place."""
        metrics.RUNS_STARTED.inc(len(runs))
        if queued := {run.requires for run in runs if run.limit is None}:
            self.work_queued(queued)
        self.waker.wake((), {run.limit.workflow_id for run in runs if run.limit is not None})

    def _follow_up(self, entries: Sequence[Entry], aftermath: Aftermath) -> None:
        self._started(aftermath.started)
        self.waker.wake(aftermath.to_wake, aftermath.with_place)
        self._run_failed(aftermath.failed)
        if leaving := [entry.run_id for entry in entries if entry.leaves_children]:
            self._soon(self._cancel_children(leaving))

    def _end(self, entry: Entry) -> RunEnd | None:
        """What this entry means for a caller: an answer, an end, both, or nothing."""
        answer = next(
            (
                step.output
                for step in entry.steps
                if step.node_type in self.waiters.answering and step.status is StepStatus.COMPLETED
            ),
            None,
        )
        settle = entry.settle
        if settle is not None and settle.status.final:
            return RunEnd(entry.run_id, settle.status, settle.output, settle.error, answer)
        return None if answer is None else RunEnd(entry.run_id, RunStatus.RUNNING, None, None, answer)
