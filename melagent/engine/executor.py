"""Runs one leased run to its next stop: an end, a sleep of five seconds and more, or the step boundary of a drain.

The executor starts ready nodes, branches concurrently, and records outcomes. It keeps the flush rule: a node with
effects starts only when all before it is durable, and its own outcome is written at once; outcomes of pure nodes go
along with the next write. It knows neither database nor network: it writes to a `Sink` and takes clock and HTTP
client from `World`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.work import TIMED_OUT, Settle, WorkItem
from melagent.engine.attempt import Attempt, Ended, Interrupted
from melagent.engine.context import Context, Scope, World
from melagent.engine.journal import Journal, Sink
from melagent.engine.planner import fold
from melagent.engine.values import MAX_RUN_BYTES, decode, merged
from melagent.errors import LeaseLost
from melagent.sdk import Json, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from melagent.engine.compiled import CompiledVersion

PARK_SECONDS = 4.9
"""A run whose next timer is this far away gives its place back. The promise is 5 s; the rest of it is the time that
passes between a node's answer and the decision."""

log = structlog.get_logger()


class Executor:
    """One leased run, loaded. `run` may be called once; whoever cancels it loses nothing that was durable.

    `still_held` is asked before each node: false once the lease may have run out by the worker's own clock.
    """

    def __init__(
        self,
        item: WorkItem,
        version: CompiledVersion,
        sink: Sink,
        world: World,
        still_held: Callable[[], bool] = lambda: True,
    ) -> None:
        self._still_held = still_held
        self._item = item
        self._version = version
        self._world = world
        self._plan = fold(version.graph, item.entry, item.journal or ())
        self._journal = Journal(item, sink, on_lost=self._lost)
        self._info = RunInfo(
            id=str(item.run_id),
            workflow_id=str(item.workflow_id) if item.workflow_id else None,
            version_id=str(item.version_id),
            demo_url=world.demo_url,
        )
        self._running: dict[asyncio.Task[Ended], int] = {}
        self._attempts: dict[int, Attempt] = {}
        self._timers: dict[int, tuple[float, StepRecord]] = {}
        self._decoded: dict[int, Json] = {}
        self._draining = False
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Execute until the lease ends: settled, parked or released. When it is lost, return or end as cancelled."""
        self._task = asyncio.current_task()
        try:
            await self._journal.settle(await self._until_end())
        except LeaseLost as error:
            log.info("lease lost", run_id=self._info.id, reason=error.message)
        finally:
            try:
                await self._stop_nodes()
            finally:
                self._journal.close()

    def drain(self) -> None:
        """Start no further node; the run is given back when those that run have finished."""
        self._draining = True

    def interrupt(self) -> None:
        """Stop running nodes now, and give the run back at the last step boundary."""
        self._draining = True
        for attempt in self._attempts.values():
            attempt.interrupt()

    def shared(self, node: int) -> Json:
        """The decoded output of a finished step, for expressions, which cannot change it."""
        if node not in self._decoded:
            record = self._plan.done[node]
            self._decoded[node] = decode(record.output) if record is not None else None
        return self._decoded[node]

    async def _until_end(self) -> Settle:
        failure = self._plan.failure()
        if failure is not None:
            settle = Settle(RunStatus.FAILED, error=failure.error)
        elif self._item.deadline_in is not None and self._item.deadline_in <= 0:
            settle = Settle(RunStatus.FAILED, error=TIMED_OUT)
        else:
            settle = await self._until_stop_or_deadline()
        if settle.status.final:
            await self._cancel_open_steps()
        return settle

    async def _until_stop_or_deadline(self) -> Settle:
        self._resume_timers()
        if self._item.deadline_in is None:
            return await self._drive()
        try:
            async with asyncio.timeout(self._item.deadline_in):
                return await self._drive()
        except TimeoutError:
            return Settle(RunStatus.FAILED, error=TIMED_OUT)

    async def _drive(self) -> Settle:
        while True:
            settle = await self._start_ready()
            if settle is not None:
                return settle
            if self._running:
                settle = await self._next_outcome()
                if settle is not None:
                    return settle
            elif not self._timers and not self._plan.ready:
                return Settle(RunStatus.COMPLETED, output=self._output())
            elif self._draining:
                return Settle(RunStatus.PENDING)
            elif self._seconds_to_timer() >= PARK_SECONDS:
                return Settle(RunStatus.SLEEPING, wake_in=self._seconds_to_timer())
            else:
                await asyncio.sleep(max(0.0, self._seconds_to_timer()))
            self._fire_timers()

    async def _start_ready(self) -> Settle | None:
        """Start what is ready. A node that is alone runs right here; several run as tasks."""
        ready = self._plan.ready
        while ready and not self._draining:
            node = ready.pop(0)
            if ready or self._running or self._timers:
                self._running[asyncio.create_task(self._attempt(node))] = node
                continue
            try:
                settle = self._apply(node, await self._attempt(node))
            except Interrupted:
                ready.append(node)
                return None
            if settle is not None:
                return settle
        return None

    async def _attempt(self, node: int) -> Ended:
        compiled = self._version.nodes[node]
        if compiled.effects:
            await self._journal.durable()
            if self._draining:
                raise Interrupted
        if not self._still_held():
            raise LeaseLost("The lease may have run out.")
        previous = self._plan.open.get(node)
        scope = Scope(self._plan, self._version, self._item, self._info, node, self)
        number = previous.attempt + 1 if previous else 1
        context = Context(scope, self._world, compiled.node.id, number)
        attempt = self._attempts[node] = Attempt(compiled, context, scope, self._world.clock)
        try:
            ended = await attempt.run()
        except Interrupted:
            del self._attempts[node]
            raise
        del self._attempts[node]  # not when cancelled: the end of the run then records the step as cancelled
        return ended

    async def _next_outcome(self) -> Settle | None:
        timeout = max(0.0, self._seconds_to_timer()) if self._timers else None
        done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        settle = None
        for task in sorted(done, key=self._running.__getitem__):
            node = self._running.pop(task)
            try:
                end = self._apply(node, task.result())
            except Interrupted:
                self._plan.ready.append(node)
            else:
                settle = settle or end
        return settle

    def _apply(self, node: int, ended: Ended) -> Settle | None:
        """Take in an outcome: record it, set a timer or let the plan go on."""
        record = ended.record
        if self._journal.size + len(record.output or b"") > MAX_RUN_BYTES:
            record, ended = self._too_large(record)
        if record.due_in is not None:
            self._set_timer(node, record)
            return None
        entry = node == self._plan.entry and not self._version.nodes[node].effects
        record = self._journal.record(record, derived=entry and record.status is StepStatus.COMPLETED)
        self._plan.advance(node, record)
        if ended.settle is None and self._version.nodes[node].prompt and (self._plan.ready or self._running):
            self._journal.flush()
        return ended.settle

    def _too_large(self, record: StepRecord) -> tuple[StepRecord, Ended]:
        message = f"The values of the run would exceed {MAX_RUN_BYTES:,} bytes."
        error = {"code": "run_too_large", "message": message, "node_id": record.node_id}
        finished = record.finished_at or record.started_at
        failed = replace(
            record, status=StepStatus.FAILED, handle=None, output=None, due_in=None, error=error, finished_at=finished
        )
        return failed, Ended(failed, Settle(RunStatus.FAILED, error=error))

    def _set_timer(self, node: int, record: StepRecord) -> None:
        """Record a long sleep, every failed attempt, and what was noticed outside; a short sleep needs no write."""
        seconds = record.due_in or 0.0
        self._timers[node] = (asyncio.get_running_loop().time() + seconds, record)
        noticed = record.status is StepStatus.PENDING or self._version.nodes[node].prompt
        if seconds >= PARK_SECONDS or noticed:
            self._plan.open[node] = self._journal.record(record)
            self._journal.flush()

    def _resume_timers(self) -> None:
        now = asyncio.get_running_loop().time()
        for node, record in self._plan.open.items():
            self._timers[node] = (now + (record.due_in or 0.0), record)
        self._plan.ready = [node for node in self._plan.ready if node not in self._timers]
        self._fire_timers()

    def _fire_timers(self) -> None:
        now = asyncio.get_running_loop().time()
        for node in [node for node, (due, _) in self._timers.items() if due <= now]:
            _, record = self._timers.pop(node)
            if record.status is StepStatus.PENDING:
                self._plan.open[node] = record
                self._plan.ready.append(node)
            else:
                at = max(self._world.clock(), record.started_at)
                awake = replace(record, status=StepStatus.COMPLETED, handle="out", due_in=None, finished_at=at)
                self._plan.advance(node, self._journal.record(awake))

    def _seconds_to_timer(self) -> float:
        return min(due for due, _ in self._timers.values()) - asyncio.get_running_loop().time()

    def _output(self) -> bytes:
        """The output of the run: that of its only leaf, else an object of all leaves by node id."""
        values = {
            self._version.graph.node_ids[node]: record.output or b"null"
            for node in self._plan.leaves()
            if (record := self._plan.done[node]) is not None
        }
        return next(iter(values.values())) if len(values) == 1 else merged(values)

    async def _cancel_open_steps(self) -> None:
        """A run that ends leaves no step open: what runs, sleeps or waits for another try is recorded as cancelled."""
        now = self._world.clock()
        left = self._plan.open | {node: record for node, (_, record) in self._timers.items()}
        for number, attempt in self._attempts.items():
            node = self._version.nodes[number].node
            left[number] = StepRecord(node.id, node.id, node.type, StepStatus.CANCELLED, attempt.context.attempt, now)
        await self._stop_nodes()
        for record in left.values():
            at = max(now, record.started_at)
            self._journal.record(replace(record, status=StepStatus.CANCELLED, output=None, due_in=None, finished_at=at))

    async def _stop_nodes(self) -> None:
        if not self._running:
            return
        tasks = list(self._running)
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
