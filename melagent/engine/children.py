"""The runs that a run starts: of workflows that its nodes call, and of items of its distributed loops.

An item is given to its run as `{item, index, steps}`; the steps are outputs from around the loop.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson

from melagent.domain.ids import milliseconds_of, time_of, uuid7
from melagent.domain.work import Caller, ChildCall, NewRun, Parent, WorkItem
from melagent.engine.context import shared
from melagent.engine.course import Item
from melagent.sdk import Call, NodeError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from melagent.engine.attempt import Attempt
    from melagent.engine.context import View
    from melagent.engine.course import Loop
    from melagent.engine.journal import Sink

MAX_DEPTH = 32


class Children:
    """Makes the runs; they start when the step that they belong to is recorded."""

    def __init__(self, item: WorkItem, sink: Sink, view: View) -> None:
        self._item = item
        self._sink = sink
        self._view = view

    async def of_call(self, attempt: Attempt, call: Call, value: bytes) -> NewRun:
        """The run of a called workflow. Raises NodeError, or the MelError of whoever knows the workflow."""
        seed = f"{attempt.context.idempotency_key}:{attempt.context.attempt}"
        child = ChildCall(
            caller=self._caller(),
            run_id=self._id(seed, attempt.clock()),
            parent=self._parent(attempt.context.step_key, attached=call.wait),
            input=value,
            workflow=call.workflow,
            version=None if call.version == "current" else call.version,
        )
        return await self._sink.child(child)

    async def of_item(self, loop: Loop, index: int) -> NewRun:
        """The run of one item of a loop: the same version, entered at the loop."""
        key = loop.key_of(index)
        given = {"item": orjson.Fragment(loop.items[index]), "index": index, "steps": self._outer(loop)}
        child = ChildCall(
            caller=self._caller(),
            run_id=self._id(f"{self._item.run_id}:{key}", loop.record.started_at),
            parent=self._parent(key, attached=True),
            input=orjson.dumps(given),
            scope=key,
        )
        return await self._sink.child(child)

    def _outer(self, loop: Loop) -> dict[str, object]:
        """The outputs around a loop that the expressions in its body can see and name."""
        wanted = self._view.version.looked_at_from(loop.place.node_id)
        found: dict[str, object] = {
            node_id: orjson.Fragment(output) for node_id, output in self._view.outer.items() if node_id in wanted
        }
        for plan in self._view.course.outwards(loop.place.plan):
            for node_id in wanted - found.keys():
                node = plan.graph.index.get(node_id)
                if node is not None and (record := plan.done[node]) is not None and record.handle is not None:
                    found[node_id] = shared(plan, node)
        return found

    def _caller(self) -> Caller:
        return Caller(self._item.workflow_id, self._item.version_id, self._item.required)

    def _parent(self, key: str, *, attached: bool) -> Parent:
        depth = self._item.depth + 1
        if depth > MAX_DEPTH:
            raise NodeError(f"Runs call each other deeper than {MAX_DEPTH} levels.", code="too_deep", retryable=False)
        return Parent(self._item.run_id, key, depth, attached)

    def _id(self, seed: str, at: datetime) -> UUID:
        """The same for the same attempt at the same moment; it is recorded together with the start.

        It sorts behind the id of this run, although a step that was copied from another run is older.
        """
        moment = max(int(at.timestamp() * 1000), milliseconds_of(self._item.run_id) + 1)
        return uuid7(moment, random.Random(seed).randbytes(10))  # noqa: S311  # an id, not a secret


def given_item(item: WorkItem) -> tuple[Item | None, dict[str, bytes]]:
    """The item of a loop that a run runs as a child, and the outputs around the loop that its body looks at."""
    if item.scope is None:
        return None, {}
    given = orjson.loads(item.input or b"{}")
    outer = {node_id: orjson.dumps(output) for node_id, output in given["steps"].items()}
    return Item(item.scope, orjson.dumps(given["item"]), time_of(item.run_id)), outer
