"""Loops: the body of a loop is planned apart, once for each item.

The body of a loop is what can be reached only through the `item` handle of its node. A region is the top of a
definition, or one body without the bodies inside it; every node belongs to exactly one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from melagent.domain.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from melagent.domain.definition import Definition, Edge

LOOP_TYPE = "for_each"
ITEM_HANDLE = "item"
DONE_HANDLE = "done"

ITEMS_SUFFIX = "/items"
"""The list of the items of a loop is a step of its own: `loop/items`, recorded before any step of an item."""

_INDEX = re.compile(r"\[(\d+)\]")


def step_key(node_id: str, path: Iterable[int]) -> str:
    """The key of a step: the node's id, and the number of the item in each loop around it, the outermost first."""
    return node_id + "".join(f"[{index}]" for index in path)


def node_of(key: str) -> str:
    """The id of the node that a step belongs to."""
    return re.split(r"[\[/]", key, maxsplit=1)[0]


def path_of(key: str, node_id: str) -> tuple[int, ...]:
    """The numbers in the key of a step of this node."""
    return tuple(int(index) for index in _INDEX.findall(key[len(node_id) :])) if len(key) > len(node_id) else ()


@dataclass(frozen=True)
class Regions:
    """The regions of a definition without cycles. `loop_of` has the innermost loop around each node.

    The graph of a body begins with the node of its loop, which stands for the item. Edges that name a node which is
    not there, or that cross the border of a body (see `leaks`), are in no graph.
    """

    definition: Definition
    loop_of: dict[str, str | None]
    loops: frozenset[str]

    @classmethod
    def of(cls, definition: Definition) -> Regions:
        """Takes time linear in the definition, but for a logarithm of the depth of loops in loops."""
        loops = frozenset(node.id for node in definition.nodes if node.type == LOOP_TYPE)
        return cls(definition, _innermost_loops(definition, loops), loops)

    @cached_property
    def graphs(self) -> dict[str | None, Graph]:
        """The graph of each region, by its loop; null for the top."""
        ids: dict[str | None, list[str]] = {None: [], **{loop: [loop] for loop in self.loops}}
        edges: dict[str | None, list[Edge]] = {region: [] for region in ids}
        for node in self.definition.nodes:
            ids[self.loop_of[node.id]].append(node.id)
        for edge in self.definition.edges:
            if edge.source in self.loop_of and edge.target in self.loop_of:
                region = self.region_of(edge)
                if region == self.loop_of[edge.target]:
                    edges[region].append(edge)
        return {region: Graph.made_of(ids[region], edges[region]) for region in ids}

    def region_of(self, edge: Edge) -> str | None:
        """Where an edge begins: in the body of the loop whose items it leads to, else in the region of its source."""
        return edge.source if _leads_to_items(edge, self.loops) else self.loop_of[edge.source]

    def graph_of(self, node_id: str) -> Graph:
        """The graph in which a node is planned."""
        return self.graphs[self.loop_of[node_id]]

    def loops_around(self, node_id: str) -> Iterator[str]:
        """The loops around a node, the innermost first."""
        loop = self.loop_of[node_id]
        while loop is not None:
            yield loop
            loop = self.loop_of[loop]

    def depth_of(self, node_id: str) -> int:
        """How many loops are around a node."""
        return sum(1 for _ in self.loops_around(node_id))


def leaks(regions: Regions) -> Iterator[tuple[int, str]]:
    """The position of each edge that crosses the border of the body of a loop, with the loop's id.

    It leads out of the body, or from the items of a loop to a node that can be reached without them.
    """
    for position, edge in enumerate(regions.definition.edges):
        if edge.source in regions.loop_of and edge.target in regions.loop_of:
            region = regions.region_of(edge)
            if region is not None and region != regions.loop_of[edge.target]:
                yield position, region


def _leads_to_items(edge: Edge, loops: AbstractSet[str]) -> bool:
    return edge.source_handle == ITEM_HANDLE and edge.source in loops


def _innermost_loops(definition: Definition, loops: AbstractSet[str]) -> dict[str, str | None]:
    """The innermost loop around each node: the one that all edges into it begin in, what leads before what is led to.

    What lies on a cycle, or behind one, gets some loop or none.
    """
    found: dict[str, str | None] = {}
    nesting = _Nesting()
    following: dict[str, list[Edge]] = {node.id: [] for node in definition.nodes}
    undecided = dict.fromkeys(following, 0)
    for edge in definition.edges:
        if edge.source in following and edge.target in following:
            following[edge.source].append(edge)
            undecided[edge.target] += 1
    decided = [node_id for node_id, edges in undecided.items() if not edges]
    while decided:
        node_id = decided.pop()
        loop = found.setdefault(node_id, None)
        if node_id in loops:
            nesting.add(node_id, loop)
        for edge in following[node_id]:
            begins = node_id if _leads_to_items(edge, loops) else loop
            found[edge.target] = nesting.common(found.get(edge.target, begins), begins)
            undecided[edge.target] -= 1
            if not undecided[edge.target]:
                decided.append(edge.target)
    return {node_id: found.get(node_id) for node_id in following}


class _Nesting:
    """Loops within loops, as a tree whose root is null. Finding what is around two loops takes logarithmic time.

    Each loop knows its parent and, farther up, a loop to jump to; loops of the same depth jump equally far (E. Myers,
    An applicative random-access stack, 1983).
    """

    def __init__(self) -> None:
        self._parent: dict[str | None, str | None] = {None: None}
        self._jump: dict[str | None, str | None] = {None: None}
        self._depth: dict[str | None, int] = {None: 0}

    def add(self, loop: str, around: str | None) -> None:
        near, depth = self._jump[around], self._depth
        far = self._jump[near]
        self._parent[loop] = around
        self._jump[loop] = far if depth[around] - depth[near] == depth[near] - depth[far] else around
        depth[loop] = depth[around] + 1

    def common(self, one: str | None, other: str | None) -> str | None:
        """The innermost loop that each of the two is, or is inside of."""
        depth = min(self._depth[one], self._depth[other])
        one, other = self._risen(one, depth), self._risen(other, depth)
        while one != other:
            up = self._jump if self._jump[one] != self._jump[other] else self._parent
            one, other = up[one], up[other]
        return one

    def _risen(self, loop: str | None, depth: int) -> str | None:
        """The loop of this depth around a loop, or itself."""
        while self._depth[loop] > depth:
            jump = self._jump[loop]
            loop = jump if self._depth[jump] >= depth else self._parent[loop]
        return loop
