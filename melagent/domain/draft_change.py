"""The change that one edit makes to a state, and how to take it back as if it had never been.

Every writing access to a state goes through here and leaves a note that undoes it. Maps whose order counts are copied
before anything is taken out of them, once in a change, so that what is put back stands where it stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from melagent.domain.definition import Edge
from melagent.domain.draft_state import Removal, note_edge
from melagent.domain.json_paths import MISSING

if TYPE_CHECKING:
    from datetime import datetime

    from melagent.domain.draft_state import Author, DraftState, JsonObject
    from melagent.domain.json_paths import Step

MAX_PLACES = 1_000
"""A node of which more places were touched counts as touched all over."""

MAX_REMOVALS = 10_000
"""So many removals are remembered; who did an earlier one is asked of the database."""

Note: TypeAlias = "tuple[dict[Any, Any], Any, Any]"


class Change:
    """The edit `seq`, made by `by` at `at`, while it is applied. Without them nobody is remembered for a removal."""

    __slots__ = ("_at", "_before", "_by", "_maps", "_notes", "seq", "state")

    def __init__(self, state: DraftState, seq: int, by: Author | None, at: datetime | None) -> None:
        self.state = state
        self.seq = seq
        self._by = by
        self._at = at
        self._before = (state.seq, state.base, state.bound, state.settings, state.notes)
        self._maps: dict[str, dict[str, Any]] = {}
        self._notes: list[Note] = []

    def put_node(self, node: JsonObject) -> None:
        """Add a node behind all others, or give the one that has its id new values."""
        self._put(self.state.nodes, node["id"], node)

    def drop_node(self, node_id: str) -> None:
        """Take out a node that has no edges left."""
        del self._own("nodes")[node_id]
        self._forget(node_id)
        self._remember(node_id)

    def rename_node(self, node_id: str, to: str) -> None:
        """Give a node another id. It stays where it is, and so do its edges, which get other ids."""
        nodes = self._own("nodes")
        renamed = {**nodes[node_id], "id": to}
        self._replace("nodes", {(to if key == node_id else key): node for key, node in nodes.items()} | {to: renamed})
        if at_node := self.state.at_node(node_id):
            self.state.bound += 2 * len(at_node) * len(to.encode())
            moved = {edge_id: renamed_edge(self.state.edges[edge_id], node_id, to) for edge_id in at_node}
            told = (moved.get(edge_id, edge) for edge_id, edge in self._own("edges").items())
            self._replace("edges", {edge["id"]: edge for edge in told})
            self.state.edges_of = None
        self._forget(node_id)
        self._remember(node_id, to)

    def put_edge(self, edge: JsonObject) -> None:
        self._put(self.state.edges, edge["id"], edge)
        if self.state.edges_of is not None:
            note_edge(self.state.edges_of, edge)

    def drop_edge(self, edge_id: str) -> None:
        edge = self._own("edges").pop(edge_id)
        if self.state.edges_of is not None:
            for end in {edge["source"], edge["target"]}:
                del self.state.edges_of[end][edge_id]
        self._remember(edge_id)

    def put_meta(self, field: str, value: Any) -> None:
        setattr(self.state, field, value)

    def replace(self, definition: JsonObject) -> None:
        """Put another definition in the place of all there is; everything counts as touched."""
        nodes = {node["id"]: node for node in definition["nodes"]}
        edges = {edge["id"]: edge for edge in definition["edges"]}
        for lost in [*(self.state.nodes.keys() - nodes.keys()), *(self.state.edges.keys() - edges.keys())]:
            self._remember(lost)
        self._replace("nodes", nodes)
        self._replace("edges", edges)
        self._replace("touched", {})
        self.state.edges_of = None
        self.state.settings, self.state.notes = definition["settings"], definition["notes"]
        self.state.base = self.seq

    def touch(self, node_id: str, path: tuple[Step, ...] = ()) -> None:
        """Note that a place of a node was touched; without a path all of it."""
        places = self.state.touched.get(node_id)
        if places is None or not path or len(places) >= MAX_PLACES:
            self._put(self.state.touched, node_id, {path if places is None else (): self.seq})
        else:
            self._put(places, path, self.seq)

    def finish(self, ops: bytes) -> None:
        """Number the state. All that operations add to the definition stands in them, but for the new ends of edges."""
        self.state.seq = self.seq
        self.state.bound += len(ops)

    def take_back(self) -> None:
        """Put the state back to what it was before the change. Of several changes the last one comes first."""
        for mapping, key, old in reversed(self._notes):
            if old is MISSING:
                mapping.pop(key, None)
            else:
                mapping[key] = old
        for name, old in self._maps.items():
            setattr(self.state, name, old)
        state = self.state
        state.seq, state.base, state.bound, state.settings, state.notes = self._before
        state.edges_of = None

    def _put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._notes.append((mapping, key, mapping.get(key, MISSING)))
        mapping[key] = value

    def _own(self, name: str) -> dict[str, Any]:
        """A map of the state that this change may take things out of: a copy, made the first time."""
        if name not in self._maps:
            self._replace(name, dict(getattr(self.state, name)))
        own: dict[str, Any] = getattr(self.state, name)
        return own

    def _replace(self, name: str, value: dict[str, Any]) -> None:
        self._maps.setdefault(name, getattr(self.state, name))
        setattr(self.state, name, value)

    def _forget(self, node_id: str) -> None:
        """Nobody asks when a node was touched that is not there; a new one with its id begins anew."""
        if (places := self.state.touched.pop(node_id, None)) is not None:
            self._notes.append((self.state.touched, node_id, places))

    def _remember(self, lost: str, to: str | None = None) -> None:
        if self._by is None or self._at is None:
            return
        removed = self.state.removed
        self._put(removed, lost, Removal(lost, self._by, self._at, self.seq, to))
        if len(removed) > MAX_REMOVALS:
            del removed[next(iter(removed))]


def renamed_edge(edge: JsonObject, node_id: str, to: str) -> JsonObject:
    """The edge with another node at the end, or the ends, where this one is."""
    ends = {end: to if edge[end] == node_id else edge[end] for end in ("source", "target")}
    return Edge.model_validate({**edge, **ends}).model_dump()
