"""What is wrong with a definition: every reason why it cannot be run, each with the node and the parameter at fault.

The shape was checked when it was read. Here is what only the whole tells: unknown types and parameters, edges that lead
nowhere, cycles, expressions that look at a node which does not lie upstream. Every check takes time linear in the
definition, and what it answers is bounded.
"""

from __future__ import annotations

from collections import Counter
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
    from collections.abc import Collection, Iterator, Sequence

    from melagent.domain.definition import Definition, Edge, Node
    from melagent.registry import NodeType, Registry

ERROR_HANDLE = "error"
MAX_TOLD = 200
MAX_NAMED = 10


def problems(definition: Definition, registry: Registry) -> list[Problem]:
    """The first 200 problems, and how many more there are; an empty list means that the definition can be run."""
    found = _problems(definition, registry)
    told = list(islice(found, MAX_TOLD))
    more = sum(1 for _ in found)
    return [*told, Problem("definition", f"There are {more:,} more problems.")] if more else told


def _problems(definition: Definition, registry: Registry) -> Iterator[Problem]:
    types = {node.id: registry.get(node.type) for node in definition.nodes}
    repeated_ids = list(_repeated_ids(definition))
    yield from repeated_ids
    yield from _dangling_edges(definition)
    yield from _wrong_nodes(definition, types)
    yield from _missing_entry(definition, types)
    yield from _wrong_settings(definition)
    yield from _wrong_requirement(definition, registry)
    if not repeated_ids:
        graph = Graph.of(_without_dangling_edges(definition))
        ordered = list(groups(graph))
        cycles = list(_cycles(graph, ordered))
        yield from cycles
        yield from _wrong_edges(definition, types)
        if not cycles:  # what is in the body of a loop cannot be told else
            yield from _leaking_loops(definition)
        yield from _wrong_references(definition, types, graph, ordered)


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


def _wrong_nodes(definition: Definition, types: dict[str, NodeType | None]) -> Iterator[Problem]:
    for node in definition.nodes:
        node_type = types[node.id]
        if node_type is None:
            yield Problem(f"nodes.{node.id}.type", f"There is no node type {node.type!r}.")
        elif not node.disabled:
            for problem in node_type.problems(node.config):
                field = f"nodes.{node.id}.config.{problem.field}" if problem.field else f"nodes.{node.id}.config"
                yield Problem(field, problem.problem)
        if "\x00" in node.name:
            yield Problem(f"nodes.{node.id}.name", "A name cannot hold the character \\u0000.")


def _missing_entry(definition: Definition, types: dict[str, NodeType | None]) -> Iterator[Problem]:
    if not any(_is_entry(types[node.id]) and not node.disabled for node in definition.nodes):
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


def _wrong_edges(definition: Definition, types: dict[str, NodeType | None]) -> Iterator[Problem]:
    handles = {node.id: _handles(node, types[node.id]) for node in definition.nodes}
    for position, edge in enumerate(definition.edges):
        known = handles.get(edge.source)
        if known is not None and edge.source_handle not in known:
            yield Problem(
                f"edges[{position}].source_handle",
                f"Node {edge.source!r} has no output {edge.source_handle!r}; it has {_some(known)}.",
            )
        yield from _wrong_target(position, edge, types.get(edge.target))


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


def _handles(node: Node, node_type: NodeType | None) -> dict[str, None] | None:
    """The outputs of a node, in order; null when its type or parameters are too wrong to tell."""
    if node_type is None or node_type.problems(node.config):
        return None
    outputs = node_type.handles(node.config)
    return dict.fromkeys([*outputs, ERROR_HANDLE] if node.on_error is OnError.BRANCH else outputs)


def _wrong_references(
    definition: Definition, types: dict[str, NodeType | None], graph: Graph, ordered: Sequence[Sequence[int]]
) -> Iterator[Problem]:
    above = upstream(graph, ordered)
    for position, node in enumerate(definition.nodes):
        node_type = types[node.id]
        if node_type is None or node.disabled:
            continue
        for parameter, node_id in node_type.references(node.config):
            other = graph.index.get(node_id)
            if other is None or not above[position] >> other & 1:
                reason = "does not exist" if other is None else "does not lie upstream of this one"
                yield Problem(f"nodes.{node.id}.config.{parameter}", f"Node {node_id!r} {reason}.")


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
