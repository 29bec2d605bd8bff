"""Where a run stands: the plan of its top, and the plans of the items of its loops that are under way. Pure.

A loop is opened by the record of its list of items, a step of its own. Each item has a plan, over the body of the loop,
whose first node stands for the item; so many are under way at once as the loop allows. When the last has ended the loop
is over, and whoever drives the course records its results, which lets the plan around it go on. A `distributed` loop
has no plans here: each of its items is a child run.

`fold` makes from the journal the same course that the run had when it recorded the last of its steps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.loops import ITEM_HANDLE, ITEMS_SUFFIX, LOOP_TYPE, path_of, step_key
from melagent.domain.run import StepRecord, StepStatus
from melagent.engine.planner import Place, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from melagent.domain.loops import Regions


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Loop:
    """A loop under way, opened by `record`.

    `results` has a JSON text for each item that has ended, null for one that is left out.
    """

    place: Place
    record: StepRecord
    items: list[bytes]
    concurrency: int
    on_item_error: str
    distributed: bool
    waiting: deque[int] = field(default_factory=deque)
    live: dict[int, Plan | None] = field(default_factory=dict)
    results: dict[int, bytes | None] = field(default_factory=dict)
    filling: bool = False

    @classmethod
    def opened_by(cls, place: Place, record: StepRecord) -> Loop:
        """Read the record whose output was made by `opening`."""
        spec = orjson.loads(record.output or b"{}")
        items = [orjson.dumps(item) for item in spec["items"]]
        loop = cls(place, record, items, spec["concurrency"], spec["on_item_error"], spec["distributed"])
        loop.waiting.extend(range(len(items)))
        return loop

    @property
    def over(self) -> bool:
        return len(self.results) == len(self.items)

    @property
    def path(self) -> tuple[int, ...]:
        return self.place.plan.path

    def key_of(self, index: int) -> str:
        """The key of the step that stands for an item of a distributed loop."""
        return step_key(self.place.node_id, (*self.path, index))

    def output(self) -> bytes:
        """The results of all items in their order, as JSON text."""
        results = (self.results[index] for index in range(len(self.items)))
        return b"[" + b",".join(result for result in results if result is not None) + b"]"


class Course:
    """The plans of one run.

    `ready` are the places that may start, `over` the loops whose results can be recorded, `failed` those that an item
    has failed with the error given, `to_spawn` the items for which a child run is to be started.
    """

    def __init__(self, regions: Regions, entry: str, scope: str | None = None) -> None:
        """Enter at a node; with `scope` at the loop `entry`, of which this run has that item."""
        self.regions = regions
        self.ready: deque[Place] = deque()
        self.over: deque[Loop] = deque()
        self.failed: deque[tuple[Loop, dict[str, Any] | None]] = deque()
        self.to_spawn: deque[tuple[Loop, int]] = deque()
        self.loops: dict[str, Loop] = {}
        graph = regions.graphs[entry] if scope is not None else regions.graph_of(entry)
        self.top = Plan(graph, entry, path_of(scope, entry) if scope is not None else ())
        self._gather(self.top)

    def advance(self, place: Place, record: StepRecord) -> None:
        """Take in the final record of a step. When it is that of a loop, nothing is left to be done about its items."""
        if (loop := self.loops.pop(record.step_key, None)) is not None:
            self.drop(loop)
        place.plan.advance(place.node, record)
        self._gather(place.plan)

    def open(self, place: Place, record: StepRecord) -> Loop:
        """Begin with the items of a loop; the record lists them."""
        loop = self.loops[place.key] = Loop.opened_by(place, record)
        self._fill(loop)
        return loop

    def finish_item(self, loop: Loop, index: int, result: bytes | None) -> None:
        """An item has ended with this result, which is left out when it is null."""
        plan = loop.live.pop(index, None)
        if plan is not None:
            plan.around = None
        loop.results[index] = result
        self._fill(loop)

    @property
    def stirs(self) -> bool:
        """Whether a loop has come to something that is to be recorded or started."""
        return bool(self.over or self.failed or self.to_spawn)

    def outwards(self, plan: Plan) -> Iterator[Plan]:
        """A plan, and those around it."""
        yield plan
        while plan.around is not None:
            plan = plan.around[0].place.plan
            yield plan

    def is_live(self, plan: Plan) -> bool:
        """Whether a plan is that of the top, or of an item whose loop, and all around it, go on."""
        while plan is not self.top:
            if plan.around is None:
                return False
            loop: Loop = plan.around[0]
            if self.loops.get(loop.place.key) is not loop:
                return False
            plan = loop.place.plan
        return True

    def is_open(self, loop: Loop) -> bool:
        """Whether a loop goes on."""
        return self.loops.get(loop.place.key) is loop and self.is_live(loop.place.plan)

    def drop(self, loop: Loop) -> list[Plan]:
        """Forget the items of a loop that will not be finished, and all loops inside it; their plans."""
        dropped = []
        for plan in loop.live.values():
            if plan is not None:
                dropped.append(plan)
                plan.around = None
        for inner in [inner for inner in self.loops.values() if inner.place.plan in dropped]:
            del self.loops[inner.place.key]
            dropped += self.drop(inner)
        loop.live.clear()
        loop.waiting.clear()
        kept = [place for place in self.ready if place.plan not in dropped]
        self.ready.clear()  # in place: whoever starts what is ready has this very deque in hand
        self.ready.extend(kept)
        self.over = deque(other for other in self.over if other is not loop and other.place.plan not in dropped)
        self.failed = deque(pair for pair in self.failed if pair[0] is not loop and pair[0].place.plan not in dropped)
        self.to_spawn = deque((other, index) for other, index in self.to_spawn if other is not loop)
        return dropped

    def _gather(self, plan: Plan) -> None:
        """Make known what has become possible in a plan."""
        if plan.ready:
            self.ready.extend(plan.take_ready())
        if plan.around is None or (plan.undone and plan.failure is None):
            return
        loop, index = plan.around
        if plan.failure is None:
            self.finish_item(loop, index, output_of(plan))
        elif plan.undone == 0 or loop.on_item_error == "fail":
            self.fail_item(loop, index, plan.failure.error)

    def take_result(self, loop: Loop, index: int, record: StepRecord) -> None:
        """The child run of an item has ended."""
        self.to_spawn = deque((other, number) for other, number in self.to_spawn if (other, number) != (loop, index))
        if record.status is StepStatus.COMPLETED:
            self.finish_item(loop, index, record.output)
        else:
            self.fail_item(loop, index, record.error)

    def fail_item(self, loop: Loop, index: int, error: dict[str, Any] | None) -> None:
        """An item has failed; the loop fails with it, or goes on."""
        if loop.on_item_error == "fail":
            self.failed.append((loop, error))
        else:
            self.finish_item(loop, index, None if loop.on_item_error == "skip" else orjson.dumps({"error": error}))

    def _fill(self, loop: Loop) -> None:
        """Start items as long as there is room; those that end at once make room again, without going deeper."""
        if loop.filling:
            return
        loop.filling = True
        while loop.waiting and len(loop.live) < loop.concurrency:
            self._start_item(loop, loop.waiting.popleft())
        loop.filling = False
        if loop.over:
            self.over.append(loop)

    def _start_item(self, loop: Loop, index: int) -> None:
        """Make the plan of an item, or ask for a child run to do it."""
        if loop.distributed:
            loop.live[index] = None
            self.to_spawn.append((loop, index))
            return
        node_id = loop.place.node_id
        plan = loop.live[index] = Plan(self.regions.graphs[node_id], node_id, (*loop.path, index))
        plan.around = (loop, index)
        plan.take_ready()
        plan.advance(0, item_record(loop.key_of(index), node_id, loop.items[index], loop.record.started_at))
        self._gather(plan)

    def begin_item(self, record: StepRecord) -> None:
        """Begin with the item that a child run runs."""
        self.ready.clear()
        self.top.advance(0, record)
        self._gather(self.top)

    def plan_of(self, node_id: str, path: tuple[int, ...]) -> Plan | None:
        """The plan that has a node under these numbers; null when it is over, or was never begun."""
        if path == self.top.path and node_id in self.top.graph.index:
            return self.top
        around = self.regions.loop_of.get(node_id)
        loop = self.loops.get(step_key(around, path[:-1])) if around is not None and path else None
        return loop.live.get(path[-1]) if loop is not None else None

    def place_of(self, record: StepRecord) -> Place | None:
        """The place of an open step; null when it stands for an item of a distributed loop."""
        plan = self.plan_of(record.node_id, path_of(record.step_key, record.node_id))
        return plan.place(plan.graph.index[record.node_id]) if plan is not None else None


@dataclass(frozen=True, slots=True)
class Item:
    """The item of a loop that a child run runs: the key of its step in the parent, its value, and when it began."""

    scope: str
    value: bytes
    began_at: datetime


def fold(
    regions: Regions, entry: str, journal: Iterable[StepRecord], item: Item | None = None
) -> tuple[Course, dict[str, StepRecord]]:
    """Where a run stands after the recorded steps, and the open ones: sleeping, waiting, or to be tried again.

    A child run of an `item` enters at the node of the loop.
    """
    course = Course(regions, entry, item.scope if item else None)
    open_steps: dict[str, StepRecord] = {}
    if item is not None:
        course.begin_item(item_record(item.scope, entry, item.value, item.began_at))
    records = sorted(journal, key=lambda step: step.seq)
    for record in records:
        if not record.status.final:
            open_steps[record.step_key] = record
        else:
            _replay(course, record)
    if records:
        _settle_ready(course, open_steps)
    return course, open_steps


def _replay(course: Course, record: StepRecord) -> None:
    path = path_of(record.step_key, record.node_id)
    loop = course.loops.get(step_key(record.node_id, path[:-1])) if path else None
    if loop is not None and loop.distributed:
        course.take_result(loop, path[-1], record)
    elif (plan := course.plan_of(record.node_id, path)) is not None:
        place = plan.place(plan.graph.index[record.node_id])
        if record.step_key.endswith(ITEMS_SUFFIX):
            course.open(place, record)
        else:
            course.advance(place, record)


def _settle_ready(course: Course, open_steps: dict[str, StepRecord]) -> None:
    """What has begun is not ready, items that a child runs need no other, and of loops that ended nothing is left."""
    course.loops = {key: loop for key, loop in course.loops.items() if course.is_open(loop)}
    course.over = deque(loop for loop in course.over if course.is_open(loop))
    course.failed = deque(pair for pair in course.failed if course.is_open(pair[0]))
    course.ready = deque(
        place
        for place in course.ready
        if place.plan.done[place.node] is None and place.key not in open_steps and place.key not in course.loops
        if course.is_live(place.plan)
    )
    course.to_spawn = deque(
        (loop, index)
        for loop, index in course.to_spawn
        if course.is_open(loop) and loop.key_of(index) not in open_steps
    )
    for key in open_steps.keys() & course.loops.keys():  # tried again until its items began: no timer is left of that
        open_steps[key] = replace(open_steps[key], due_in=None)


def skipped(regions: Regions, entry: str, journal: Iterable[StepRecord], scope: str | None) -> set[str]:
    """The nodes that no path has led to, outside of loops; of a child run of an item those of the loop's body."""
    course = Course(regions, entry, scope)
    if scope is not None:
        course.begin_item(item_record(scope, entry, b"null", EPOCH))
    for record in sorted(journal, key=lambda step: step.seq):
        outside = record.status.final and not record.step_key.endswith(ITEMS_SUFFIX)
        if outside and course.plan_of(record.node_id, path_of(record.step_key, record.node_id)) is course.top:
            course.advance(course.top.place(course.top.graph.index[record.node_id]), record)
    return {course.top.graph.node_ids[node] for node in course.top.skipped}


def opening(items: list[Any], concurrency: int, on_item_error: str, *, distributed: bool) -> dict[str, Any]:
    """The output of the record that opens a loop."""
    return {"items": items, "concurrency": concurrency, "on_item_error": on_item_error, "distributed": distributed}


def item_record(key: str, node_id: str, value: bytes, at: datetime) -> StepRecord:
    """What stands at the beginning of the plan of an item: as if the loop had completed with this item."""
    return StepRecord(key, node_id, LOOP_TYPE, StepStatus.COMPLETED, 1, at, at, handle=ITEM_HANDLE, output=value)


def output_of(plan: Plan) -> bytes:
    """The output of a plan that is over: that of its only leaf, else an object of all leaves by node id."""
    values = {
        plan.graph.node_ids[node]: record.output or b"null"
        for node in plan.leaves()
        if (record := plan.done[node]) is not None
    }
    if len(values) == 1:
        return next(iter(values.values()))
    return orjson.dumps({key: orjson.Fragment(value) for key, value in values.items()})
