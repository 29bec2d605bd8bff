"""What is wrong with a definition: every reason why it cannot be run, each with the node and the parameter at fault.

The shape was checked when it was read. Here is what only the whole tells: unknown types and parameters, edges that lead
nowhere, cycles, expressions that look at a node which does not lie upstream. Every check takes time linear in the
definition, and what it answers is bounded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.domain.definition import OnError
from melagent.domain.graph import Graph, dangling
from melagent.domain.loops import Regions, leaks
from melagent.errors import Problem, Unprocessable
from melagent.services.reach import groups, upstream
from melagent.services.requirements import required_by

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from melagent.domain.definition import Definition, Edge, Node
    from melagent.registry import NodeType, Registry

ERROR_HANDLE = "error"
MAX_TOLD = 200
MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node tells by itself. Its outputs are null when its type or parameters are too wrong to tell.

    `references` are the nodes that its parameters name, each with the parameter.
    """

    node: Node
    type: NodeType | None
    problems: tuple[Problem, ...]
    handles: dict[str, None] | None
    references: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, node: Node, registry: Registry) -> NodeFacts:
        node_type = registry.get(node.type)
        wrong = [] if node_type is None else node_type.problems(node.config)
        told = tuple(_wrong_node(node, node_type, wrong))
        handles = None if node_type is None or wrong else _handles(node, node_type)
        named = () if node_type is None or node.disabled else tuple(node_type.references(node.config))
        return cls(node, node_type, told, handles, named)


@dataclass(frozen=True, slots=True)
class Structure:
    """What ids, types and edges tell, whatever else is in the nodes. `above`: the nodes upstream of each, as bits."""

    graph: Graph
    above: Sequence[int]
    problems: tuple[tuple[Problem, ...], tuple[Problem, ...]]
    """Cycles, and the borders of loops that are crossed; what is in the body of a loop cannot be told with cycles."""

    @classmethod
    def of(cls, definition: Definition) -> Structure:
        """Of a definition without repeated ids."""
        graph = Graph.of(_without_dangling_edges(definition))
        ordered = list(groups(graph))
        cycles = tuple(_cycles(graph, ordered))
        return cls(graph, upstream(graph, ordered), (cycles, () if cycles else tuple(_leaking_loops(definition))))


def problems(definition: Definition, registry: Registry) -> list[Problem]:
    """The first 200 problems, and how many more there are; an empty list means that the definition can be run."""
    facts = [NodeFacts.of(node, registry) for node in definition.nodes]
    return derived(definition, registry, facts, lambda: Structure.of(definition))


def derived(
    definition: Definition, registry: Registry, facts: Sequence[NodeFacts], structure: Callable[[], Structure]
) -> list[Problem]:
    """As `problems`, from the facts of its nodes, in their order, and its structure, which may be known already."""
    found = _problems(definition, registry, facts, structure)
    told = list(islice(found, MAX_TOLD))
    more = sum(1 for _ in found)
    return [*told, Problem("definition", f"There are {more:,} more problems.")] if more else told


def _problems(
    definition: Definition, registry: Registry, facts: Sequence[NodeFacts], structure: Callable[[], Structure]
) -> Iterator[Problem]:
    repeated_ids = list(_repeated_ids(definition))
    yield from repeated_ids
    yield from _dangling_edges(definition)
    for fact in facts:
        yield from fact.problems
    yield from _missing_entry(facts)
    yield from _wrong_settings(definition)
    yield from _wrong_requirement(definition, registry)
    if not repeated_ids:
        known = structure()
        cycles, leaking = known.problems
        yield from cycles
        yield from _wrong_edges(definition, {fact.node.id: fact for fact in facts})
        yield from leaking
        yield from _wrong_references(facts, known)


def _repeated_ids(definition: Definition) -> Iterator[Problem]:
    for node_id, times in Counter(node.id for node in definition.nodes).items():
        if times > 1:
            yield Problem(f"nodes.{node_id}.id", f"{times} nodes have this id; each needs its own.")


def _dangling_edges(definition: Definition) -> Iterator[Problem]:
    for position, node_id in dangling(definition):
        edge = definition.edges[position]
        side = "source" if edge.source == node_id else "target"
        yield Problem(f"edges[{position}].{side}", f"There is no node {node_id!r}.")


def _without_dangling_edges(definition: Definition) -> Definition:
    lost = {position for position, _ in dangling(definition)}
    edges = tuple(edge for position, edge in enumerate(definition.edges) if position not in lost)
    return definition.model_copy(update={"edges": edges}) if lost else definition


def _wrong_node(node: Node, node_type: NodeType | None, wrong: Sequence[Problem]) -> Iterator[Problem]:
    """The problems of a node, given those of its config."""
    if node_type is None:
        yield Problem(f"nodes.{node.id}.type", f"There is no node type {node.type!r}.")
    elif not node.disabled:
        for problem in wrong:
            field = f"nodes.{node.id}.config.{problem.field}" if problem.field else f"nodes.{node.id}.config"
            yield Problem(field, problem.problem)
    if "\x00" in node.name:
        yield Problem(f"nodes.{node.id}.name", "A name cannot hold the character \\u0000.")


def _missing_entry(facts: Sequence[NodeFacts]) -> Iterator[Problem]:
    if not any(_is_entry(fact.type) and not fact.node.disabled for fact in facts):
        yield Problem("nodes", "A workflow needs a trigger to start at, for example a manual_trigger.")


def _wrong_settings(definition: Definition) -> Iterator[Problem]:
    workflow_id = definition.settings.error_workflow_id
    if workflow_id is not None and not _is_id(workflow_id):
        yield Problem("settings.error_workflow_id", "This is not the id of a workflow.")


def _wrong_requirement(definition: Definition, registry: Registry) -> Iterator[Problem]:
    try:
        required_by(definition, registry)
    except Unprocessable as error:
        yield from (Problem(f"settings.{detail.field}", detail.problem) for detail in error.details)


def _cycles(graph: Graph, ordered: Sequence[Sequence[int]]) -> Iterator[Problem]:
    for group in ordered:
        first = group[0]
        if len(group) > 1 or any(graph.targets[edge] == first for edge in graph.outgoing[first]):
            names = [graph.node_ids[node] for node in group]
            yield Problem(f"nodes.{names[0]}", f"This node lies on a cycle, with all of: {_some(names)}.")


def _leaking_loops(definition: Definition) -> Iterator[Problem]:
    for position, loop in leaks(Regions.of(definition)):
        yield Problem(
            f"edges[{position}]",
            f"It leaves or enters the body of the loop {loop!r}. What hangs on `item` must not be reached in another "
            "way, and what follows the loop hangs on its output `done`.",
        )


def _wrong_edges(definition: Definition, facts: Mapping[str, NodeFacts]) -> Iterator[Problem]:
    for position, edge in enumerate(definition.edges):
        source, target = facts.get(edge.source), facts.get(edge.target)
        known = source.handles if source is not None else None
        if known is not None and edge.source_handle not in known:
            yield Problem(
                f"edges[{position}].source_handle",
                f"Node {edge.source!r} has no output {edge.source_handle!r}; it has {_some(known)}.",
            )
        yield from _wrong_target(position, edge, target.type if target is not None else None)


def _wrong_target(position: int, edge: Edge, node_type: NodeType | None) -> Iterator[Problem]:
    if node_type is None:
        return
    if node_type.entry_point:
        yield Problem(f"edges[{position}].target", f"Node {edge.target!r} is a trigger: nothing can lead into it.")
    elif edge.target_handle not in node_type.inputs:
        yield Problem(
            f"edges[{position}].target_handle",
            f"Node {edge.target!r} has no input {edge.target_handle!r}; it has {_some(node_type.inputs)}.",
        )


def _handles(node: Node, node_type: NodeType) -> dict[str, None]:
    """The outputs of a node, in order."""
    outputs = node_type.handles(node.config)
    return dict.fromkeys([*outputs, ERROR_HANDLE] if node.on_error is OnError.BRANCH else outputs)


def _wrong_references(facts: Sequence[NodeFacts], structure: Structure) -> Iterator[Problem]:
    for position, fact in enumerate(facts):
        for parameter, node_id in fact.references:
            other = structure.graph.index.get(node_id)
            if other is None or not structure.above[position] >> other & 1:
                reason = "does not exist" if other is None else "does not lie upstream of this one"
                yield Problem(f"nodes.{fact.node.id}.config.{parameter}", f"Node {node_id!r} {reason}.")


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _some(names: Collection[str]) -> str:
    """At most ten of the names."""
    more = len(names) - MAX_NAMED
    some = ", ".join(islice(names, MAX_NAMED)) or "none"
    return f"{some} and {more:,} more" if more > 0 else some


def _is_entry(node_type: NodeType | None) -> bool:
    return node_type is not None and node_type.entry_point
