"""What lies around a node of a draft, filled with what a run has recorded there.

The draft says which node lies where, and the run what was there. Of a loop the first item is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from melagent.domain.graph import Graph
from melagent.domain.loops import ITEMS_SUFFIX, Regions, step_key
from melagent.services.workflows import found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from melagent.domain.definition import Definition, Edge
    from melagent.store.rows import StoredRun


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a step as JSON text, and the handle that it took."""

    handle: str | None
    text: bytes | None

    @property
    def json(self) -> orjson.Fragment:
        return orjson.Fragment(self.text or b"null")


class Place:
    """Where in a draft an expression stands: at a node, in the first item of each loop around it, or at none.

    Raises NotFound when the draft has no such node. The draft may be wrong otherwise.
    """

    def __init__(self, definition: Definition, node_id: str | None) -> None:
        self.node_id = node_id if node_id is None else found(definition.node(node_id), "node").id
        self._regions = Regions.of(definition)
        self._around = [] if node_id is None else list(self._regions.loops_around(node_id))
        self._upstream = frozenset(self._regions.loop_of) if node_id is None else _upstream(definition, node_id)

    def keys(self) -> set[str]:
        """The steps whose outputs matter here."""
        return {self._key(node_id) for node_id in self._visible()} | {self._items(loop) for loop in self._around}

    def scope(self, known: Mapping[str, Output], run: StoredRun | None, run_input: bytes | None) -> dict[str, Any]:
        """The values that follow from the steps of a run."""
        items = {loop: _first(known.get(self._items(loop))) for loop in self._around}
        outputs = {node_id: known[self._key(node_id)] for node_id in self._visible() if self._key(node_id) in known}
        inputs = {edge.source: outputs[edge.source].json for edge in self._incoming() if _is_live(edge, outputs)}
        if self._around and any(edge.source == self._around[0] for edge in self._incoming()):
            inputs[self._around[0]] = items[self._around[0]]
        if self.node_id is None or (run is not None and run.entry == self.node_id):
            input_: Any = orjson.Fragment(run_input or b"null")
        else:
            live = list(inputs.values())
            input_ = live[0] if len(live) == 1 else live or None
        return {
            "input": input_,
            "inputs": inputs,
            "steps": {node_id: {"output": item} for node_id, item in items.items()}
            | {node_id: {"output": output.json} for node_id, output in outputs.items()},
            "item": items[self._around[0]] if self._around else None,
            "index": 0 if self._around else None,
        }

    def _visible(self) -> Iterator[str]:
        """What lies upstream here or around the loops around, but for those loops, which have not ended here."""
        regions = {None, *self._around}
        for node_id in self._upstream:
            if self._regions.loop_of[node_id] in regions and node_id not in self._around:
                yield node_id

    def _incoming(self) -> Iterator[Edge]:
        if self.node_id is not None:
            graph = self._regions.graph_of(self.node_id)
            yield from (graph.edges[edge] for edge in graph.incoming[graph.index[self.node_id]])

    def _key(self, node_id: str) -> str:
        return step_key(node_id, [0] * self._regions.depth_of(node_id))

    def _items(self, loop: str) -> str:
        return self._key(loop) + ITEMS_SUFFIX


def _upstream(definition: Definition, node_id: str) -> frozenset[str]:
    """The nodes from which a path leads to a node. Edges that lead nowhere count for nothing."""
    ids = {node.id for node in definition.nodes}
    edges = [edge for edge in definition.edges if edge.source in ids and edge.target in ids]
    return Graph.made_of([node.id for node in definition.nodes], edges).ancestors(node_id) - {node_id}


def _is_live(edge: Edge, outputs: Mapping[str, Output]) -> bool:
    return edge.source in outputs and outputs[edge.source].handle == edge.source_handle


def _first(items: Output | None) -> Any:
    listed = orjson.loads(items.text or b"{}").get("items", []) if items is not None else []
    return listed[0] if listed else None
