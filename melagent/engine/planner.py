"""Which nodes may run: dead-path elimination over the graph, one step at a time. Pure: no I/O, no clock.

An edge is *taken* when its source completed and chose the edge's handle, and *dead* otherwise. A node is ready when
each of its incoming edges is decided and at least one is taken; when all are dead the node is skipped, and so are its
own outgoing edges. The fired trigger is the entry; every other node without incoming edges is dead from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from melagent.domain.loops import step_key
from melagent.domain.run import StepRecord, StepStatus

if TYPE_CHECKING:
    from melagent.domain.graph import Graph


class Plan:
    """The progress of one region of a run: of its top, or of one item of a loop (then `path` has its number).

    Each decision costs time proportional to the edges it decides, never to the graph.

    `done[n]` is the final record of node `n`, or null. `ready` lists the nodes that may start, in the order they became
    ready. `undone` counts the nodes that became ready and are not done. `failure` is the first record of a node that
    failed and took no handle in its stead. `values` is for whoever decodes outputs, by node; `around` is the loop that
    the plan is about an item of, with the item's number.
    """

    __slots__ = (
        "_leaves", "_open_inputs", "_taken", "around", "done", "entry", "failure", "graph", "path", "ready", "skipped",
        "undone", "values",
    )  # fmt: skip

    def __init__(self, graph: Graph, entry: str, path: tuple[int, ...] = ()) -> None:
        self.graph = graph
        self.path = path
        self.undone = 1
        self.failure: StepRecord | None = None
        self.values: dict[int, Any] = {}
        self.around: Any = None
        self.entry = graph.index[entry]
        self.done: list[StepRecord | None] = [None] * len(graph.node_ids)
        self.skipped: set[int] = set()
        self.ready: list[int] = [self.entry]
        self._open_inputs = list(graph.inputs)
        self._taken = [False] * len(graph.edges)
        self._leaves: list[int] = []
        for node in graph.roots:
            if node != self.entry:
                self._skip(node)

    def advance(self, node: int, record: StepRecord) -> None:
        """Take in the final record of a node; nodes that become ready are appended to `ready`."""
        self.done[node] = record
        self.undone -= 1
        handle, edges = record.handle, self.graph.edges
        if handle is None and record.status is StepStatus.FAILED:
            self.failure = self.failure or record
        is_leaf = handle is not None
        for edge in self.graph.outgoing[node]:
            taken = edges[edge].source_handle == handle
            is_leaf = is_leaf and not taken
            self._decide(edge, taken=taken)
        if is_leaf:
            self._leaves.append(node)

    def live_inputs(self, node: int) -> list[int]:
        """The nodes whose output reaches `node`, in edge order; one that is connected twice is listed twice."""
        return [self.graph.sources[edge] for edge in self.graph.incoming[node] if self._taken[edge]]

    def leaves(self) -> list[int]:
        """Completed nodes whose output nobody took: together they are the output of the run."""
        return sorted(self._leaves)

    def _decide(self, edge: int, *, taken: bool) -> None:
        target = self.graph.targets[edge]
        self._taken[edge] = taken
        self._open_inputs[target] -= 1
        if self._open_inputs[target]:
            return
        if taken or any(self._taken[incoming] for incoming in self.graph.incoming[target]):
            self._make_ready(target)
        else:
            self._skip(target)

    def _make_ready(self, node: int) -> None:
        self.ready.append(node)
        self.undone += 1

    def _skip(self, node: int) -> None:
        """Skip a node and all that is dead because of it; a worklist, so that long dead paths need no deep stack."""
        self.skipped.add(node)
        dead = list(self.graph.outgoing[node])
        while dead:
            edge = dead.pop()
            target = self.graph.targets[edge]
            self._open_inputs[target] -= 1
            if self._open_inputs[target]:
                continue
            if any(self._taken[incoming] for incoming in self.graph.incoming[target]):
                self._make_ready(target)
            else:
                self.skipped.add(target)
                dead.extend(self.graph.outgoing[target])

    def place(self, node: int) -> Place:
        node_id = self.graph.node_ids[node]
        return Place(self, node, node_id, step_key(node_id, self.path) if self.path else node_id)

    def take_ready(self) -> list[Place]:
        """The nodes that may start, once: whoever takes them starts them."""
        ready, self.ready = self.ready, []
        return [self.place(node) for node in ready if self.done[node] is None]


class Place(NamedTuple):
    """A node in a plan: what a step is about, and the key of that step."""

    plan: Plan
    node: int
    node_id: str
    key: str
