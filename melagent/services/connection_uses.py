"""Which connections a definition names, and whether they are there and fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from melagent.errors import Problem
from melagent.store import connections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from melagent.domain.definition import Definition
    from melagent.registry import Registry
    from melagent.store.pool import Connection


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter of a node that names a connection, and the credential types that fit there."""

    node_id: str
    path: str
    connection_id: UUID
    credential_types: tuple[str, ...]


def named_in(definition: Definition, registry: Registry) -> Iterator[Named]:
    """What the nodes of a definition name; those that are disabled name nothing."""
    for node in definition.nodes:
        node_type = registry.get(node.type)
        if node_type is not None and not node.disabled:
            for path, connection_id, credential_types in node_type.connections(node.config):
                yield Named(node.id, path, connection_id, credential_types)


async def wrong_connections(conn: Connection, definition: Definition, registry: Registry) -> list[Problem]:
    """A problem for each connection that is not there, or whose type does not fit where it is named."""
    named = list(named_in(definition, registry))
    known = await connections.types_of(conn, {one.connection_id for one in named}) if named else {}
    return [
        Problem(f"nodes.{one.node_id}.config.{one.path}", problem)
        for one in named
        if (problem := _problem(one, known.get(one.connection_id)))
    ]


async def record(conn: Connection, workflow_id: UUID, definition: Definition, registry: Registry) -> None:
    """Remember what the version names that becomes current, so that nobody deletes it unawares."""
    uses = {(one.node_id, one.connection_id) for one in named_in(definition, registry)}
    await connections.record_uses(conn, workflow_id, sorted(uses))


def _problem(named: Named, credential_type: str | None) -> str | None:
    if credential_type is None:
        return f"There is no connection {named.connection_id}."
    if credential_type not in named.credential_types:
        return f"This connection is of the type {credential_type}; here fits {', '.join(named.credential_types)}."
    return None
