"""Places the nodes of a definition on the canvas: in columns, and what feeds a node stands to the left of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from melagent.domain.definition import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from melagent.domain.definition import Definition

COLUMN = 260.0
ROW = 120.0


def layout(definition: Definition) -> dict[str, Position]:
    """A place for each node, by id; the same definition always gets the same one. Takes any draft, cycles included.

    A column is as long as the longest path that leads to it. In a column the nodes stand in the order of those that
    feed them, so that edges cross little; the columns are centred on one another.
    """
    feeds = _feeds(definition)
    columns = _columns(feeds)
    tallest = max(map(len, columns), default=0)
    places: dict[str, Position] = {}
    for number, column in enumerate(columns):
        top = (tallest - len(column)) / 2
        for row, node_id in enumerate(_ordered(column, feeds, places)):
            places[node_id] = Position(x=number * COLUMN, y=(top + row) * ROW)
    return places


def _feeds(definition: Definition) -> dict[str, set[str]]:
    """The nodes that lead into each node, without edges that lead nowhere or back into the node itself."""
    feeds: dict[str, set[str]] = {node.id: set() for node in definition.nodes}
    for edge in definition.edges:
        if edge.source in feeds and edge.target in feeds and edge.source != edge.target:
            feeds[edge.target].add(edge.source)
    return feeds


def _columns(feeds: Mapping[str, set[str]]) -> list[list[str]]:
    columns: dict[int, list[str]] = {}
    for node_id, depth in _depths(feeds).items():
        columns.setdefault(depth, []).append(node_id)
    return [columns[depth] for depth in sorted(columns)]


def _depths(feeds: Mapping[str, set[str]]) -> dict[str, int]:
    """The length of the longest path that leads to each node, in the order of the definition.

    Where every node that is left has another one before it, the first of them is taken as if nothing led into it.
    """
    targets: dict[str, list[str]] = {node_id: [] for node_id in feeds}
    for node_id, sources in feeds.items():
        for source in sources:
            targets[source].append(node_id)
    waits_for = {node_id: len(sources) for node_id, sources in feeds.items()}
    depths, done = dict.fromkeys(feeds, 0), set[str]()
    ready = deque(node_id for node_id, count in waits_for.items() if count == 0)
    for first_left in (None, *feeds):
        if first_left is not None and first_left not in done:
            ready.append(first_left)
        while ready:
            node_id = ready.popleft()
            done.add(node_id)
            for target in targets[node_id]:
                waits_for[target] -= 1
                if target not in done:
                    depths[target] = max(depths[target], depths[node_id] + 1)
                    if waits_for[target] == 0:
                        ready.append(target)
    return depths


def _ordered(column: Sequence[str], feeds: Mapping[str, set[str]], places: Mapping[str, Position]) -> list[str]:
    """A column in the order of the middle of what feeds each node from the columns before it."""

    def middle(node_id: str) -> float:
        rows = [places[source].y for source in feeds[node_id] if source in places]
        return sum(rows) / len(rows) if rows else 0.0

    return sorted(column, key=middle)
