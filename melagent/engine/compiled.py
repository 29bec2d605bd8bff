"""A version made ready to run: graph, node types and parameters prepared once, shared by all its runs in a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from melagent.domain.graph import Graph
from melagent.domain.loops import Regions
from melagent.sandbox.expressions import compile_config, is_template

if TYPE_CHECKING:
    from uuid import UUID

    from melagent.domain.definition import Definition, Node
    from melagent.registry import NodeType, Registry
    from melagent.sandbox.expressions import Template
    from melagent.sdk import Params

DEFAULT_TIMEOUT_SECONDS = 300.0
WAIT_TYPE = "wait"


@dataclass(frozen=True, slots=True)
class CompiledNode:
    """A node with its type. `params` is set when no parameter holds an expression, `template` otherwise.

    `type` is null when this process does not know the node type: the step then fails and says so. A node with `effects`
    starts only when all before it is durable; the outcome of a `prompt` one is written at once, because somebody
    outside has noticed it or waits for its answer. `variables` are the keys that its expressions look at, null for any.
    """

    node: Node
    type: NodeType | None
    params: Params | None
    template: Template | None
    effects: bool
    prompt: bool
    timeout_seconds: float
    variables: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class CompiledVersion:
    id: UUID
    definition: Definition
    graph: Graph
    regions: Regions
    nodes: dict[str, CompiledNode]
    labelled: frozenset[str]
    waits: dict[str, str | None]
    """The signal that each wait waits for by its settings, null for the key of its step; no wait whose signal only
    its own step can tell."""
    _ancestors: dict[str, frozenset[str]]

    def ancestors(self, node_id: str) -> frozenset[str]:
        """The nodes upstream of a node; remembered, because each of its runs may ask."""
        known = self._ancestors.get(node_id)
        if known is None:
            known = self._ancestors[node_id] = self.graph.ancestors(node_id)
        return known

    def looked_at_from(self, loop: str) -> frozenset[str]:
        """The nodes before a loop whose outputs the expressions in its body name."""
        inside = [node for node_id, node in self.nodes.items() if loop in self.regions.loops_around(node_id)]
        named = {
            node_id for node in inside if node.type is not None for _, node_id in node.type.references(node.node.config)
        }
        return self.ancestors(loop) & named


def compile_version(version_id: UUID, definition: Definition, registry: Registry) -> CompiledVersion:
    """Prepare a valid definition. Nodes that cannot be prepared (a type not installed here) fail only when reached."""
    return CompiledVersion(
        id=version_id,
        definition=definition,
        graph=Graph.of(definition),
        regions=Regions.of(definition),
        nodes={node.id: _compile_node(node, registry.get(node.type)) for node in definition.nodes},
        labelled=frozenset(node.id for node in definition.nodes if node.labels),
        waits=waits_of(definition),
        _ancestors={},
    )


def waits_of(definition: Definition) -> dict[str, str | None]:
    """By the ids of wait nodes the signal that they name, null for none; those that compute it are left out."""
    named = {node.id: node.config.get("signal", "") for node in definition.nodes if node.type == WAIT_TYPE}
    return {node_id: name or None for node_id, name in named.items() if isinstance(name, str) and not is_template(name)}


def _compile_node(node: Node, node_type: NodeType | None) -> CompiledNode:
    if node_type is None:
        return CompiledNode(
            node, None, None, None, effects=False, prompt=False, timeout_seconds=DEFAULT_TIMEOUT_SECONDS
        )
    template = compile_config(node.config, node_type.raw_fields)
    effects = node_type.effects and not node.disabled
    return CompiledNode(
        node=node,
        type=node_type,
        params=None if template else _static_params(node, node_type),
        template=template,
        effects=effects,
        prompt=effects or node_type.answers,
        timeout_seconds=node.timeout_seconds or node_type.node.timeout_seconds,
        variables=node_type.variables(node.config),
    )


def _static_params(node: Node, node_type: NodeType) -> Params | None:
    """Parameters that are the same in every run; null when they are not valid, which the step then reports."""
    try:
        return node_type.params.model_validate(node.config)
    except ValidationError:
        return None
