"""Runs one leased run to its next stop: an end, a long sleep, a wait, a pause, or the step boundary of a drain.

The executor starts ready nodes, branches concurrently, and records outcomes. It keeps the flush rule: a node with
effects starts only when all before it is durable, and its own outcome is written at once; outcomes of pure nodes go
along with the next write. It knows neither database nor network: it writes to a `Sink` and takes clock and HTTP
client from `World`. Where the run stands is the `Course`, what it waits for the `Waits`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from melagent.domain.definition import OnInterrupted
from melagent.domain.requirement import requirement
from melagent.domain.run import RunStatus, StepRecord, StepStatus
from melagent.domain.variables import RUN
from melagent.domain.work import TIMED_OUT, Settle, WorkItem
from melagent.engine.attempt import Attempt, Ended, Interrupted
from melagent.engine.children import Children, given_item
from melagent.engine.context import Context, Scope, View, World
from melagent.engine.course import Loop, fold, output_of
from melagent.engine.items import belongs_to, ended_by, loop_and_index, results_of, waiting_for
from melagent.engine.journal import Journal, Sink
from melagent.engine.open_steps import OpenSteps
from melagent.engine.run_limits import beyond_limit, exceeded
from melagent.engine.running import Running
from melagent.engine.secrets import Secrets
from melagent.engine.variables import Variables
from melagent.engine.waits import Waits
from melagent.errors import LeaseLost
from melagent.sdk import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from melagent.domain.work import Message
    from melagent.engine.compiled import CompiledNode, CompiledVersion
    from melagent.engine.planner import Place

SLICE_SECONDS = 0.005
"""Nodes that never wait run one after the other for so long, before others of the process have their turn."""

log = structlog.get_logger()


class Executor:
    """One leased run, loaded. `run` may be called once; whoever cancels it loses nothing that was durable.

    `still_held` is asked before each node: false once the lease may have run out by the worker's own clock. Nodes with
    labels that the worker does not `offer` are left to another.
    """

    def __init__(  # noqa: PLR0917  # what the worker gives to each run
        self,
        item: WorkItem,
        version: CompiledVersion,
        sink: Sink,
        world: World,
        still_held: Callable[[], bool] = lambda: True,
        offered: frozenset[str] = frozenset(),
    ) -> None:
        self._still_held = still_held
        self._offered = offered
        self._item = item
        self._version = version
        self._world = world
        value, outer = given_item(item)
        self._course, open_steps = fold(version.regions, item.entry, item.journal or (), value)
        self._journal = Journal(item, sink, on_lost=self._lost)
        variables, secrets = Variables(item, version, sink), Secrets(item, sink)
        self._view = View(self._course, version, item, world, outer, variables, secrets)
        self._stir = asyncio.Event()
        self._waits = Waits(item.inbox, self._stir)
        self._open = OpenSteps(self._course, open_steps, self._waits, self._journal, world.clock)
        self._children = Children(item, sink, self._view)
        self._running = Running(self._stir)
        self._attempts: dict[str, Attempt] = {}
        self._elsewhere: list[Place] = []
        self._draining = False
        self._pausing = self._stopping = item.pausing
        self._task: asyncio.Task[Any] | None = None

    @property
    def waits_for_messages(self) -> bool:
        return bool(self._waits)

    async def run(self) -> None:
        """Execute until the lease ends: settled, parked or released. When it is lost, return or end as cancelled."""
        self._task = asyncio.current_task()
        try:
            await self._journal.settle(await self._until_end())
        except LeaseLost as error:
            log.info("lease lost", run_id=self._view.run.id, reason=error.message)
        finally:
            try:
                if self._running:
                    await self._running.stop()
            finally:
                self._journal.close()

    def drain(self) -> None:
        """Start no further node; the run is given back when those that run have finished."""
        self._draining = self._stopping = True

    def pause(self) -> None:
        """Start no further node; the run is paused when those that run have finished."""
        self._pausing = self._stopping = True

    def interrupt(self) -> None:
        """Stop running nodes now, and give the run back at the last step boundary."""
        self.drain()
        for attempt in self._attempts.values():
            attempt.interrupt()

    def deliver(self, messages: Iterable[Message]) -> None:
        """Messages have come; those that are known already are passed over."""
        self._waits.deliver(messages)

    # How the run ends or parks.

    async def _until_end(self) -> Settle:
        if (failure := self._course.top.failure) is not None:
            settle = Settle(RunStatus.FAILED, error=failure.error)
        elif self._item.deadline_in is not None and self._item.deadline_in <= 0:
            settle = Settle(RunStatus.FAILED, error=TIMED_OUT)
        else:
            settle = await self._until_stop_or_deadline()
        if settle.status.final:
            await self._cancel_open_steps()
        return settle

    async def _until_stop_or_deadline(self) -> Settle:
        self._open.resume()
        self._take_in_messages()
        self._open.fire_timers()
        if self._item.deadline_in is None:
            return await self._drive()
        try:
            async with asyncio.timeout(self._item.deadline_in):
                return await self._drive()
        except TimeoutError:
            return Settle(RunStatus.FAILED, error=TIMED_OUT)

    async def _drive(self) -> Settle:
        while True:
            settle = await self._advance_loops() or await self._start_ready()
            if settle is not None:
                return settle
            if self._running:
                await self._news()
                settle = self._take_in_outcomes()
            elif not self._course.ready or self._stopping:
                settle = self._stop()
                if settle is None:
                    await self._news()
            if settle is not None:
                return settle
            self._take_in_messages()  # before the timers: what came in time is not too late
            self._open.fire_timers()

    def _stop(self) -> Settle | None:
        """How the lease ends now that nothing runs; null when it goes on in a moment."""
        left = (self._open.timers, self._waits, self._course.ready, self._course.to_spawn, self._elsewhere)
        if not any(left):
            return Settle(RunStatus.COMPLETED, output=output_of(self._course.top))
        if self._pausing:
            return Settle(RunStatus.PAUSED)
        if self._draining:
            return Settle(RunStatus.PENDING)
        if self._elsewhere:
            return Settle(RunStatus.PENDING, requires=self._required_elsewhere())
        return self._open.park()

    def _required_elsewhere(self) -> str:
        """What a worker must have for the nodes that this one cannot run."""
        nodes = self._version.nodes
        labels = {label for place in self._elsewhere for label in nodes[place.node_id].node.labels}
        return requirement({*self._item.required.split(), *labels})

    # Nodes.

    async def _start_ready(self) -> Settle | None:
        """Start what is ready. A node that is alone runs right here; several run as tasks."""
        ready, clock = self._course.ready, asyncio.get_running_loop().time
        slice_end = clock() + SLICE_SECONDS
        while ready and not self._stopping:
            place = ready.popleft()
            if place.node_id in self._version.labelled and not self._may_run(place):
                self._elsewhere.append(place)
                continue
            if ready or self._running or self._open.timers:
                self._running.add(self._attempt(place), place)
                continue
            try:
                settle = self._apply(place, await self._attempt(place))
            except Interrupted:
                ready.append(place)
                return None
            if settle is None and self._course.stirs:
                settle = await self._advance_loops()
            if settle is not None:
                return settle
            if clock() > slice_end:
                await asyncio.sleep(0)
                slice_end = clock() + SLICE_SECONDS
        return None

    def _may_run(self, place: Place) -> bool:
        return self._offered.issuperset(self._version.nodes[place.node_id].node.labels)

    async def _attempt(self, place: Place) -> Ended:
        compiled, key = self._version.nodes[place.node_id], place.key
        if compiled.effects:
            await self._journal.durable()
            if self._stopping:
                raise Interrupted
        attempt = self._new_attempt(place, compiled)
        if (begun := self._open.records.get(key)) is not None and begun.status is StepStatus.RUNNING:
            return attempt.interrupted()
        if compiled.effects and compiled.node.on_interrupted is not OnInterrupted.RETRY:
            self._open.records[key] = self._journal.record(attempt.begun())
            await self._journal.durable()
        if not self._still_held():
            raise LeaseLost("The lease may have run out.")
        self._attempts[key] = attempt
        try:
            ended = await attempt.run()
        except Interrupted:
            del self._attempts[key]
            raise
        del self._attempts[key]  # not when cancelled: the end of the run then records the step as cancelled
        return ended

    def _new_attempt(self, place: Place, compiled: CompiledNode) -> Attempt:
        key = place.key
        previous, received = self._open.records.get(key), self._waits.received(key)
        number = 1 if previous is None else previous.attempt + (received is None)
        scope = Scope(self._view, place)
        context = Context(scope, self._world, number, received)
        return Attempt(compiled, context, scope, self._world.clock, self._children.of_call)

    async def _news(self) -> None:
        """Return when a node has ended, a message has come, or a timer is due."""
        self._open.flush()
        seconds = self._open.seconds_to_timer()
        try:
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
                await self._stir.wait()
        except TimeoutError:
            return
        self._stir.clear()

    def _take_in_outcomes(self) -> Settle | None:
        settle = None
        for place, task in self._running.take_ended():
            try:
                end = self._apply(place, task.result())
            except Interrupted:
                self._course.ready.append(place)
            else:
                settle = settle or end
        return settle

    def _apply(self, place: Place, ended: Ended) -> Settle | None:
        """Take in an outcome: record it, set a timer, wait, or let the course go on."""
        taken = self._waits.taken(place.key)
        if ended.command is not None and ended.command.command.scope == RUN:
            ended = ended.led_to(self._view.variables.execute(ended.record, ended.command))
        if not ended.recorded and (problem := exceeded(self._journal, ended.record)) is not None:
            ended = beyond_limit(ended.record, problem)
        record = ended.record
        compiled = self._version.nodes[place.node_id]
        if not record.status.final:
            self._open.leave(place, ended, taken, noticed=compiled.prompt)
            if self._course.ready or self._running:
                self._open.flush()
            return None
        if not ended.opens:
            self._open.records.pop(place.key, None)
        entry = place.plan is self._course.top and place.node == place.plan.entry
        derived = entry and not compiled.effects and record.status is StepStatus.COMPLETED
        if not ended.recorded:
            started, command = ended.starts, ended.command
            record = self._journal.record(record, derived=derived, taken=taken, starts=started, command=command)
        if ended.command is not None:
            self._running.add(self._executed(ended), place)
            return None
        if ended.opens:
            self._course.open(place, record)
            return None
        in_loop = place.plan.around is not None
        self._course.advance(place, record)
        if in_loop and record.status is StepStatus.FAILED:
            return None  # its loop decides
        if ended.settle is None and compiled.prompt and (self._course.ready or self._running):
            self._journal.flush()
        return ended.settle

    async def _executed(self, ended: Ended) -> Ended:
        """What the command of a step has led to, which is known when its record is durable."""
        return ended.led_to(await self._journal.written(ended.record), recorded=True)

    # Loops.

    async def _advance_loops(self) -> Settle | None:
        """Record the results of loops that are over, fail those that an item has failed, start children for items."""
        course = self._course
        while course.over or course.failed:
            if course.failed:
                loop, error = course.failed.popleft()
                settle = await self._fail_loop(loop, error)
            else:
                settle = self._close_loop(course.over.popleft())
            if settle is not None:
                return settle
        while course.to_spawn and not self._stopping:
            await self._spawn(*course.to_spawn.popleft())
        return None

    def _close_loop(self, loop: Loop) -> Settle | None:
        try:
            return self._apply(loop.place, Ended(results_of(loop, self._world.clock())))
        except NodeError as failure:
            return self._apply(loop.place, self._failed(loop.place, failure))

    async def _fail_loop(self, loop: Loop, error: dict[str, Any] | None) -> Settle | None:
        """Stop what the items are doing, and fail the loop's own step, which its settings may still save."""
        error = error or {}
        dropped = self._course.drop(loop)
        await self._running.stop(dropped)
        self._open.close(self._attempts, lambda place, record: belongs_to(loop, dropped, place, record))
        failure = NodeError(error.get("message", ""), code=error.get("code", "item_failed"), retryable=False)
        return self._apply(loop.place, self._failed(loop.place, failure))

    def _failed(self, place: Place, failure: NodeError) -> Ended:
        """The outcome of a step that failed for a reason outside its node."""
        return self._new_attempt(place, self._version.nodes[place.node_id]).failed(failure)

    async def _spawn(self, loop: Loop, index: int) -> None:
        """Start the child run of an item: a step that waits for its end stands for it."""
        run = await self._children.of_item(loop, index)
        self._open.wait_for_child(waiting_for(run, loop, index, self._world.clock()), run)

    def _take_in_messages(self) -> None:
        """Give messages to the steps that wait for them."""
        for wait, message in self._waits.matches():
            self._open.timers.pop(wait.key, None)
            if wait.place is not None:
                self._course.ready.append(wait.place)
            else:
                self._end_item(wait.record, message)
        for number in self._waits.take_unwanted():
            self._journal.take(number)

    def _end_item(self, record: StepRecord, message: Message) -> None:
        """The child run of an item has ended."""
        ended = ended_by(message, record, self._world.clock())
        del self._open.records[record.step_key]
        self._journal.record(ended, taken=self._waits.taken(record.step_key))
        loop_key, index = loop_and_index(record.step_key)
        if (loop := self._course.loops.get(loop_key)) is not None:
            self._course.take_result(loop, index, ended)

    # The end.

    async def _cancel_open_steps(self) -> None:
        """A run that ends leaves no step open: what runs, sleeps or waits is recorded as cancelled."""
        if self._running:
            await self._running.stop()
        self._open.close(self._attempts, lambda _place, _record: True)

    def _lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
