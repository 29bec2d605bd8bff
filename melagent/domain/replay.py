"""Which recorded steps of a run a new run may take over. Pure.

A step is taken over when it is done: it completed, or it failed and that was saved, by its own settings or by those of
the loop around it. What was open or cancelled, and the failure that ended the run, is done again; and so is everything
behind a step that is to be done again. The steps of a loop and of its body stay together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.domain.graph import Graph
from melagent.domain.loops import LOOP_TYPE, Regions, path_of, step_key
from melagent.domain.run import StepStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from melagent.domain.definition import Definition, Node
    from melagent.domain.run import StepRecord

ENDING = frozenset({"stop", "workflow_return"})
"""Types of nodes that end their run when they complete. Taken for done they would let a new run go on behind them."""

DONE = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


@dataclass(frozen=True, slots=True)
class Journal:
    """The recorded steps of a run. `lenient` are the keys of loops that go on when an item of theirs fails.

    `ended_by` is the node that ended the run by its own decision, if one did.
    """

    steps: Sequence[StepRecord]
    lenient: frozenset[str] = frozenset()
    ended_by: str | None = None

    def done(self, regions: Regions) -> list[StepRecord]:
        """The steps that need not be done again, in their order."""
        return [step for step in self.steps if self._is_done(step, regions)]

    def _is_done(self, step: StepRecord, regions: Regions) -> bool:
        if step.node_type in ENDING or step.node_id == self.ended_by:
            return False
        if step.status is StepStatus.FAILED:
            return step.handle is not None or loop_around(step, regions) in self.lenient
        return step.status in DONE


def unsaved_in_loops(steps: Iterable[StepRecord], regions: Regions) -> set[str]:
    """The keys of the loops in which an item failed: whether that was saved depends on their settings."""
    failed = (step for step in steps if step.status is StepStatus.FAILED and step.handle is None)
    return {loop for step in failed if (loop := loop_around(step, regions)) is not None}


def loop_around(step: StepRecord, regions: Regions) -> str | None:
    """The key of the loop that a step is an item of, or belongs to an item of."""
    path = path_of(step.step_key, step.node_id)
    if not path or step.node_id not in regions.loop_of:
        return None
    stands_for_item = len(path) > regions.depth_of(step.node_id)
    loop = step.node_id if stands_for_item else regions.loop_of[step.node_id]
    return step_key(loop, path[:-1]) if loop is not None else None


def unit_of(regions: Regions, node_id: str) -> str:
    """What is done again when this node is: the outermost loop around it, else the node itself."""
    return [node_id, *regions.loops_around(node_id)][-1]


def behind(graph: Graph, node_ids: Iterable[str]) -> set[str]:
    """These nodes and all that paths lead to from them."""
    found, left = set[str](), [node_id for node_id in node_ids if node_id in graph.index]
    while left:
        node_id = left.pop()
        if node_id not in found:
            found.add(node_id)
            left += [graph.node_ids[graph.targets[edge]] for edge in graph.outgoing[graph.index[node_id]]]
    return found


def unchanged(old: Regions, new: Regions, entry: str) -> set[str]:
    """The nodes of a definition whose steps under another one still hold: they, and all before them, are the same.

    A loop and its body count as one. Names and positions do not matter, nor does what the entry is set to: it gives
    the input of the run.
    """
    before, after = _shapes(old.definition), _shapes(new.definition)
    before[entry] = after[entry]
    changed = {node_id for node_id, shape in after.items() if before.get(node_id) != shape}
    for loop in (node.id for node in new.definition.nodes if node.type == LOOP_TYPE):
        body = _body(new, loop)
        if body & changed or body != _body(old, loop):
            changed.add(loop)
    return after.keys() - behind(Graph.of(new.definition), changed)


def _shapes(definition: Definition) -> dict[str, tuple[Node, tuple[tuple[str, str, str], ...]]]:
    """Each node with its incoming edges in their order."""
    incoming: dict[str, list[tuple[str, str, str]]] = {node.id: [] for node in definition.nodes}
    for edge in definition.edges:
        incoming[edge.target].append((edge.source, edge.source_handle, edge.target_handle))
    bare = {"name": "", "position": None}
    return {node.id: (node.model_copy(update=bare), tuple(incoming[node.id])) for node in definition.nodes}


def _body(regions: Regions, loop: str) -> set[str]:
    """All nodes inside a loop, those of the loops inside it included."""
    return {node_id for node_id in regions.loop_of if loop in regions.loops_around(node_id)}


def live_sources(regions: Regions, node_id: str, steps: Collection[StepRecord]) -> list[str]:
    """The nodes whose recorded output reaches a node of the top, in edge order."""
    handles = {step.step_key: step.handle for step in steps}
    graph = regions.graphs[None]
    edges = [graph.edges[edge] for edge in graph.incoming[graph.index[node_id]]]
    found = [edge.source for edge in edges if handles.get(edge.source, "") == edge.source_handle]
    return list(dict.fromkeys(found))
