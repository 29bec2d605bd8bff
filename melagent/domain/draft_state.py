"""A draft in memory: what all edits up to `seq` have made of it, and who touched and removed what.

Whoever applies the same edits in the same order holds an equal state. `operations` says what an edit does to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from melagent.domain.definition import Definition

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from melagent.domain.json_paths import Step
    from melagent.errors import Code, Problem

JsonObject: TypeAlias = "dict[str, Any]"
Operation: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes an edit, as all are told. Keys of the program's settings have no id."""

    id: str | None
    name: str

    def as_json(self) -> JsonObject:
        return {"id": self.id, "name": self.name}


@dataclass(frozen=True, slots=True)
class Removal:
    """The edit that took a node or an edge away. One that was renamed is called `to` since."""

    id: str
    by: Author
    at: datetime
    seq: int
    to: str | None = None

    def as_json(self) -> JsonObject:
        at = self.at.isoformat().replace("+00:00", "Z")
        known = {"id": self.id, "by": self.by.as_json(), "at": at, "seq": self.seq}
        return known if self.to is None else {**known, "to": self.to}


class Refused(Exception):
    """An edit that cannot be made; nothing has changed.

    `missing` is the id of what is not there, and `gone` who took it away, where the state remembers it.
    """

    def __init__(
        self,
        error: Code,
        message: str,
        details: Iterable[Problem] = (),
        *,
        missing: str | None = None,
        gone: Removal | None = None,
    ) -> None:
        self.error = error
        self.message = message
        self.details = tuple(details)
        self.missing = missing
        self.gone = gone
        super().__init__(message)


@dataclass(slots=True)
class DraftState:
    """A draft after the edit `seq`.

    Nodes and edges are objects with all their fields, in order, by id; none of them is ever changed in place. The
    definition is at most `bound` bytes long. `touched` holds what was touched since the edit `base`, by id and path.
    """

    seq: int
    nodes: dict[str, JsonObject]
    edges: dict[str, JsonObject]
    settings: JsonObject
    notes: list[JsonObject]
    base: int = 0
    bound: int = field(default=0, compare=False)
    touched: dict[str, dict[tuple[Step, ...], int]] = field(default_factory=dict)
    removed: dict[str, Removal] = field(default_factory=dict)
    edges_of: dict[str, dict[str, None]] | None = field(default=None, compare=False)
    """The ids of the edges at each node; null until somebody asks."""

    @classmethod
    def load(cls, definition: JsonObject, seq: int) -> DraftState:
        """The state that a stored definition stands for. All of it counts as touched at `seq`.

        Of nodes with the same id, which drafts of old may hold, the later ones get ids of their own.
        """
        told = Definition.model_validate(definition).model_dump(mode="json")
        state = cls(
            seq=seq,
            nodes=_by_id(told["nodes"]),
            edges={edge["id"]: edge for edge in told["edges"]},
            settings=told["settings"],
            notes=told["notes"],
            base=seq,
        )
        state.bound = state.size()
        return state

    def definition(self) -> JsonObject:
        """The definition, in parts that nobody may change."""
        return {
            "nodes": list(self.nodes.values()),
            "edges": list(self.edges.values()),
            "settings": self.settings,
            "notes": self.notes,
        }

    def size(self) -> int:
        """Bytes of the definition as JSON text."""
        return len(orjson.dumps(self.definition()))

    def touched_at(self, node_id: str, path: Iterable[Step]) -> int:
        """The last edit that touched this place of a node, something in it or something that it lies in."""
        wanted = tuple(path)
        places = self.touched.get(node_id, {})
        near = (seq for place, seq in places.items() if is_near(place, wanted))
        return max(near, default=self.base)

    def at_node(self, node_id: str) -> dict[str, None]:
        """The ids of the edges from and to a node."""
        if self.edges_of is None:
            self.edges_of = {}
            for edge in self.edges.values():
                note_edge(self.edges_of, edge)
        return self.edges_of.get(node_id, {})


def is_near(place: tuple[Step, ...], other: tuple[Step, ...]) -> bool:
    """Whether one of two places lies in the other."""
    common = min(len(place), len(other))
    return place[:common] == other[:common]


def note_edge(edges_of: dict[str, dict[str, None]], edge: JsonObject) -> None:
    for end in (edge["source"], edge["target"]):
        edges_of.setdefault(end, {})[edge["id"]] = None


def _by_id(nodes: list[JsonObject]) -> dict[str, JsonObject]:
    taken = {node["id"] for node in nodes}
    by_id: dict[str, JsonObject] = {}
    for node in nodes:
        if node["id"] in by_id:
            node["id"] = next(new for number in count(2) if (new := f"{node['id'][:90]}_{number}") not in taken)
            taken.add(node["id"])
        by_id[node["id"]] = node
    return by_id
