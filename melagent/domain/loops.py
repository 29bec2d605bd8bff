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
    """The regions of a definition whose edges all end at nodes. `loop_of` has the innermost loop around each node.

    The graph of a body begins with the node of its loop, which stands for the item.
    """

    definition: Definition
    loop_of: dict[str, str | None]

    @classmethod
    def of(cls, definition: Definition) -> Regions:
        loops = [node.id for node in definition.nodes if node.type == LOOP_TYPE]
        bodies = {loop: body_of(definition, loop) for loop in loops}
        inner_first = sorted(loops, key=lambda loop: len(bodies[loop]))
        loop_of = {
            node.id: next((loop for loop in inner_first if node.id in bodies[loop]), None) for node in definition.nodes
        }
        return cls(definition, loop_of)

    @cached_property
    def graphs(self) -> dict[str | None, Graph]:
        """The graph of each region, by its loop; null for the top."""
        regions = {None, *(node.id for node in self.definition.nodes if node.type == LOOP_TYPE)}
        return {region: self._graph(region) for region in regions}

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

    def _graph(self, region: str | None) -> Graph:
        ids = [node.id for node in self.definition.nodes if self.loop_of[node.id] == region]
        if region is not None:
            ids.insert(0, region)
        known = set(ids)
        edges = [edge for edge in self.definition.edges if self._belongs(edge, region, known)]
        return Graph.made_of(ids, edges)

    def _belongs(self, edge: Edge, region: str | None, known: set[str]) -> bool:
        if edge.source not in known or edge.target not in known or edge.target == region:
            return False
        enters = edge.source_handle == ITEM_HANDLE and self.loop_of[edge.target] == edge.source
        return enters if edge.source == region else not enters


def body_of(definition: Definition, loop: str) -> set[str]:
    """The ids of the nodes that can be reached only through the items of a loop."""
    following: dict[str, list[Edge]] = {}
    for edge in definition.edges:
        following.setdefault(edge.source, []).append(edge)
    entered = [edge for edge in following.get(loop, ()) if edge.source_handle == ITEM_HANDLE]
    inside = _reached(following, [edge.target for edge in entered], loop)
    sources = {edge.target for edge in definition.edges}
    starts = [node.id for node in definition.nodes if node.id not in sources and node.id not in inside]
    skipped = {id(edge) for edge in entered}
    outside = {node: [e for e in edges if id(e) not in skipped] for node, edges in following.items()}
    return inside - _reached(outside, [*starts, loop], None)


def _reached(following: dict[str, list[Edge]], starts: list[str], barrier: str | None) -> set[str]:
    seen: set[str] = set()
    left = [start for start in starts if start != barrier]
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        left += [edge.target for edge in following.get(node, ()) if edge.target != barrier]
    return seen


def leaks(regions: Regions) -> Iterator[tuple[int, str]]:
    """The position of each edge that leaves the body of a loop, or enters it past its items, with the loop's id."""
    for position, edge in enumerate(regions.definition.edges):
        source, target = regions.loop_of[edge.source], regions.loop_of[edge.target]
        enters = edge.source_handle == ITEM_HANDLE and target == edge.source
        if source != target and not enters:
            yield position, source if source is not None else edge.source
