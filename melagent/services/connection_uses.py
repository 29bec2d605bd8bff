"""Which connections a definition or a trigger made by hand names, and whether they are there and fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from melagent.errors import Problem
from melagent.store import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.registry import NodeType, Registry
    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter that names a connection, and the credential types that fit there.

    `node_id` is null in a trigger that was made by hand. `field` is how problems call the parameter.
    """

    node_id: str | None
    field: str
    connection_id: UUID
    credential_types: tuple[str, ...]


def named_in(definition: Definition, registry: Registry) -> Iterator[Named]:
    """What the nodes of a definition name; those that are disabled name nothing."""
    for node in definition.nodes:
        node_type = registry.get(node.type)
        if node_type is not None and not node.disabled:
            for path, connection_id, credential_types in node_type.connections(node.config):
                yield Named(node.id, f"nodes.{node.id}.config.{path}", connection_id, credential_types)


def named_by(node_type: NodeType, config: Mapping[str, Any]) -> list[Named]:
    """What a trigger names that was made by hand."""
    return [Named(None, f"config.{path}", found, fit) for path, found, fit in node_type.connections(config)]


async def wrong_connections(conn: Connection, definition: Definition, registry: Registry) -> list[Problem]:
    """A problem for each connection that is not there, or whose type does not fit where it is named."""
    return await wrong_among(conn, list(named_in(definition, registry)))


async def wrong_among(conn: Connection, named: Sequence[Named]) -> list[Problem]:
    """A problem for each of these connections that is not there, or whose type does not fit where it is named."""
    known = await connections.types_of(conn, {one.connection_id for one in named}) if named else {}
    return [Problem(one.field, problem) for one in named if (problem := _problem(one, known.get(one.connection_id)))]


async def record(conn: Connection, workflow_id: UUID, definition: Definition, registry: Registry) -> None:
    """Remember what the version names that becomes current, so that nobody deletes it unawares."""
    uses = {(one.node_id, one.connection_id) for one in named_in(definition, registry) if one.node_id is not None}
    await connections.record_uses(conn, workflow_id, sorted(uses))


def _problem(named: Named, credential_type: str | None) -> str | None:
    if credential_type is None:
        return f"There is no connection {named.connection_id}."
    if credential_type not in named.credential_types:
        return f"This connection is of the type {credential_type}; here fits {', '.join(named.credential_types)}."
    return None
