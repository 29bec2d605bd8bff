"""The problems of a draft that is being edited: only what an edit touched is derived again.

A draft shares with the one before it every node and edge that an edit left alone, as the very same object. So it is
seen without any list of changes what is new, and an edit that was missed makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from melagent.domain.definition import Definition, Edge, Node, WorkflowSettings
from melagent.services.problems import NodeFacts, Structure, derived

if TYPE_CHECKING:
    from melagent.domain.draft_state import JsonObject
    from melagent.errors import Problem
    from melagent.registry import Registry

TELLING = ("type", "config", "disabled", "on_error")
"""The fields of a node on which its problems depend, but for what no name may hold."""


class LiveProblems:
    """Of one draft. `of` always answers what `problems` would; one call at a time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._nodes: dict[str, tuple[JsonObject, NodeFacts]] = {}
        self._edges: dict[str, Edge] = {}
        self._structure: tuple[Any, Structure] | None = None
        self.definition = Definition()
        """The one that was asked about last, without its notes."""

    def of(self, content: JsonObject) -> list[Problem]:
        """The problems of a definition as `DraftState.definition` answers it, which is not changed meanwhile."""
        self._nodes = {node["id"]: (node, self._facts(node)) for node in content["nodes"]}
        self._edges = {
            edge["id"]: self._edges.get(edge["id"]) or Edge.model_validate(edge) for edge in content["edges"]
        }
        facts = [known for _, known in self._nodes.values()]
        definition = Definition.model_construct(
            nodes=tuple(fact.node for fact in facts),
            edges=tuple(self._edges.values()),
            settings=WorkflowSettings.model_validate(content["settings"]),
            notes=(),
        )
        self.definition = definition
        return derived(definition, self._registry, facts, lambda: self._structure_of(definition))

    def _facts(self, node: JsonObject) -> NodeFacts:
        before, facts = self._nodes.get(node["id"], (None, None))
        if before is None or facts is None or _tells_otherwise(before, node):
            return NodeFacts.of(Node.model_validate(node), self._registry)
        return facts

    def _structure_of(self, definition: Definition) -> Structure:
        shape = [(node.id, node.type) for node in definition.nodes], list(self._edges)
        if self._structure is None or self._structure[0] != shape:
            self._structure = shape, Structure.of(definition)
        return self._structure[1]


def _tells_otherwise(before: JsonObject, node: JsonObject) -> bool:
    """Whether a node may have other problems than it had; a name has them only where an old draft holds such a name."""
    if any(before[field] is not node[field] for field in TELLING):
        return True
    return before["name"] is not node["name"] and "\x00" in before["name"] + node["name"]
