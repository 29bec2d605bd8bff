"""The shape of a definition, indexed for planning: who feeds whom, in which order, and what lies upstream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from melagent.domain.definition import Definition, Edge


@dataclass(frozen=True, slots=True)
class Graph:
    """A definition as arrays. Nodes and edges are named by their position in the definition.

    `incoming[n]` and `outgoing[n]` list the edges of node `n` in definition order, which is the order in which a node
    with several live inputs receives them. `inputs[n]` counts the incoming edges, `roots` are the nodes without any.
    """

    node_ids: tuple[str, ...]
    index: dict[str, int]
    edges: tuple[Edge, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    incoming: tuple[tuple[int, ...], ...]
    outgoing: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]
    roots: tuple[int, ...]

    @classmethod
    def of(cls, definition: Definition) -> Graph:
        """Index a definition whose node ids are unique and whose edges all end at nodes (see `dangling`)."""
        return cls.made_of([node.id for node in definition.nodes], definition.edges)

    @classmethod
    def made_of(cls, node_ids: Iterable[str], edges: Iterable[Edge]) -> Graph:
        """Index nodes and the edges between them."""
        ids, edges = tuple(node_ids), tuple(edges)
        index = {node_id: position for position, node_id in enumerate(ids)}
        incoming: list[list[int]] = [[] for _ in ids]
        outgoing: list[list[int]] = [[] for _ in ids]
        for position, edge in enumerate(edges):
            outgoing[index[edge.source]].append(position)
            incoming[index[edge.target]].append(position)
        return cls(
            node_ids=ids,
            index=index,
            edges=edges,
            sources=tuple(index[edge.source] for edge in edges),
            targets=tuple(index[edge.target] for edge in edges),
            incoming=tuple(map(tuple, incoming)),
            outgoing=tuple(map(tuple, outgoing)),
            inputs=tuple(map(len, incoming)),
            roots=tuple(node for node, into in enumerate(incoming) if not into),
        )

    def ancestors(self, node_id: str) -> frozenset[str]:
        """Ids of all nodes from which a path leads to `node_id`, itself excluded unless it lies on a cycle."""
        seen: set[int] = set()
        queue = deque([self.index[node_id]])
        while queue:
            for edge in self.incoming[queue.popleft()]:
                source = self.sources[edge]
                if source not in seen:
                    seen.add(source)
                    queue.append(source)
        return frozenset(self.node_ids[n] for n in seen)


def dangling(definition: Definition) -> Iterable[tuple[int, str]]:
    """The position of each edge that names a node which is not there, with the missing id."""
    known = {node.id for node in definition.nodes}
    for position, edge in enumerate(definition.edges):
        for node_id in (edge.source, edge.target):
            if node_id not in known:
                yield position, node_id
