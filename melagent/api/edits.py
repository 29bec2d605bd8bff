"""Edits of a draft, one call for each: its nodes, its edges, and where they stand on the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, Field

from melagent.api.context import CLAIM, editor_of, services_of, uuid_in_path
from melagent.api.wire import Answer, Body, Revision, answer
from melagent.api.workflows import draft_answer
from melagent.domain.definition import MAX_NODES, Edge, Node, NodeId, Position
from melagent.services import edits, workflows
from melagent.services.definitions import decode
from melagent.services.workflows import found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from melagent.domain.definition import Definition


class PartsQuery(Body):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str = Field(default="", max_length=100, description="`next_cursor` of the page before")


class NewNode(Node):
    """A node without an id gets a short one that tells its type."""

    id: NodeId = Field(default_factory=str)


class NodeChange(Node):
    """Fields that are left out stay as they are. An id may be sent along, but not another one."""

    id: NodeId = Field(default_factory=str)
    type: str = Field(default_factory=str, min_length=1, max_length=100)


class LayoutBody(Body):
    """Without positions, all nodes get computed ones."""

    positions: dict[NodeId, Position] | None = Field(default=None, max_length=MAX_NODES)
    min_revision: Revision | None = None


class NodeAnswer(Node, Answer):
    """A node with every field written out."""


class EdgeAnswer(Answer):
    id: str
    source: str
    source_handle: str
    target: str
    target_handle: str


class NodesAnswer(Answer):
    nodes: list[NodeAnswer]
    total: int
    next_cursor: str | None


class EdgesAnswer(Answer):
    edges: list[EdgeAnswer]
    total: int
    next_cursor: str | None


async def list_nodes(request: web.Request, query: PartsQuery) -> web.Response:
    """The nodes of the draft, in the order of their ids."""
    return answer(_page("nodes", (await _definition(request)).nodes, query))


async def add_node(request: web.Request, body: NewNode) -> web.Response:
    """Add a node to the draft. An id that is taken is a conflict."""
    made = await edits.add_node(editor_of(request), uuid_in_path(request), body, request.get(CLAIM))
    return answer(made, 201)


async def get_node(request: web.Request) -> web.Response:
    """One node of the draft."""
    return answer(_written(found((await _definition(request)).node(request.match_info["node_id"]), "node")))


async def change_node(request: web.Request, body: NodeChange) -> web.Response:
    """Change the fields of a node that are given."""
    workflow_id, node_id = uuid_in_path(request), request.match_info["node_id"]
    changes = body.model_dump(exclude_unset=True)
    return answer(_written(await edits.change_node(editor_of(request), workflow_id, node_id, changes)))


async def remove_node(request: web.Request) -> web.Response:
    """Remove a node from the draft, and its edges with it."""
    await edits.remove_node(editor_of(request), uuid_in_path(request), request.match_info["node_id"])
    return web.Response(status=204)


async def list_edges(request: web.Request, query: PartsQuery) -> web.Response:
    """The edges of the draft, in the order of their ids."""
    return answer(_page("edges", (await _definition(request)).edges, query))


async def add_edge(request: web.Request, body: Edge) -> web.Response:
    """Add an edge to the draft. One that is there already is a conflict."""
    made = await edits.add_edge(editor_of(request), uuid_in_path(request), body, request.get(CLAIM))
    return answer(made, 201)


async def remove_edge(request: web.Request) -> web.Response:
    """Remove an edge from the draft."""
    await edits.remove_edge(editor_of(request), uuid_in_path(request), request.match_info["edge_id"])
    return web.Response(status=204)


async def lay_out(request: web.Request, body: LayoutBody) -> web.Response:
    """Move nodes of the draft to the positions given, or all of them to computed ones."""
    draft = await edits.lay_out(editor_of(request), uuid_in_path(request), body.positions, body.min_revision)
    return answer(await draft_answer(draft, services_of(request)))


async def _definition(request: web.Request) -> Definition:
    draft = await workflows.get_draft(services_of(request).pool, uuid_in_path(request))
    return decode(draft.definition)


def _page(name: str, parts: Sequence[Node | Edge], query: PartsQuery) -> dict[str, Any]:
    """A page in the order of ids, which edits by others do not shift; of an id that is there twice, the first."""
    by_id = {part.id: part for part in reversed(parts)}
    ids = sorted(part_id for part_id in by_id if part_id > query.cursor)
    page = ids[: query.limit]
    more = len(ids) > len(page)
    listed = [_written(by_id[part_id]) for part_id in page]
    return {name: listed, "total": len(by_id), "next_cursor": page[-1] if more else None}


def _written(part: BaseModel) -> bytes:
    return part.model_dump_json().encode()
