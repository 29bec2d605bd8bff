"""Edits of a draft, one function for each. Each edit is the draft's next revision.

They go one after the other, under the lock of the draft's row: of two callers who edit at the same moment none loses
anything.

A draft may be wrong and still be kept; what an edit refuses is what could not be undone by another one: an id that is
taken, an edge that leads nowhere, more than a definition may hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from melagent.domain.definition import MAX_EDGES, MAX_NODES, Definition, Edge, Node
from melagent.domain.layout import layout
from melagent.errors import BadRequest, Conflict, NotFound, Problem, TooLarge, Unprocessable
from melagent.services.definitions import decode, encode
from melagent.services.workflows import found, not_behind
from melagent.store import drafts, run_keys
from melagent.store.pool import transaction
from melagent.store.run_keys import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from uuid import UUID

    from pydantic import BaseModel

    from melagent.domain.definition import Position
    from melagent.store.pool import Connection, Pool
    from melagent.store.rows import Draft
    from melagent.store.run_keys import Claim

MAX_DRAFT_BYTES = 16 * 1024 * 1024
"""A definition that comes in one body of 10 MiB is smaller, with all that is written out in it."""

LONGEST_PROPOSAL = 80
CREATED = 201

M = TypeVar("M", bound="BaseModel")


async def add_node(pool: Pool, workflow_id: UUID, node: Node, claim: Claim | None = None) -> bytes:
    """Append a node, which is answered as JSON text. With an empty id it gets a short one that tells its type.

    Raises Conflict when the id is taken. Under a claim the node is added once, however often that is repeated.
    """

    def change(definition: Definition) -> tuple[Definition, Node]:
        taken = {other.id for other in definition.nodes}
        made = Node.model_validate(node.model_dump() | {"id": node.id or propose_id(node.type, taken)})
        if made.id in taken:
            raise Conflict(f"The draft has a node {made.id!r} already.")
        if len(taken) >= MAX_NODES:
            raise Unprocessable(f"A definition has at most {MAX_NODES:,} nodes.")
        return definition.model_copy(update={"nodes": (*definition.nodes, made)}), made

    return await _add(pool, workflow_id, change, claim)


async def change_node(pool: Pool, workflow_id: UUID, node_id: str, changes: Mapping[str, Any]) -> Node:
    """Give a node new values for the fields named; all others stay as they are. The id cannot be changed."""
    if changes.get("id", node_id) != node_id:
        raise BadRequest(details=[Problem("id", "The id of a node cannot be changed.")])
    async with transaction(pool) as conn:
        definition = decode(await _locked(conn, workflow_id))
        node = _node(definition, node_id)
        changed = Node.model_validate({**node.model_dump(), **changes})
        nodes = tuple(changed if other is node else other for other in definition.nodes)
        await _store(conn, workflow_id, definition.model_copy(update={"nodes": nodes}))
    return changed


async def remove_node(pool: Pool, workflow_id: UUID, node_id: str) -> None:
    """Take out a node, and the edges that lead into it and out of it."""
    async with transaction(pool) as conn:
        definition = decode(await _locked(conn, workflow_id))
        _node(definition, node_id)
        nodes = tuple(node for node in definition.nodes if node.id != node_id)
        edges = tuple(edge for edge in definition.edges if node_id not in (edge.source, edge.target))
        await _store(conn, workflow_id, definition.model_copy(update={"nodes": nodes, "edges": edges}))


async def add_edge(pool: Pool, workflow_id: UUID, edge: Edge, claim: Claim | None = None) -> bytes:
    """Append an edge, which is answered as JSON text. Under a claim it is added once, however often that is repeated.

    Raises Conflict when the edge is there already, Unprocessable when one of its nodes is not.
    """

    def change(definition: Definition) -> tuple[Definition, Edge]:
        known = {node.id for node in definition.nodes}
        ends = {"source": edge.source, "target": edge.target}
        if missing := [Problem(end, f"There is no node {name!r}.") for end, name in ends.items() if name not in known]:
            raise Unprocessable("The edge leads nowhere.", missing)
        if any(other.id == edge.id for other in definition.edges):
            raise Conflict(f"The draft has this edge already; its id is {edge.id}.")
        if len(definition.edges) >= MAX_EDGES:
            raise Unprocessable(f"A definition has at most {MAX_EDGES:,} edges.")
        return definition.model_copy(update={"edges": (*definition.edges, edge)}), edge

    return await _add(pool, workflow_id, change, claim)


async def remove_edge(pool: Pool, workflow_id: UUID, edge_id: str) -> None:
    async with transaction(pool) as conn:
        definition = decode(await _locked(conn, workflow_id))
        edges = tuple(edge for edge in definition.edges if edge.id != edge_id)
        if len(edges) == len(definition.edges):
            raise NotFound("There is no such edge.")
        await _store(conn, workflow_id, definition.model_copy(update={"edges": edges}))


async def lay_out(
    pool: Pool, workflow_id: UUID, positions: Mapping[str, Position] | None, min_revision: int | None
) -> Draft:
    """Move nodes to the positions given, or all of them to computed ones.

    Raises Unprocessable for nodes that are not there, DraftBehind when the draft has not reached `min_revision`.
    """
    async with transaction(pool) as conn:
        draft = not_behind(found(await drafts.lock(conn, workflow_id), "workflow"), min_revision)
        definition = decode(draft.definition)
        places = layout(definition) if positions is None else positions
        if missing := places.keys() - {node.id for node in definition.nodes}:
            problems = [Problem(f"positions.{node_id}", "There is no such node.") for node_id in sorted(missing)]
            raise Unprocessable("Some of these nodes are not there.", problems)
        nodes = tuple(
            node.model_copy(update={"position": places.get(node.id, node.position)}) for node in definition.nodes
        )
        return await _store(conn, workflow_id, definition.model_copy(update={"nodes": nodes}))


def propose_id(node_type: str, taken: Collection[str]) -> str:
    """A short id that nobody has: `http_request`, then `http_request_2` and so on."""
    base = re.sub(r"[^A-Za-z0-9_]+", "_", node_type)[:LONGEST_PROPOSAL].strip("_") or "node"
    number = 1
    while (proposed := base if number == 1 else f"{base}_{number}") in taken:
        number += 1
    return proposed


async def _add(
    pool: Pool, workflow_id: UUID, change: Callable[[Definition], tuple[Definition, M]], claim: Claim | None
) -> bytes:
    """Add a part to a draft; what was added, as JSON text, is kept under the claim in the same transaction."""
    async with transaction(pool) as conn:
        definition = decode(await _locked(conn, workflow_id))
        if claim is not None and (kept := await run_keys.find(conn, claim)) is not None:
            return kept.body
        changed, made = change(definition)
        await _store(conn, workflow_id, changed)
        text = made.model_dump_json().encode()
        if claim is not None:
            await run_keys.keep(conn, claim, Kept(CREATED, text))
    return text


async def _locked(conn: Connection, workflow_id: UUID) -> bytes:
    return found(await drafts.lock(conn, workflow_id), "workflow").definition


async def _store(conn: Connection, workflow_id: UUID, definition: Definition) -> Draft:
    """Store the draft that is held as its next revision."""
    text = encode(definition)
    if len(text) > MAX_DRAFT_BYTES:
        raise TooLarge(f"A definition may have at most {MAX_DRAFT_BYTES:,} bytes.")
    return found(await drafts.replace(conn, workflow_id, text, None), "workflow")


def _node(definition: Definition, node_id: str) -> Node:
    return found(definition.node(node_id), "node")
