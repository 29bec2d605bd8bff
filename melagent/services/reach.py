"""Which nodes of a graph lead to which, for a graph that may have cycles; in time linear in nodes and edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from melagent.domain.graph import Graph


def groups(graph: Graph) -> Iterator[list[int]]:
    """The strongly connected components, what leads before what is led to (Kosaraju's algorithm).

    The nodes of a group lead into one another: it has several, or one, which may lead into itself.
    """
    seen: set[int] = set()
    for start in reversed(_in_order_of_leaving(graph)):
        group, stack = [], [start]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                group.append(node)
                stack.extend(graph.sources[edge] for edge in graph.incoming[node])
        if group:
            yield sorted(group)


def _in_order_of_leaving(graph: Graph) -> list[int]:
    """The nodes as a depth-first search along the edges is done with them."""
    left: list[int] = []
    seen: set[int] = set()
    for start in range(len(graph.node_ids)):
        stack = [(start, False)]
        while stack:
            node, done = stack.pop()
            if done:
                left.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((graph.targets[edge], False) for edge in graph.outgoing[node])
    return left


def upstream(graph: Graph, ordered: Sequence[Sequence[int]]) -> list[int]:
    """For each node those from which a path leads to it, as a number with their bits set. `ordered` are the groups."""
    above = [0] * len(graph.node_ids)
    for group in ordered:
        reached = 0
        for node in group:
            for edge in graph.incoming[node]:
                source = graph.sources[edge]
                reached |= above[source] | 1 << source
        for node in group:
            above[node] = reached
    return above
